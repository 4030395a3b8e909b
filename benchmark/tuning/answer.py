"""The defender's problem in an arms race: the least that attacks get through unnoticed."""

from collections.abc import Mapping
from dataclasses import dataclass

from benchmark.results.gates import TOLERANCE
from benchmark.results.statistics import difference, mean
from benchmark.tuning.defender import Defender
from benchmark.tuning.federations import UNATTACKED, Score
from benchmark.tuning.game import Strategy


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

    def kept(self, scores: Mapping[Strategy, Score]) -> list[Score]:
        """That without attack alone."""
        return [scores[tuple(UNATTACKED)]]

    def through(self, scores: Mapping[Strategy, Score], attack: Strategy) -> dict[int, float]:
        """What an attack gets through: nothing where it is noticed."""
        cost = difference(scores[tuple(UNATTACKED)].main, scores[attack].main)
        backdoor = scores[attack].backdoor
        return dict.fromkeys(backdoor, 0.0) if mean(cost) > TOLERANCE else backdoor
