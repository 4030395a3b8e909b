"""A claim about federations, declared in a yaml: what is compared, and what would count."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Literal, get_args

from benchmark.results.measures import MEASURES
from benchmark.run.record import Record
from benchmark.utils.errors import UserError, unknown

Direction = Literal["higher", "lower", "same"]
Runs = dict[str, Any]
"""Which runs: group → name, or ``group.key`` → value, as in the resolved configuration. ``suite``,
``metric`` and ``measure`` may stand beside them, in place of the claim's own."""

OWN = ("suite", "metric", "measure")


@dataclass(frozen=True)
class Claim:
    """One sentence that runs can confirm or refute.

    Attributes:
        name: that of the yaml in ``conf/claim``.
        text: the sentence.
        source: who says so, and where; ``our own`` for ours.
        suite: whose runs are compared.
        metric: curve that is measured; see :class:`benchmark.federation.evaluation.Evaluator`.
        measure: what is taken of it; see :mod:`benchmark.results.measures`.
        order: what is compared, each with the next; a number stands for itself.
        direction: each is ``higher`` or ``lower`` than the next by more than the margin, or the
            ``same``, less than the margin apart.
        margin: the least difference that counts, in units of the measure; from 0, and above it
            for ``same``.
        given: what all runs have in common.
        pool: take the mean over all runs of a seed that fit; else there must be one.
    """

    name: str
    text: str
    source: str
    suite: str
    metric: str
    measure: str
    order: list[Runs | float]
    direction: Direction
    margin: float
    given: Runs = field(default_factory=dict)
    pool: bool = False

    def runs(self, entry: Runs) -> Runs:
        """An entry of ``order`` with what the claim says of all of them."""
        return {key: getattr(self, key) for key in OWN} | self.given | entry

    @property
    def suites(self) -> set[str]:
        """All whose runs it compares."""
        return {str(self.runs(e)["suite"]) for e in self.order if isinstance(e, dict)}

    @staticmethod
    def of(name: str, raw: Mapping[str, Any]) -> "Claim":
        """Check the parts of a claim.

        Raises:
            UserError: a part is missing, unknown or not of its type.
        """
        where = f"claim {name}"
        known = {f.name: f for f in fields(Claim) if f.name != "name"}
        for key in raw:
            if key not in known:
                raise unknown("key", key, known, where)
        for key, part in known.items():
            needed = part.default is MISSING and part.default_factory is MISSING
            if key not in raw and needed:
                raise UserError(f"{where}: {key} is missing")
            if key in raw and not isinstance(raw[key], _KINDS[key]):
                raise UserError(f"{where}: {key} must be {_WORDS[key]}, got {raw[key]!r}")
        claim = Claim(name=name, **raw)
        if claim.direction not in get_args(Direction):
            raise unknown("direction", claim.direction, get_args(Direction), where)
        if claim.margin < 0 or (claim.direction == "same" and claim.margin == 0):
            raise UserError(f"{where}: margin must be at least 0, and above it for direction same")
        if len(claim.order) < 2 or not any(isinstance(entry, dict) for entry in claim.order):
            raise UserError(f"{where}: order must hold two entries or more, and runs among them")
        for entry in claim.order:
            if not isinstance(entry, int | float | dict):
                raise UserError(f"{where}: order must hold runs or numbers, got {entry!r}")
            if isinstance(entry, dict) and claim.runs(entry)["measure"] not in MEASURES:
                raise unknown("measure", claim.runs(entry)["measure"], MEASURES, where)
        return claim


_KINDS: dict[str, Any] = dict.fromkeys(("text", "source", "suite", "metric", "measure"), str) | {
    "order": list,
    "direction": str,
    "margin": int | float,
    "given": dict,
    "pool": bool,
}
_WORDS = {
    key: {str: "text", list: "a list", dict: "a mapping", bool: "true or false"}.get(
        kind, "a number"
    )
    for key, kind in _KINDS.items()
}


@dataclass(frozen=True)
class Failure:
    """Why a federation gave no record.

    Attributes:
        seed, config: as a record has them.
        reason: one line.
    """

    seed: int
    config: dict[str, Any]
    reason: str

    @property
    def diverged(self) -> bool:
        """Whether the model did not stay finite: a finding, and not an accident."""
        return self.reason.startswith(FloatingPointError.__name__)


def matches(record: Record | Failure, wanted: Runs) -> bool:
    """Whether a run is one of those wanted."""
    return all(
        _value(record.config, key.split(".")) == value
        for key, value in wanted.items()
        if key not in OWN
    )


def _value(config: Any, path: list[str]) -> Any:
    for part in path:
        config = config.get(part) if isinstance(config, dict) else None
    return config.get("name") if isinstance(config, dict) else config
