"""The game of an arms race as federations: a search is a study, a payoff is on fresh seeds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from benchmark.config.search_space import Space
from benchmark.results.gates import TOLERANCE, exceeds
from benchmark.results.statistics import difference
from benchmark.tuning.attacker import Attacker, families
from benchmark.tuning.defender import Defender
from benchmark.tuning.federated_problem import Judged
from benchmark.tuning.federations import UNATTACKED, Federations, SeedScores
from benchmark.tuning.problem import FinishedTrial, Strategy
from benchmark.tuning.race import Response, ResponseSearch
from benchmark.tuning.reevaluation import best


@dataclass(frozen=True)
class Answer(Defender):
    """Chooses a defense by what it is worth in the race: both sides want the same number.

    Minimizes the payoff of the strongest attack: its in-sample backdoor accuracy, 0 for an attack
    that costs a mean main accuracy of more than :data:`TOLERANCE` beside the same defense without
    attack, because it is noticed. Subject to a main accuracy *without attack* within the
    leaderboard's gate: what the defense itself costs.

    A study of defenses is stricter (:class:`Defender`): there an attack that is noticed counts in
    full, and has to be withstood.
    """

    def kept(self, scores: Mapping[Strategy, SeedScores]) -> list[SeedScores]:
        """That without attack alone."""
        return [scores[UNATTACKED]]

    def through(self, scores: Mapping[Strategy, SeedScores], attack: Strategy) -> dict[int, float]:
        """What an attack gets through: nothing where it is noticed."""
        cost = difference(scores[UNATTACKED].main, scores[attack].main)
        backdoor = scores[attack].backdoor
        return dict.fromkeys(backdoor, 0.0) if exceeds(cost, TOLERANCE) else backdoor


Run = Callable[[ResponseSearch, Attacker | Answer], Sequence[FinishedTrial]]
"""Finishes the study of a search; its trials."""


@dataclass(frozen=True)
class FederatedGame:
    """Attacks and defenses of ``conf/``, in their whole spaces.

    Attributes:
        federations: of all that is neither attack nor defense.
        seeds: to tune on.
        fresh: seeds of the payoffs.
        best: trials of a study that are judged, until one is allowed.
        run: finishes a study.
    """

    federations: Federations
    seeds: tuple[int, ...]
    fresh: tuple[int, ...]
    best: int
    run: Run

    def best_attack(self, defense: Strategy, search: ResponseSearch) -> Response:
        """See :class:`benchmark.tuning.race.Game`."""
        return self._response(self.attacker(defense), search)

    def best_defense(self, attacks: tuple[Strategy, ...], search: ResponseSearch) -> Response:
        """See :class:`benchmark.tuning.race.Game`."""
        return self._response(self.defender(attacks), search)

    def payoff(self, attack: Strategy, defense: Strategy) -> dict[int, float]:
        """See :class:`benchmark.tuning.race.Game`; who is noticed gets nothing."""
        judged = self._judged(attack, defense)
        return judged.backdoor if judged.feasible else dict.fromkeys(judged.backdoor, 0.0)

    def cost(self, attack: Strategy, defense: Strategy) -> dict[int, float]:
        """See :class:`benchmark.tuning.race.Game`."""
        return self._judged(attack, defense).cost

    def attacker(self, defense: Strategy) -> Attacker:
        """The attacker's problem against a defense."""
        overrides = (*self.federations.overrides, *defense)
        federations = replace(self.federations, overrides=overrides)
        return Attacker(federations, self.seeds, Space.of("attack", families()))

    def defender(self, attacks: tuple[Strategy, ...]) -> Answer:
        """The defender's problem against attacks."""
        federations = self.federations
        return Answer.against(attacks, federations.overrides, self.seeds, federations.at)

    def _response(self, problem: Attacker | Answer, search: ResponseSearch) -> Response:
        tried = self.run(search, replace(problem, earlier=search.known))
        for trial in best(tried, self.best, problem.directions):
            # Not the best of them on the fresh seeds: that would be a maximum again.
            if problem.judge([trial.overrides], self.fresh)[0].feasible:
                return Response(trial.overrides, trial.value)
        return Response(None, None)

    def _judged(self, attack: Strategy, defense: Strategy) -> Judged:
        return self.attacker(defense).judge([attack], self.fresh)[0]
