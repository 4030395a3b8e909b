"""The defender's problem: the least backdoor in the worst of several attacks, at little cost."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from benchmark.config.compose import available, compose, parse_overrides
from benchmark.config.search_space import Space
from benchmark.results.gates import GATE
from benchmark.results.statistics import difference, mean
from benchmark.run.suite import Watch
from benchmark.tuning.attacker import known
from benchmark.tuning.federations import UNATTACKED, UNDEFENDED, Federations, Score, given
from benchmark.tuning.problem import Direction, Evaluation, OnStep, Strategy
from benchmark.tuning.reevaluation import Judged
from benchmark.utils.errors import UserError


@dataclass(frozen=True)
class Defender:
    """Chooses a defense and its parameters; all else is given, the attacks too.

    Minimizes the worst case, max over attacks of the mean over seeds of in-sample backdoor
    accuracy, subject to the leaderboard's gate: a mean main accuracy, without attack and under
    every one of them, within :data:`benchmark.results.gates.GATE` of the undefended,
    unattacked federations. As a Pareto problem it maximizes the lowest of these main accuracies
    instead of bounding it.

    An attack may follow the defense, as ``norm_bounded`` does where its bound is not given: the
    adversary knows the defense.

    Attributes:
        federations: of all that is neither attack nor defense.
        seeds: to tune on.
        space: over defenses.
        attacks: those to withstand.
        directions: (minimize,), or (minimize, maximize) for a Pareto front.
        earlier: defenses found before, tried first.
    """

    federations: Federations
    seeds: tuple[int, ...]
    space: Space
    attacks: tuple[Strategy, ...]
    directions: tuple[Direction, ...] = ("minimize",)
    earlier: tuple[Strategy, ...] = ()

    @classmethod
    def against(
        cls,
        attacks: Sequence[Strategy],
        overrides: Sequence[str],
        seeds: Sequence[int],
        folder: Path,
        watch: Watch,
    ) -> Self:
        """The problem that overrides describe; ``defense=NAME`` searches no other than those named.

        Raises:
            UserError: see :func:`divide`; or a yaml declares no valid space.
        """
        names, others = divide(overrides)
        space = Space.of("defense", names)
        return cls(Federations(others, folder, watch), tuple(seeds), space, tuple(attacks))

    def check(self) -> None:
        """Refuse what would refuse in a trial: parts that do not fit each other or the data.

        Raises:
            UserError: says which part.
        """
        # Imported late: Lightning takes seconds, and a wrong name needs none of it.
        from benchmark.run.training import check

        for chosen in self._chosen():
            for federations in (self.federations, self.federations.on_test()):
                check(federations.cell(chosen, self.seeds[0]))

    def describe(self) -> dict[str, Any]:
        """What makes a study this one: other values make another study."""
        seed = self.seeds[0]
        honest = self.federations.cell([*UNDEFENDED, *UNATTACKED], seed)
        attacked = {
            shlex.join(attack): self.federations.cell([*UNDEFENDED, *attack], seed)
            for attack in self.attacks
        }
        defended = {d[0]: self.federations.cell([*d, *UNATTACKED], seed) for d in self.fixed()}
        return {
            "problem": type(self).__name__.lower(),
            "space": self.space.describe(),
            "attacks": {name: cell.config["attack"] for name, cell in attacked.items()},
            "configuration": given(honest, "defense"),
            "data": honest.data_hash,
            "code": {name: cell.fingerprint for name, cell in (attacked | defended).items()},
            "seeds": list(self.seeds),
            "tolerance": GATE,
            "directions": list(self.directions),
        }

    def fixed(self) -> list[list[str]]:
        """Every defense as its yaml has it."""
        return [[f"defense={family}"] for family in self.space.families]

    def known(self) -> dict[str, dict[str, Any]]:
        """The fixed defenses that lie in the space and earlier finds, as trials' parameters."""
        return known(self.point, self.fixed(), self.earlier)

    def point(self, chosen: Sequence[str]) -> dict[str, Any] | None:
        """A choice as a trial's parameters; None outside of the space."""
        whole = compose([*self.federations.common, *chosen])
        return self.space.point(whole[self.space.group])

    @property
    def steps(self) -> int:
        """None: see :meth:`evaluate`."""
        return 0

    def prepare(self, workers: int) -> None:
        """Run the undefended federations without attack that trials are held against."""
        self.federations.run_ahead([[*UNDEFENDED, *UNATTACKED]], self.seeds, workers)
        _honest(self.federations, self.seeds)

    def evaluate(self, chosen: Sequence[str], report: OnStep) -> Evaluation:
        """Run a defense without attack and under every attack on the seeds.

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
        cost = mean(_honest(self.federations, self.seeds).main) - main
        return Evaluation((backdoor,), constraints | {"main_accuracy": cost - GATE}, facts)

    def judge_ahead(
        self, settings: Sequence[Sequence[str]], seeds: Sequence[int], workers: int
    ) -> None:
        """Run what judging these defenses needs over as many processes."""
        attacks = [UNATTACKED, *self.attacks]
        against = [[*chosen, *attack] for chosen in settings for attack in attacks]
        honest = [*UNDEFENDED, *UNATTACKED]
        self.federations.on_test().run_ahead([honest, *against], seeds, workers)

    def judge(self, chosen: Sequence[str], seeds: Sequence[int]) -> Judged:
        """Run a defense on fresh seeds and the test half of the users.

        The worst case there may be another attack than in tuning.
        """
        federations = self.federations.on_test()
        scores = self._scores(federations, chosen, seeds)
        honest = _honest(federations, seeds)
        worst, _ = self._worst(scores)
        costs = [difference(honest.main, score.main) for score in self.kept(scores)]
        through = self.through(scores, worst)
        return Judged(through, max(costs, key=mean), worst, scores[worst].held_out, GATE)

    def kept(self, scores: Mapping[Strategy, Score]) -> list[Score]:
        """Those whose main accuracy a defense has to keep: all of them.

        Args:
            scores: by attack, without any first.
        """
        return list(scores.values())

    def through(self, scores: Mapping[Strategy, Score], attack: Strategy) -> dict[int, float]:
        """What counts as what an attack gets through, by seed: its backdoor accuracy."""
        return scores[attack].backdoor

    def _worst(self, scores: Mapping[Strategy, Score]) -> tuple[Strategy, float]:
        """The attack that gets most through, and how much; of equal ones the first."""
        got = {a: mean(self.through(scores, a)) for a in scores if a != tuple(UNATTACKED)}
        worst = max(got, key=lambda attack: got[attack])
        return worst, got[worst]

    def _chosen(self) -> list[list[str]]:
        """Every defense, and none, with every attack, and none."""
        attacks = [UNATTACKED, *map(list, self.attacks)]
        defended = [[*defense, *attack] for defense in self.fixed() for attack in attacks]
        honest = [*UNDEFENDED, *UNATTACKED]
        return defended if honest in defended else [honest, *defended]

    def _scores(
        self, federations: Federations, chosen: Sequence[str], seeds: Sequence[int]
    ) -> dict[Strategy, Score]:
        """By attack, without any first."""
        return {
            tuple(attack): federations.score([*chosen, *attack], seeds)
            for attack in [UNATTACKED, *self.attacks]
        }


def _honest(federations: Federations, seeds: Sequence[int]) -> Score:
    return federations.honest([*UNDEFENDED, *UNATTACKED], seeds)


def divide(overrides: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """Which defenses are searched, all where none is named, and the overrides of all else.

    Raises:
        UserError: they set a defense's parameter or choose an attack, which is the study's part.
    """
    names, others = list[str](), list[str]()
    for override in parse_overrides(overrides):
        key, line = override.key_or_group, str(override.input_line)
        if key == "defense":
            names.append(str(override.value()))
        elif key.partition(".")[0] == "defense":
            raise UserError(
                f"'{line}': the defense is what is tuned; its ranges are the search: of "
                f"conf/defense/NAME.yaml, and defense=NAME searches NAME alone"
            )
        elif key.partition(".")[0] == "attack":
            raise UserError(f"'{line}': --against '{line}' says which attacks to withstand")
        else:
            others.append(line)
    return list(dict.fromkeys(names)) or available("defense"), tuple(others)
