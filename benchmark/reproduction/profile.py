"""At which scale the paper's experiments are run, and what its numbers become there."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from benchmark.config.compose import REPORT, read_yaml
from benchmark.config.overrides import literal
from benchmark.config.plugins import available
from benchmark.config.schema import VERSION, Schema
from benchmark.run.suite import Suite
from benchmark.utils.errors import unknown

SCHEMA_VERSION = 1
PAPER_PARAMETERS = 1_199_882
PAPER_HONEST_NORM = 1.1
"""Median norm of honest updates of the paper's model: 20 rounds on QMNIST's 539 writers."""
PAPER_COHORT = 30
"""The paper's K."""

HONEST = "norms"
"""The suite without attack and defense: how long honest updates are, and what models can reach."""

FREQUENCIES = (1, 2, 3, 5, 10)
NORM_BOUNDS = (3, 5, 10)
NOISE_STDS = {"025": 0.025, "158": math.sqrt(0.025)}

Values = dict[str, Any]
"""What a name such as ``$M3`` stands for."""

_NAME = re.compile(r"\$(\w+)")


@dataclass(frozen=True)
class Profile:
    """A scale: data, model, rounds, seeds.

    Attributes:
        name: that of the yaml in ``conf/profile``.
        description: one line.
        overrides: of every federation, in Hydra's grammar.
        seeds: one federation each.
        norms: ``paper``: norm bounds are the paper's; ``measured``: they keep their ratio to the
            norm of honest updates, which is measured first.
        schema_version: of the yaml, which may leave it out.
    """

    name: str
    description: str
    overrides: list[str]
    seeds: list[int]
    norms: Literal["paper", "measured"]
    schema_version: int = field(default=SCHEMA_VERSION, kw_only=True)

    @staticmethod
    def read(name: str) -> "Profile":
        """Read ``conf/profile/NAME.yaml``.

        Raises:
            UserError: there is none, or it is not a profile.
        """
        if name not in available("profile"):
            raise unknown("profile", name, available("profile"))
        raw = {VERSION: SCHEMA_VERSION, "name": name, **read_yaml("profile", name)}
        return Schema(Profile).check(raw, f"profile {name}")

    def __post_init__(self) -> None:
        if not self.seeds:
            raise ValueError("seeds must hold at least one seed")


def norm_unit(honest_norm: float) -> float:
    """How long a norm is that the paper's model calls 1, to two digits.

    ``honest_norm`` (median over clients and rounds, ‖Δ‖₂) over that of the paper's model.
    """
    return float(f"{honest_norm / PAPER_HONEST_NORM:.2g}")


def values(protocol: Mapping[str, Any], num_tasks: int, num_parameters: int, unit: float) -> Values:
    """What the names in the suites and claims stand for.

    One client of K, clipped at M, moves the average by M/K at most. That push, in units of honest
    norms, is what the paper's bounds are about, so a bound is the paper's times unit · K/30: with
    K = 10, M = 3 would let an attacker move the average three times as far as with the paper's
    K = 30. The noise keeps its length s√P on the average in multiples of that push. The push no
    longer depends on K, so s does not either; noise on the sum is divided by K afterwards, and has
    the factor K/30 as M has. Honest clients, whose norms do not depend on K, are clipped earlier in
    a small cohort: push and clipping cannot both be the paper's.

    - ``$norm2``: a norm that the paper's model calls 2; no bound.
    - ``$M3``, ``$M5``, ``$M10``: norm bounds.
    - ``$std025``, ``$std158``: standard deviations of noise on the average, 0.025 and √0.025.
    - ``$sum025``, ``$sum158``: of noise on the sum.
    - ``$epsilon1`` … ``$epsilon10``: fraction of users 1/(f·K) that frequency f stands for.
    - ``$window``: rounds from the half to three quarters of the run.
    - ``$watched``: rounds from a quarter to the half of the run, so that half of it is watched.
    - ``$shots``: four rounds from the half of the run on, every other one.
    - ``$tasks``: number of target users.

    Args:
        protocol: the resolved ``federation`` section.
        num_tasks: number of target users.
        num_parameters: P.
        unit: see :func:`norm_unit`; 1 for the paper's own model.
    """
    T, K = protocol["rounds"], protocol["clients_per_round"]
    bound = unit * K / PAPER_COHORT
    length = math.sqrt(PAPER_PARAMETERS / num_parameters)
    found: Values = {"norm2": _short(2 * unit)}
    found |= {f"M{M}": _short(M * bound) for M in NORM_BOUNDS}
    for name, std in NOISE_STDS.items():
        found |= {f"std{name}": _short(std * unit * length)}
        found |= {f"sum{name}": _short(std * bound * length)}
    found |= {f"epsilon{f}": _short(1 / (f * K)) for f in FREQUENCIES}
    shots = [T // 2 + 2 * i for i in range(4)]
    windows = {"window": [T // 2, 3 * T // 4], "watched": [T // 4, T // 2]}
    return found | windows | {"shots": shots, "tasks": num_tasks}


def paper() -> Values:
    """What the names stand for at the paper's own scale."""
    return values({"rounds": 300, "clients_per_round": PAPER_COHORT}, 30, PAPER_PARAMETERS, 1.0)


def _short(value: float) -> float:
    return float(f"{value:.3g}")


def suites(profile: Profile, known: Values, further: Sequence[str] = ()) -> dict[str, Suite]:
    """The suites of ``conf/reproduction`` at the profile's scale.

    Args:
        profile: the scale.
        known: see :func:`values`.
        further: overrides that go before a suite's own.
    """
    found = {}
    for name in available("reproduction"):
        suite = experiment(name, known, profile.seeds)
        overrides = [*profile.overrides, *further, *suite.overrides]
        found[name] = replace(suite, overrides=overrides)
    return found


def experiment(name: str, known: Values, seeds: list[int]) -> Suite:
    """A suite of ``conf/reproduction``, at no scale yet.

    Raises:
        UserError: it is no suite, or a name in it stands for nothing.
    """
    raw = read_yaml("reproduction", name)
    raw.pop(REPORT, None)
    return Suite.of({"name": name, "seeds": seeds, **fill(raw, known, f"suite {name}")})


def fill(raw: Any, known: Values, where: str) -> Any:
    """A yaml with values in place of names.

    Raises:
        UserError: a name stands for nothing.
    """
    if isinstance(raw, Mapping):
        return {key: fill(value, known, where) for key, value in raw.items()}
    if isinstance(raw, list):
        return [fill(value, known, where) for value in raw]
    if not isinstance(raw, str):
        return raw
    for name in _NAME.findall(raw):
        if name not in known:
            raise unknown("name", f"${name}", [f"${k}" for k in known], where)
    if whole := _NAME.fullmatch(raw):
        return known[whole[1]]
    return _NAME.sub(lambda match: literal(known[match[1]]), raw)
