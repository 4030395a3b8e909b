"""What searches found against defenses: the ``tuning.json`` of each study, and whose it is."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from benchmark.results.settings import GROUPS
from benchmark.results.statistics import Estimate, difference, estimate
from benchmark.run.cell import NOT_IN_THE_RESULT
from benchmark.run.record import Record
from benchmark.utils.errors import UserError

SCHEMA_VERSION = 1
"""Of the files that are read here."""

IGNORED = (*NOT_IN_THE_RESULT, "federation.measured_on")
"""Keys that may differ between a search and the runs that it completes: a search is on one half
of the users and is judged on the other, a leaderboard's runs are measured on all."""


@dataclass(frozen=True)
class Winner:
    """The attacker that a search found, on seeds and users that the search never saw.

    Attributes:
        attack: its label.
        overrides, command: of the attack; of one of its runs, an ordinary cell.
        in_sample: backdoor accuracy on the adversary's own images.
        cost: main accuracy that it costs beside no attack, paired by seed.
        fixed_attack, fixed: the strongest attack that nobody tuned on the same seeds and users,
            and its in-sample backdoor accuracy; None if none keeps main accuracy.
        gain: ``in_sample`` minus ``fixed``, paired by seed.
    """

    attack: str
    overrides: list[str]
    command: str
    in_sample: Estimate
    cost: Estimate
    fixed_attack: str | None
    fixed: Estimate | None
    gain: Estimate | None


@dataclass(frozen=True)
class Tuned:
    """A search for the strongest attacker against a defense.

    Attributes:
        study: its name.
        report: file that tells of it, relative to the leaderboard.
        trials, seeds, sampler: the budget: attackers tried, federations of each, and by whom they
            were chosen.
        pruned: those of the trials that were given up before their last round.
        fresh_seeds: that the winner was run on.
        winner: None if no attacker kept main accuracy.
        searches, searched: how many there are against this defense, of which this one got most
            through, and the trials of them all.
        is_stale: whether the runs that it completes were made with other source files.
    """

    study: str
    report: str
    trials: int
    pruned: int
    seeds: int
    sampler: str
    fresh_seeds: list[int]
    winner: Winner | None
    searches: int = 1
    searched: int = 0
    is_stale: bool = False

    @property
    def reached(self) -> float:
        """The winner's mean in-sample backdoor accuracy, −1 without one."""
        return -1.0 if self.winner is None else self.winner.in_sample.mean


@dataclass(frozen=True)
class Search:
    """A search for the strongest attacker.

    Attributes:
        setting: what it has in common with the runs that it completes, see :func:`setting`.
        tuned: what it found.
        code: of its cells, by attack: fingerprints of their source files.
    """

    setting: str
    tuned: Tuned
    code: dict[str, str]


def setting(config: Mapping[str, Any], data_hash: Any) -> str:
    """Everything but attack and seed that a result depends on, the defense included."""
    groups = {
        group: {k: v for k, v in config[group].items() if f"{group}.{k}" not in IGNORED}
        for group in (*GROUPS, "defense")
    }
    return json.dumps([groups, data_hash], sort_keys=True, default=str)


def find(searches: Iterable[Search], records: Sequence[Record]) -> Tuned | None:
    """The search that got most through the defense of some records, in their setting.

    Args:
        searches: all there are.
        records: of one defense, under whatever attacks; at least one.
    """
    wanted = setting(records[0].config, records[0].data.get("hash"))
    found = [search for search in searches if search.setting == wanted]
    if not found:
        return None
    best = max(found, key=lambda s: (s.tuned.reached, s.tuned.trials, s.tuned.study))
    return replace(
        best.tuned,
        searches=len(found),
        searched=sum(search.tuned.trials for search in found),
        is_stale=any(_is_other(best, record) for record in records),
    )


def _is_other(search: Search, record: Record) -> bool:
    """Whether a record's attack was other code when it was searched."""
    ran = record.code.get("fingerprint")
    return search.code.get(f"attack={record.config['attack']['name']}", ran) != ran


def read(results: Path) -> list[Search]:
    """All searches for attackers among results.

    Raises:
        UserError: a ``tuning.json`` is damaged, or of another schema.
    """
    found = []
    for path in sorted(results.glob("tuning-*/tuning.json")):
        raw = _json(path)
        if raw.get("schema_version") != SCHEMA_VERSION:
            raise UserError(
                f"{path}: of schema version {raw.get('schema_version')}, this program reads "
                f"version {SCHEMA_VERSION}; {MEND}"
            )
        try:
            told = raw["description"]
            if told["problem"] == "attacker":
                where = setting(told["configuration"], told["data"])
                search = Search(where, _tuned(raw, path), dict(told["code"]))
                # Where no trial was finished nothing was searched.
                if search.tuned.trials:
                    found.append(search)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise _damaged(path, error) from None
    return found


MEND = "the same `tune` command writes it again, and without it the leaderboard does without"


def _json(path: Path) -> dict[str, Any]:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is no JSON")

    try:
        raw = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    except ValueError as error:
        raise _damaged(path, error) from None
    if not isinstance(raw, dict):
        raise _damaged(path, TypeError("not an object"))
    return raw


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(f"{path}: no result of a study ({type(error).__name__}: {error}); {MEND}")


def _tuned(raw: dict[str, Any], path: Path) -> Tuned:
    told = raw["description"]
    return Tuned(
        study=str(raw["study"]),
        report=f"../{path.parent.name}/tuning.html",
        trials=len(raw["trials"]),
        pruned=sum(trial["pruned"] for trial in raw["trials"]),
        seeds=len(told["seeds"]),
        sampler=str(told["sampler"]),
        fresh_seeds=[int(seed) for seed in raw["fresh_seeds"]],
        winner=_winner(raw),
    )


def _winner(raw: dict[str, Any]) -> Winner | None:
    found, beside = raw["winner"], raw["strongest_fixed"]
    if found is None:
        return None
    in_sample = _by_seed(found["backdoor"])
    fixed = {} if beside is None else _by_seed(beside["backdoor"])
    mean, cost = estimate(in_sample), estimate(_by_seed(found["cost"]))
    if mean is None or cost is None:
        raise ValueError("a winner that was not run again")
    return Winner(
        attack=_label(found["overrides"]),
        overrides=[str(override) for override in found["overrides"]],
        command=str(raw["command"]),
        in_sample=mean,
        cost=cost,
        fixed_attack=None if beside is None else _label(beside["overrides"]),
        fixed=estimate(fixed),
        gain=estimate(difference(in_sample, fixed)),
    )


def _by_seed(raw: dict[str, Any]) -> dict[int, float]:
    return {int(seed): float(value) for seed, value in raw.items()}


def _label(overrides: Sequence[str]) -> str:
    """As a leaderboard names attacks: ``attack=a attack.b=1`` is ``a (b=1)``."""
    (name, *parameters) = (override.removeprefix("attack").lstrip(".=") for override in overrides)
    return f"{name} ({', '.join(sorted(parameters))})" if parameters else name
