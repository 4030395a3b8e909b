"""An arms race: attacker and defender answer each other until neither gains more than the noise.

The attacker answers the defense that stands; the defender answers all attacks that are known, the
fixed ones and those found on the way, a set that grows as in the double oracle algorithm (McMahan,
Gordon, Blum 2003, "Planning in the presence of cost functions controlled by an adversary"). Unlike
there nobody mixes: a server runs one defense, and the adversary knows which.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from benchmark.results.statistics import Estimate, beyond_noise, difference, estimate, mean
from benchmark.tuning.problem import Strategy

Side = Literal["attack", "defense"]
SIDES: tuple[Side, Side] = ("attack", "defense")
End = Literal["settled", "moves", "time"]
"""Neither side gained more than the noise; or the moves, or the time, were used up."""


@dataclass(frozen=True)
class ResponseSearch:
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

    def best_attack(self, defense: Strategy, search: ResponseSearch) -> Response:
        """Search for the strongest attack on one defense."""

    def best_defense(self, attacks: tuple[Strategy, ...], search: ResponseSearch) -> Response:
        """Search for the defense with the lowest worst case over some attacks."""

    def payoff(self, attack: Strategy, defense: Strategy) -> dict[int, float]:
        """The backdoor accuracy of a pair, by fresh seed; 0 of an attack that is noticed."""

    def cost(self, attack: Strategy, defense: Strategy) -> dict[int, float]:
        """Main accuracy that the attack costs, by fresh seed, by which it is noticed."""


@dataclass(frozen=True)
class Pair:
    """A defense and the strongest known attack on it.

    Attributes:
        attack, defense: both.
        payoff: by fresh seed.
        cost: main accuracy that the attack costs, by fresh seed.
    """

    attack: Strategy
    defense: Strategy
    payoff: dict[int, float]
    cost: dict[int, float]


@dataclass(frozen=True)
class Move:
    """A side's answer.

    Attributes:
        number, side: from 1; odd ones are the attacker's.
        response: what was found.
        gain: by fresh seed, what it gains that side over the pair before; None without a find.
        pair: after the move; a defense that gains nothing is not taken.
    """

    number: int
    side: Side
    response: Response
    gain: dict[int, float] | None
    pair: Pair

    @property
    def gains(self) -> bool:
        """Whether the gain is more than the noise: its 95 % interval lies above 0."""
        return beyond_noise(self.gain)


@dataclass(frozen=True)
class Race:
    """How a race went.

    Attributes:
        start: the defense at the start and the strongest fixed attack on it.
        moves: in order.
        end: why there is no further one.
    """

    start: Pair
    moves: list[Move]
    end: End

    @property
    def final(self) -> Pair:
        """The last pair."""
        return self.moves[-1].pair if self.moves else self.start


@dataclass(frozen=True)
class Regret:
    """What a side still gains by a fresh search against the other's final strategy, by fresh seed;
    None without a find.
    """

    response: Response
    gain: dict[int, float] | None


@dataclass(frozen=True)
class Exploitability:
    """How far a pair is from an equilibrium: the sum of what both sides still gain (NashConv).

    A side that finds nothing better keeps what it has and gains 0. The searches are as limited as
    those of the race, so longer ones may find more; and as only gains above 0 are added, noise
    alone gives more than 0, which :meth:`is_found` tells apart.
    """

    attack: Regret
    defense: Regret

    @property
    def total(self) -> Estimate:
        """Mean and interval over the fresh seeds."""
        gains = [r.gain for r in (self.attack, self.defense) if r.gain and mean(r.gain) > 0]
        seeds = {seed for r in (self.attack, self.defense) for seed in r.gain or {}}
        total = estimate({seed: sum(gain[seed] for gain in gains) for seed in seeds})
        return total if gains and total else Estimate(0.0, None, len(seeds))

    @property
    def is_found(self) -> bool:
        """Whether a side gains more than the noise."""
        return any(beyond_noise(regret.gain) for regret in (self.attack, self.defense))


def race(
    game: Game,
    fixed: Sequence[Strategy],
    defense: Strategy,
    moves: int,
    tell: Callable[[Move], None],
    is_late: Callable[[], bool],
) -> Race:
    """Alternate both sides' searches, the attacker first.

    Whoever gains nothing leaves the pair as it was, and the other side has answered that pair
    already: then the race is settled. Only the first move has no such answer before it.

    Args:
        game: what is played.
        fixed: attacks to start with.
        defense: to start with.
        moves: at most.
        tell: told of every move.
        is_late: asked before every move whether time is up.
    """
    attacks = list(dict.fromkeys(fixed))
    defenses = [defense]
    start = pair = strongest(game, attacks, defense)
    made: list[Move] = []
    for number in range(1, moves + 1):
        if is_late():
            return Race(start, made, "time")
        side = SIDES[(number - 1) % 2]
        own = attacks if side == "attack" else defenses
        search = ResponseSearch(f"{number}-{side}", tuple(own))
        if side == "attack":
            response = game.best_attack(pair.defense, search)
        else:
            response = game.best_defense(tuple(attacks), search)
        gain, after = _answered(game, side, response.strategy, attacks, pair)
        if response.strategy is not None and response.strategy not in own:
            own.append(response.strategy)
        made.append(Move(number, side, response, gain, after))
        pair = after
        tell(made[-1])
        if number > 1 and not made[-1].gains:
            return Race(start, made, "settled")
    return Race(start, made, "moves")


def _answered(
    game: Game, side: Side, found: Strategy | None, attacks: Sequence[Strategy], pair: Pair
) -> tuple[dict[int, float] | None, Pair]:
    """What a search's find gains over a pair, and the pair after it."""
    if found is None:
        return None, pair
    if side == "attack":
        gain = difference(game.payoff(found, pair.defense), pair.payoff)
        return gain, strongest(game, [*attacks, found], pair.defense)
    after = strongest(game, attacks, found)
    gain = difference(pair.payoff, after.payoff)
    return gain, after if beyond_noise(gain) else pair


def strongest(game: Game, attacks: Sequence[Strategy], defense: Strategy) -> Pair:
    """The pair of a defense and the attack that gets most through it; of equal ones the first."""
    payoffs = {attack: game.payoff(attack, defense) for attack in attacks}
    attack = max(payoffs, key=lambda attack: mean(payoffs[attack]))
    return Pair(attack, defense, payoffs[attack], game.cost(attack, defense))


def exploit(game: Game, final: Pair, after: int) -> Exploitability:
    """Have both sides search anew against the other's final strategy, with nothing known.

    Args:
        game: what was played.
        final: the pair.
        after: so many moves; another end of the same race is another search.
    """
    searches = [ResponseSearch(f"{after}-fresh-{side}", fresh=True) for side in SIDES]
    attack = game.best_attack(final.defense, searches[0])
    defense = game.best_defense((final.attack,), searches[1])
    attack_gain = defense_gain = None
    if attack.strategy is not None:
        attack_gain = difference(game.payoff(attack.strategy, final.defense), final.payoff)
    if defense.strategy is not None:
        defense_gain = difference(final.payoff, game.payoff(final.attack, defense.strategy))
    return Exploitability(Regret(attack, attack_gain), Regret(defense, defense_gain))
