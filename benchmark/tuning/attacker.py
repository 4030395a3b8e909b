"""The attacker's problem: the strongest backdoor against one defense that nobody notices."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.config.compose import available, compose, parse_overrides, read_yaml, target_class
from benchmark.config.search_space import Space
from benchmark.results.gates import TOLERANCE
from benchmark.results.statistics import difference, mean
from benchmark.run.suite import Watch
from benchmark.tuning.federations import UNATTACKED, Federations, given
from benchmark.tuning.problem import Direction, Evaluation, OnStep, Strategy
from benchmark.tuning.reevaluation import Judged
from benchmark.tuning.rounds import SoFar
from benchmark.utils.errors import UserError


@dataclass(frozen=True)
class Attacker:
    """Chooses an attack and its parameters; all else is given.

    Maximizes the mean over seeds of in-sample backdoor accuracy, subject to a mean main accuracy
    within :data:`TOLERANCE` of the same federations without attack.

    Attributes:
        federations: of the defense, and of all else that is not the attacker's to choose.
        seeds: to tune on.
        space: over every attack that compromises anybody.
        earlier: attacks found before, tried first.
    """

    federations: Federations
    seeds: tuple[int, ...]
    space: Space
    directions: tuple[Direction, ...] = ("maximize",)
    earlier: tuple[tuple[str, ...], ...] = ()

    @staticmethod
    def against(
        overrides: Sequence[str], seeds: Sequence[int], folder: Path, watch: Watch
    ) -> "Attacker":
        """The problem that overrides describe.

        Raises:
            UserError: they choose the attack, the seed or the half of the users, which is the
                study's part, or a yaml declares no valid space.
        """
        for override in parse_overrides(overrides):
            if override.key_or_group.partition(".")[0] == "attack":
                raise UserError(
                    f"'{override.input_line}': the attack is what is tuned; its ranges are the "
                    f"search: of conf/attack/NAME.yaml"
                )
        space = Space.of("attack", families())
        return Attacker(Federations(tuple(overrides), folder, watch), tuple(seeds), space)

    def check(self) -> None:
        """Refuse what would refuse in a trial: parts that do not fit each other or the data.

        Raises:
            UserError: says which part.
        """
        # Imported late: Lightning takes seconds, and a wrong name needs none of it.
        from benchmark.run.training import check

        for attack in [UNATTACKED, *self.fixed()]:
            for federations in (self.federations, self.federations.on_test()):
                check(federations.cell(attack, self.seeds[0]))

    def describe(self) -> dict[str, Any]:
        """What makes a study this one: other values make another study."""
        unattacked = self.federations.cell(UNATTACKED, self.seeds[0])
        code = {
            a[0]: self.federations.cell(a, self.seeds[0]).fingerprint
            for a in [UNATTACKED, *self.fixed()]
        }
        return {
            "problem": "attacker",
            "space": self.space.describe(),
            "configuration": given(unattacked, "attack"),
            "data": unattacked.data_hash,
            "code": code,
            "seeds": list(self.seeds),
            "tolerance": TOLERANCE,
        }

    def fixed(self) -> list[list[str]]:
        """Every attack as its yaml has it."""
        return [[f"attack={family}"] for family in self.space.families]

    def known(self) -> dict[str, dict[str, Any]]:
        """The fixed attacks that lie in the space and earlier finds, as trials' parameters."""
        return known(self.point, self.fixed(), self.earlier)

    def point(self, chosen: Sequence[str]) -> dict[str, Any] | None:
        """A choice as a trial's parameters; None outside of the space."""
        whole = compose([*self.federations.common, *chosen])
        return self.space.point(whole[self.space.group])

    @property
    def steps(self) -> int:
        """One for each round of a trial's federations."""
        return len(self.seeds) * self.federations.cell(UNATTACKED, self.seeds[0]).rounds

    def prepare(self, workers: int) -> None:
        """Run the federations without attack that trials are held against."""
        self.federations.run_ahead([UNATTACKED], self.seeds, workers)
        self.federations.honest(UNATTACKED, self.seeds)

    def evaluate(self, chosen: Sequence[str], report: OnStep) -> Evaluation:
        """Run an attack on the seeds."""
        so_far = SoFar(self.steps // len(self.seeds), report)
        score = self.federations.score(chosen, self.seeds, so_far)
        honest = self.federations.honest(UNATTACKED, self.seeds)
        cost = mean(honest.main) - mean(score.main)
        facts = {"main_accuracy": mean(score.main), "diverged": score.diverged}
        return Evaluation((mean(score.backdoor),), {"main_accuracy": cost - TOLERANCE}, facts)

    def judge_ahead(
        self, settings: Sequence[Sequence[str]], seeds: Sequence[int], workers: int
    ) -> None:
        """Run what judging these attacks needs over as many processes."""
        self.federations.on_test().run_ahead([UNATTACKED, *settings], seeds, workers)

    def judge(self, chosen: Sequence[str], seeds: Sequence[int]) -> Judged:
        """Run an attack on fresh seeds and the test half of the users."""
        federations = self.federations.on_test()
        score = federations.score(chosen, seeds)
        honest = federations.honest(UNATTACKED, seeds)
        cost = difference(honest.main, score.main)
        return Judged(score.backdoor, cost, held_out=score.held_out)


def known(
    point: Callable[[Sequence[str]], dict[str, Any] | None],
    fixed: Sequence[Sequence[str]],
    earlier: Sequence[Sequence[str]],
) -> dict[str, dict[str, Any]]:
    """Settings that lie in a space, as trials' parameters.

    Args:
        point: see :meth:`benchmark.tuning.problem.Problem.point`.
        fixed: choices as their yamls have them, known by their names.
        earlier: finds, known as ``earlier 1`` and so on.
    """
    named = {chosen[0].partition("=")[2]: chosen for chosen in fixed}
    named |= {f"earlier {i}": chosen for i, chosen in enumerate(earlier, start=1)}
    points = {name: point(chosen) for name, chosen in named.items()}
    return {name: found for name, found in points.items() if found is not None}


def families() -> list[str]:
    """The attacks that compromise anybody."""
    return [
        name
        for name in available("attack")
        if target_class("attack", {"name": name, **read_yaml("attack", name)}).active  # type: ignore[attr-defined]
    ]


def fixed_attacks() -> list[Strategy]:
    """Every attack that compromises anybody, as its yaml has it."""
    return [(f"attack={family}",) for family in families()]


def read_attack(text: str) -> Strategy:
    """An attack as a user writes it, ``"attack=boosted attack.epochs=2"``.

    Raises:
        UserError: it is none, or chooses something else too.
    """
    where = f"--against '{text}'"
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UserError(f"{where}: {str(error).lower()}") from None
    overrides = parse_overrides(words)
    for override in overrides:
        if override.key_or_group.partition(".")[0] != "attack":
            raise UserError(f"{where}: '{override.input_line}' is not of the attack")
    chosen = [str(o.value()) for o in overrides if o.key_or_group == "attack"]
    if len(chosen) != 1:
        raise UserError(f"{where}: must choose one attack, such as 'attack=boosted'")
    if chosen[0] not in families():
        raise UserError(
            f"{where}: compromises nobody; valid: attack={', attack='.join(families())}"
        )
    compose(words)
    return tuple(str(o.input_line) for o in overrides)
