"""What the attacker's and the defender's problem share: trials are federations, one side of them
is searched, and what is best is judged on seeds and users that no trial saw."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmark.config.compose import compose
from benchmark.config.search_space import Space
from benchmark.results.gates import TOLERANCE, exceeds, gate
from benchmark.results.statistics import estimate
from benchmark.run.cell import Cell
from benchmark.tuning.federations import Federations, given
from benchmark.tuning.problem import Direction, Evaluation, Metrics, Strategy
from benchmark.utils.errors import UserError


@dataclass(frozen=True)
class Judged:
    """A setting on fresh seeds and the test half of the users.

    Attributes:
        backdoor: in-sample, by seed; of a defense under the attack that is the worst case.
        cost: by seed, what it costs main accuracy: an attack beside no attack, a defense, where
            it costs most, beside the undefended, unattacked model.
        against: of a defense, the attack that is the worst case.
        held_out: held-out backdoor accuracy, by seed; without seeds that have none.
        allowed: what it may cost.
    """

    backdoor: dict[int, float]
    cost: dict[int, float]
    against: Strategy = ()
    held_out: dict[int, float] = field(default_factory=dict)
    allowed: float = TOLERANCE

    @property
    def feasible(self) -> bool:
        """Whether it keeps main accuracy, in the mean: a search has to take or leave it."""
        return not exceeds(self.cost, self.allowed)

    @property
    def verdict(self) -> str:
        """``yes`` or ``no``, and that other seeds may decide otherwise where they may."""
        told = "yes" if self.feasible else "no"
        outcome = gate(estimate(self.cost), self.allowed)
        return f"{told}, {outcome}" if outcome == "at the gate" else told


@dataclass(frozen=True)
class FederatedProblem(ABC):
    """What a study searches.

    Attributes:
        federations: of all that is not searched.
        seeds: to tune on.
        space: over the choices of a group.
        directions: what is better; first of backdoor accuracy.
        earlier: settings found before, tried first.
    """

    federations: Federations
    seeds: tuple[int, ...]
    space: Space
    directions: tuple[Direction, ...] = field(default=(), kw_only=True)
    earlier: tuple[Strategy, ...] = field(default=(), kw_only=True)

    @property
    @abstractmethod
    def honest(self) -> Strategy:
        """What completes the federations that trials are held against."""

    @property
    @abstractmethod
    def others(self) -> Sequence[Strategy]:
        """What each setting is run with."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What makes a study this one, as plain values: others make another study."""

    @abstractmethod
    def evaluate(self, chosen: Sequence[str]) -> Evaluation:
        """What a setting gave on the seeds, whose federations all have a record."""

    @abstractmethod
    def judged(self, chosen: Sequence[str], seeds: Sequence[int]) -> Judged:
        """What a setting gave on fresh seeds and the test half of the users."""

    @property
    def steps(self) -> int:
        """How many steps a whole trial reports: none, where nobody is told of rounds."""
        return 0

    def so_far(self, rounds: Sequence[Sequence[Metrics]]) -> float | None:
        """What a trial reaches by the rounds of its federations, of which the last may run still;
        None where that says nothing.
        """
        return None

    def cells(self, chosen: Sequence[str]) -> list[Cell]:
        """The federations of a trial: with each of the others on every seed."""
        return [self.federations.cell(c, s) for c in self._completed([chosen]) for s in self.seeds]

    def refusal(self, cells: Sequence[Cell]) -> str | None:
        """Why a setting is none here, such as more compromised clients than a rule can bear."""
        # Imported late: Lightning takes seconds, and a wrong name needs none of it.
        from benchmark.run.training import check

        try:
            check(cells[0])
        except UserError as error:
            return str(error)
        return None

    def fixed(self) -> list[Strategy]:
        """Every choice as its yaml has it."""
        return [(f"{self.space.group}={family}",) for family in self.space.families]

    def known(self) -> dict[str, dict[str, Any]]:
        """The fixed choices that lie in the space, and earlier finds, as trials' parameters.

        Finds are known as ``earlier 1`` and so on.
        """
        named = dict(zip(self.space.families, self.fixed(), strict=True))
        named |= {f"earlier {i}": chosen for i, chosen in enumerate(self.earlier, start=1)}
        points = {name: self.point(chosen) for name, chosen in named.items()}
        return {name: found for name, found in points.items() if found is not None}

    def point(self, chosen: Sequence[str]) -> dict[str, Any] | None:
        """A choice as a trial's parameters; None outside of the space."""
        whole = compose([*self.federations.common, *chosen])
        return self.space.point(whole[self.space.group])

    def check(self) -> None:
        """Refuse what would refuse in a trial: parts that do not fit each other or the data.

        Raises:
            UserError: says which part.
        """
        # Imported late: Lightning takes seconds, and a wrong name needs none of it.
        from benchmark.run.training import check

        for chosen in dict.fromkeys([self.honest, *self._completed(self.fixed())]):
            for federations in (self.federations, self.federations.on_test()):
                check(federations.cell(chosen, self.seeds[0]))

    def prepare(self) -> None:
        """Run the federations that trials are held against."""
        self.federations.run([self.honest], self.seeds)
        self.federations.honest(self.honest, self.seeds)

    def judge(self, settings: Sequence[Sequence[str]], seeds: Sequence[int]) -> list[Judged]:
        """Run settings on fresh seeds and the test half of the users."""
        self.federations.on_test().run([self.honest, *self._completed(settings)], seeds)
        return [self.judged(chosen, seeds) for chosen in settings]

    def _completed(self, settings: Sequence[Sequence[str]]) -> list[Strategy]:
        return [(*chosen, *other) for chosen in settings for other in self.others]

    def _described(self, problem: str, code: dict[str, Strategy], **further: Any) -> dict[str, Any]:
        """What all descriptions have; ``code``: name → federations whose code counts."""
        honest = self.federations.cell(self.honest, self.seeds[0])
        cells = {name: self.federations.cell(c, self.seeds[0]) for name, c in code.items()}
        return {
            "problem": problem,
            "space": self.space.describe(),
            **further,
            "configuration": given(honest, self.space.group),
            "data": honest.data_hash,
            "code": {name: cell.fingerprint for name, cell in cells.items()},
            "seeds": list(self.seeds),
        }
