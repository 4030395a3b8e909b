"""A claim about federations, declared in a yaml: what is compared, and what would count."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from benchmark.config.compose import read_yaml
from benchmark.config.schema import VERSION, Schema
from benchmark.reproduction.profile import Values, fill
from benchmark.results.measures import MEASURES
from benchmark.utils.errors import unknown

SCHEMA_VERSION = 1
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
            for ``same``. Between backdoors that are all below it, or below
            :data:`benchmark.results.gates.FLOOR`, nothing is decided.
        given: what all runs have in common.
        pool: take the mean over all runs of a seed that fit; else there must be one.
        reading: which of several things the source may mean; it fits if all claims of it hold.
        schema_version: of the yaml, which may leave it out.
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
    reading: str = ""
    schema_version: int = field(default=SCHEMA_VERSION, kw_only=True)

    def runs(self, entry: Runs) -> Runs:
        """An entry of ``order`` with what the claim says of all of them."""
        return {key: getattr(self, key) for key in OWN} | self.given | entry

    @property
    def suites(self) -> set[str]:
        """All whose runs it compares."""
        return {str(self.runs(e)["suite"]) for e in self.order if isinstance(e, dict)}

    @staticmethod
    def read(name: str, values: Values) -> "Claim":
        """Read ``conf/claim/NAME.yaml``, with its numbers at a scale.

        Raises:
            UserError: it is no claim.
        """
        return Claim.of(name, fill(read_yaml("claim", name), values, f"claim {name}"))

    @staticmethod
    def of(name: str, raw: Mapping[str, Any]) -> "Claim":
        """Check the parts of a claim.

        Raises:
            UserError: a part is missing, unknown or not of its type.
        """
        return Schema(Claim).check({VERSION: SCHEMA_VERSION, "name": name, **raw}, f"claim {name}")

    def __post_init__(self) -> None:
        if self.margin < 0 or (self.direction == "same" and self.margin == 0):
            raise ValueError("margin must be at least 0, and above it for direction same")
        entries = [self.runs(entry) for entry in self.order if isinstance(entry, dict)]
        if len(self.order) < 2 or not entries:
            raise ValueError("order must hold two entries or more, and runs among them")
        for entry in entries:
            if entry["measure"] not in MEASURES:
                raise unknown("measure", str(entry["measure"]), MEASURES, f"claim {self.name}")
