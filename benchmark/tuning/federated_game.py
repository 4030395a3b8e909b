"""The game of an arms race as federations: a search is a study, a payoff is on fresh seeds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from benchmark.config.search_space import Space
from benchmark.tuning.answer import Answer
from benchmark.tuning.attacker import Attacker, families
from benchmark.tuning.federations import Federations
from benchmark.tuning.game import Response, Search, Strategy
from benchmark.tuning.problem import Tried
from benchmark.tuning.reevaluation import Judged, best

Run = Callable[[Search, Attacker | Answer], Sequence[Tried]]
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
        workers: federations of a payoff at a time.
    """

    federations: Federations
    seeds: tuple[int, ...]
    fresh: tuple[int, ...]
    best: int
    run: Run
    workers: int = 1

    def best_attack(self, defense: Strategy, search: Search) -> Response:
        """See :class:`benchmark.tuning.game.Game`."""
        return self._response(self.attacker(defense), search)

    def best_defense(self, attacks: tuple[Strategy, ...], search: Search) -> Response:
        """See :class:`benchmark.tuning.game.Game`."""
        return self._response(self.defender(attacks), search)

    def payoff(self, attack: Strategy, defense: Strategy) -> dict[int, float]:
        """See :class:`benchmark.tuning.game.Game`; who is noticed gets nothing."""
        judged = self._judge(self.attacker(defense), attack)
        return judged.backdoor if judged.feasible else dict.fromkeys(judged.backdoor, 0.0)

    def cost(self, attack: Strategy, defense: Strategy) -> dict[int, float]:
        """See :class:`benchmark.tuning.game.Game`."""
        return self._judge(self.attacker(defense), attack).cost

    def attacker(self, defense: Strategy) -> Attacker:
        """The attacker's problem against a defense."""
        overrides = (*self.federations.overrides, *defense)
        federations = replace(self.federations, overrides=overrides)
        return Attacker(federations, self.seeds, Space.of("attack", families()))

    def defender(self, attacks: tuple[Strategy, ...]) -> Answer:
        """The defender's problem against attacks."""
        return Answer.against(
            attacks,
            self.federations.overrides,
            self.seeds,
            self.federations.folder,
            self.federations.watch,
        )

    def _response(self, problem: Attacker | Answer, search: Search) -> Response:
        tried = self.run(search, replace(problem, earlier=search.known))
        for trial in best(tried, self.best, problem.directions[0]):
            # Not the best of them on the fresh seeds: that would be a maximum again.
            if self._judge(problem, trial.overrides).feasible:
                return Response(trial.overrides, trial.value)
        return Response(None, None)

    def _judge(self, problem: Attacker | Answer, chosen: Strategy) -> Judged:
        problem.judge_ahead([chosen], self.fresh, self.workers)
        return problem.judge(chosen, self.fresh)
