"""The defender's problem: the least backdoor in the worst of several attacks, at little cost."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from benchmark.config.compose import compose
from benchmark.config.instantiate import make
from benchmark.config.plugins import available
from benchmark.config.search_space import Space
from benchmark.results.gates import GATE
from benchmark.results.statistics import difference, mean
from benchmark.tuning.federated_problem import FederatedProblem, Judged
from benchmark.tuning.federations import UNATTACKED, UNDEFENDED, Federations, SeedScores, parted
from benchmark.tuning.problem import Direction, Evaluation, Strategy
from benchmark.tuning.workplace import Workplace
from benchmark.utils.errors import UserError


@dataclass(frozen=True)
class Defender(FederatedProblem):
    """Chooses a defense and its parameters; all else is given, the attacks too.

    Minimizes the worst case, max over attacks of the mean over seeds of in-sample backdoor
    accuracy, subject to the leaderboard's gate: a mean main accuracy, without attack and under
    every one of them, within :data:`benchmark.results.gates.GATE` of the undefended,
    unattacked federations. As a Pareto problem it maximizes the lowest of these main accuracies
    instead of bounding it.

    An attack may follow the defense, as ``norm_bounded`` does where its bound is not given: the
    adversary knows the defense.

    Attributes:
        attacks: those to withstand.
        directions: (minimize,), or (minimize, maximize) for a Pareto front.
    """

    attacks: tuple[Strategy, ...]
    directions: tuple[Direction, ...] = field(default=("minimize",), kw_only=True)

    @classmethod
    def against(
        cls,
        attacks: Sequence[Strategy],
        overrides: Sequence[str],
        seeds: Sequence[int],
        at: Workplace,
    ) -> Self:
        """The problem that overrides describe; ``defense=NAME`` searches no other than those named.

        Raises:
            UserError: see :func:`divide`; or a yaml declares no valid space.
        """
        names, others = divide(overrides)
        space = Space.of("defense", names or defined(others))
        return cls(Federations(others, at), tuple(seeds), space, tuple(attacks))

    @property
    def honest(self) -> Strategy:
        """Neither defense nor attack."""
        return (*UNDEFENDED, *UNATTACKED)

    @property
    def others(self) -> Sequence[Strategy]:
        """No attack, and every one of them."""
        return [UNATTACKED, *self.attacks]

    def describe(self) -> dict[str, Any]:
        """What makes a study this one: other values make another study."""
        attacked = {shlex.join(attack): (*UNDEFENDED, *attack) for attack in self.attacks}
        defended = {defense[0]: (*defense, *UNATTACKED) for defense in self.fixed()}
        cells = {name: self.federations.cell(c, self.seeds[0]) for name, c in attacked.items()}
        told = self._described(
            type(self).__name__.lower(),
            attacked | defended,
            attacks={name: cell.config["attack"] for name, cell in cells.items()},
        )
        return told | {"tolerance": GATE, "directions": list(self.directions)}

    def evaluate(self, chosen: Sequence[str]) -> Evaluation:
        """What a defense gave without attack and under every attack on the seeds.

        Nobody is told of rounds: what counts is the worst of several federations, which none of
        them shows alone.
        """
        scores = self._scores(self.federations, chosen, self.seeds)
        worst, backdoor = self._worst(scores)
        main = min(mean(score.main) for score in self.kept(scores))
        diverged = sorted({seed for score in self.kept(scores) for seed in score.diverged})
        facts = {"main_accuracy": main, "diverged": diverged, "against": shlex.join(worst)}
        # Nothing is backdoored where there is no model.
        constraints = {"diverged": float(len(diverged))}
        if len(self.directions) > 1:
            return Evaluation((backdoor, main), constraints, facts)
        cost = mean(self.federations.honest(self.honest, self.seeds).main) - main
        return Evaluation((backdoor,), constraints | {"main_accuracy": cost - GATE}, facts)

    def judged(self, chosen: Sequence[str], seeds: Sequence[int]) -> Judged:
        """What a defense gave on fresh seeds and the test half of the users.

        The worst case there may be another attack than in tuning.
        """
        federations = self.federations.on_test()
        scores = self._scores(federations, chosen, seeds)
        honest = federations.honest(self.honest, seeds)
        worst, _ = self._worst(scores)
        costs = [difference(honest.main, score.main) for score in self.kept(scores)]
        through = self.through(scores, worst)
        return Judged(through, max(costs, key=mean), worst, scores[worst].held_out, GATE)

    def kept(self, scores: Mapping[Strategy, SeedScores]) -> list[SeedScores]:
        """Those whose main accuracy a defense has to keep: all of them.

        Args:
            scores: by attack, without any first.
        """
        return list(scores.values())

    def through(self, scores: Mapping[Strategy, SeedScores], attack: Strategy) -> dict[int, float]:
        """What counts as what an attack gets through, by seed: its backdoor accuracy."""
        return scores[attack].backdoor

    def _worst(self, scores: Mapping[Strategy, SeedScores]) -> tuple[Strategy, float]:
        """The attack that gets most through, and how much; of equal ones the first."""
        got = {a: mean(self.through(scores, a)) for a in scores if a != UNATTACKED}
        worst = max(got, key=lambda attack: got[attack])
        return worst, got[worst]

    def _scores(
        self, federations: Federations, chosen: Sequence[str], seeds: Sequence[int]
    ) -> dict[Strategy, SeedScores]:
        """By attack, without any first."""
        return {attack: federations.score([*chosen, *attack], seeds) for attack in self.others}


def divide(overrides: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """Which defenses are searched, empty where none is named, and the overrides of all else.

    Raises:
        UserError: they set a defense's parameter or choose an attack, which is the study's part.
    """
    lines = parted(overrides)
    for line in lines["attack"]:
        raise UserError(f"'{line}': --against '{line}' says which attacks to withstand")
    names = [line.removeprefix("defense=") for line in lines["defense"]]
    for line in lines["defense"]:
        if not line.startswith("defense="):
            raise UserError(
                f"'{line}': the defense is what is tuned; its ranges are the search: of "
                f"conf/defense/NAME.yaml, and defense=NAME searches NAME alone"
            )
    return list(dict.fromkeys(names)), tuple(lines["else"])


def defined(overrides: Sequence[str]) -> list[str]:
    """The defenses that are defined for the cohort of a federation; some need many clients."""
    found = []
    for name in available("defense"):
        config = compose([*overrides, f"defense={name}"])
        defense = make("defense", config["defense"])
        least = defense.min_clients(defense.assumed_compromised)
        if least <= config["federation"]["clients_per_round"] and not defense.needs_root_data:
            found.append(name)
    return found
