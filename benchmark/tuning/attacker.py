"""The attacker's problem: the strongest backdoor against one defense that nobody notices."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmark.config.compose import compose, plants_any, read_yaml
from benchmark.config.plugins import available
from benchmark.config.search_space import Space
from benchmark.config.types import target_class
from benchmark.results.gates import TOLERANCE
from benchmark.results.statistics import difference, mean
from benchmark.tuning.federated_problem import FederatedProblem, Judged
from benchmark.tuning.federations import UNATTACKED, Federations, parted
from benchmark.tuning.problem import Direction, Evaluation, Metrics, Strategy
from benchmark.tuning.workplace import Workplace
from benchmark.utils.errors import UserError


@dataclass(frozen=True)
class Attacker(FederatedProblem):
    """Chooses an attack and its parameters; all else is given.

    Maximizes the mean over seeds of in-sample backdoor accuracy, subject to a mean main accuracy
    within :data:`TOLERANCE` of the same federations without attack.

    Its federations are of the defense, and of all else that is not the attacker's to choose; its
    space is over every attack that plants a backdoor.
    """

    directions: tuple[Direction, ...] = field(default=("maximize",), kw_only=True)

    @staticmethod
    def against(overrides: Sequence[str], seeds: Sequence[int], at: Workplace) -> "Attacker":
        """The problem that overrides describe.

        Raises:
            UserError: they choose the attack, the seed or the half of the users, which is the
                study's part, or a yaml declares no valid space.
        """
        for line in parted(overrides)["attack"]:
            raise UserError(
                f"'{line}': the attack is what is tuned; its ranges are the search: of "
                "conf/attack/NAME.yaml"
            )
        space = Space.of("attack", families())
        return Attacker(Federations(tuple(overrides), at), tuple(seeds), space)

    @property
    def honest(self) -> Strategy:
        """No attack."""
        return UNATTACKED

    @property
    def others(self) -> Sequence[Strategy]:
        """Nothing: the defense is given."""
        return [()]

    def describe(self) -> dict[str, Any]:
        """What makes a study this one: other values make another study."""
        code = {chosen[0]: chosen for chosen in [UNATTACKED, *self.fixed()]}
        return self._described("attacker", code) | {"tolerance": TOLERANCE}

    @property
    def steps(self) -> int:
        """One for each round of a trial's federations."""
        return len(self.seeds) * self.federations.cell(UNATTACKED, self.seeds[0]).rounds

    def so_far(self, rounds: Sequence[Sequence[Metrics]]) -> float | None:
        """The mean over federations of in-sample backdoor accuracy over the last fifth.

        Of the federation that runs that is the last fifth of its rounds so far; at a trial's end it
        is the mean of :attr:`SeedScores.backdoor`. In a federation's first quarter nothing is
        told: a model that has learned nothing may well take every seven for a one.
        """
        whole, fifths = self.steps // len(self.seeds), 0.0
        if 4 * len(rounds[-1]) <= whole:
            return None
        for federation in rounds:
            # One that diverged is worth nothing.
            if federation is rounds[-1] or len(federation) == whole:
                last = federation[len(federation) // -5 :]
                fifths += sum(metrics["backdoor_in_sample"] for metrics in last) / len(last)
        return fifths / len(rounds)

    def evaluate(self, chosen: Sequence[str]) -> Evaluation:
        """What an attack gave on the seeds."""
        score = self.federations.score(chosen, self.seeds)
        honest = self.federations.honest(UNATTACKED, self.seeds)
        cost = mean(honest.main) - mean(score.main)
        facts = {"main_accuracy": mean(score.main), "diverged": score.diverged}
        return Evaluation((mean(score.backdoor),), {"main_accuracy": cost - TOLERANCE}, facts)

    def judged(self, chosen: Sequence[str], seeds: Sequence[int]) -> Judged:
        """What an attack gave on fresh seeds and the test half of the users."""
        federations = self.federations.on_test()
        score = federations.score(chosen, seeds)
        honest = federations.honest(UNATTACKED, seeds)
        cost = difference(honest.main, score.main)
        return Judged(score.backdoor, cost, held_out=score.held_out)


def families() -> list[str]:
    """The attacks that plant a backdoor."""
    return [
        name
        for name in available("attack")
        if plants_any(name)
        and target_class("attack", {"name": name, **read_yaml("attack", name)}).active  # type: ignore[attr-defined]
    ]


def fixed_attacks() -> list[Strategy]:
    """Every attack that plants a backdoor, as its yaml has it."""
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
    lines = parted(words)
    for line in [*lines["defense"], *lines["else"]]:
        raise UserError(f"{where}: '{line}' is not of the attack")
    chosen = [line.partition("=")[2] for line in lines["attack"] if line.startswith("attack=")]
    if len(chosen) != 1:
        raise UserError(f"{where}: must choose one attack, such as 'attack=boosted'")
    if chosen[0] not in families():
        raise UserError(
            f"{where}: plants no backdoor; valid: attack={', attack='.join(families())}"
        )
    compose(words)
    return tuple(lines["attack"])
