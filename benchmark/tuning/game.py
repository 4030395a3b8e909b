"""What an arms race is played on: two searches, and what a pair is worth on fresh seeds."""

from dataclasses import dataclass
from typing import Protocol

Strategy = tuple[str, ...]
"""An attack or a defense, as overrides."""


@dataclass(frozen=True)
class Search:
    """How a side looks for its best response.

    Attributes:
        name: unique in the race; the same name finds again what was searched before.
        known: what the side had before, tried first.
        fresh: draw what no other search of the race drew.
    """

    name: str
    known: tuple[Strategy, ...] = ()
    fresh: bool = False


@dataclass(frozen=True)
class Response:
    """What a search found.

    Attributes:
        strategy: None if nothing that it found is allowed.
        found: its value where it was searched, the best of many: optimistic.
    """

    strategy: Strategy | None
    found: float | None


class Game(Protocol):
    """A zero-sum game: the attacker wants a high payoff, the defender a low one."""

    def best_attack(self, defense: Strategy, search: Search) -> Response:
        """Search for the strongest attack on one defense."""

    def best_defense(self, attacks: tuple[Strategy, ...], search: Search) -> Response:
        """Search for the defense with the lowest worst case over some attacks."""

    def payoff(self, attack: Strategy, defense: Strategy) -> dict[int, float]:
        """The backdoor accuracy of a pair, by fresh seed; 0 of an attack that is noticed."""

    def cost(self, attack: Strategy, defense: Strategy) -> dict[int, float]:
        """Main accuracy that the attack costs, by fresh seed, by which it is noticed."""
