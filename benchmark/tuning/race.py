"""An arms race: attacker and defender answer each other until neither gains more than the noise.

The attacker answers the defense that stands; the defender answers all attacks that are known, the
fixed ones and those found on the way, a set that grows as in the double oracle algorithm (McMahan,
Gordon, Blum 2003, "Planning in the presence of cost functions controlled by an adversary"). Unlike
there nobody mixes: a server runs one defense, and the adversary knows which.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmark.results.statistics import Estimate, beyond_noise, difference, estimate, mean
from benchmark.tuning.game import Game, Response, Search, Strategy

Side = Literal["attack", "defense"]
End = Literal["settled", "moves", "time"]
"""Neither side gained more than the noise; or the moves, or the time, were used up."""


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
        number: from 1; odd ones are the attacker's.
        side: whose.
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
    """What a side still gains by a fresh search against the other's final strategy.

    Attributes:
        response: what that search found.
        gain: by fresh seed; None without a find.
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
        side: Side = "attack" if number % 2 else "defense"
        own = attacks if side == "attack" else defenses
        search = Search(f"{number}-{side}", tuple(own))
        if side == "attack":
            response = game.best_attack(pair.defense, search)
        else:
            response = game.best_defense(tuple(attacks), search)
        move = _move(game, number, side, response, attacks, pair)
        if response.strategy is not None and response.strategy not in own:
            own.append(response.strategy)
        pair = move.pair
        made.append(move)
        tell(move)
        if number > 1 and not move.gains:
            return Race(start, made, "settled")
    return Race(start, made, "moves")


def _move(
    game: Game,
    number: int,
    side: Side,
    response: Response,
    attacks: Sequence[Strategy],
    pair: Pair,
) -> Move:
    """A search's find as a move, over the pair before."""
    if response.strategy is None:
        return Move(number, side, response, None, pair)
    if side == "attack":
        own = game.payoff(response.strategy, pair.defense)
        gain = difference(own, pair.payoff)
        after = strongest(game, [*attacks, response.strategy], pair.defense)
        return Move(number, side, response, gain, after)
    after = strongest(game, attacks, response.strategy)
    gain = difference(pair.payoff, after.payoff)
    return Move(number, side, response, gain, after if beyond_noise(gain) else pair)


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
    attack = game.best_attack(final.defense, Search(f"{after}-fresh-attack", fresh=True))
    defense = game.best_defense((final.attack,), Search(f"{after}-fresh-defense", fresh=True))
    attack_gain = defense_gain = None
    if attack.strategy is not None:
        attack_gain = difference(game.payoff(attack.strategy, final.defense), final.payoff)
    if defense.strategy is not None:
        defense_gain = difference(final.payoff, game.payoff(final.attack, defense.strategy))
    return Exploitability(Regret(attack, attack_gain), Regret(defense, defense_gain))
