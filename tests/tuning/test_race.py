"""The arms race on games whose equilibria are known."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from benchmark.results.statistics import Estimate
from benchmark.tuning.problem import Strategy
from benchmark.tuning.race import Move, Race, Response, ResponseSearch, exploit, race

SEEDS = (1000, 1001, 1002)


@dataclass
class Matrix:
    """A zero-sum game by its payoffs; searches are exact, of equal answers the first."""

    payoffs: list[list[float]]
    noise: dict[int, float] = field(default_factory=lambda: dict.fromkeys(SEEDS, 0.0))
    noisy: Strategy = ()
    searches: list[tuple[ResponseSearch, object]] = field(default_factory=list)

    @property
    def attacks(self) -> list[Strategy]:
        return [(f"a{i}",) for i in range(len(self.payoffs))]

    @property
    def defenses(self) -> list[Strategy]:
        return [(f"d{i}",) for i in range(len(self.payoffs[0]))]

    def value(self, attack: Strategy, defense: Strategy) -> float:
        return self.payoffs[int(attack[0][1:])][int(defense[0][1:])]

    def best_attack(self, defense: Strategy, search: ResponseSearch) -> Response:
        self.searches.append((search, defense))
        best = max(self.attacks, key=lambda attack: self.value(attack, defense))
        return Response(best, self.value(best, defense))

    def best_defense(self, attacks: tuple[Strategy, ...], search: ResponseSearch) -> Response:
        self.searches.append((search, attacks))

        def worst(defense: Strategy) -> float:
            return max(self.value(attack, defense) for attack in attacks)

        best = min(self.defenses, key=worst)
        return Response(best, worst(best))

    def payoff(self, attack: Strategy, defense: Strategy) -> dict[int, float]:
        noise = self.noise if self.noisy in (attack, defense) else dict.fromkeys(SEEDS, 0.0)
        return {seed: self.value(attack, defense) + noise[seed] for seed in SEEDS}

    def cost(self, attack: Strategy, defense: Strategy) -> dict[int, float]:
        return dict.fromkeys(SEEDS, 0.0)


# a1 against d1 is a saddle point, with the value 0.4.
SADDLE = [[0.9, 0.2, 0.5], [0.8, 0.4, 0.6], [0.1, 0.3, 0.9]]
PENNIES = [[1.0, 0.0], [0.0, 1.0]]
# How far the defender's guess lies off: his best one is the middle, the attacker flees to an end.
DISTANCE = [[abs(a - d) / 6 for d in range(7)] for a in range(7)]


def run(
    game: Matrix,
    moves: int = 9,
    fixed: Sequence[str] = ("a0",),
    tell: Callable[[Move], None] = lambda move: None,
    is_late: Callable[[], bool] = lambda: False,
) -> Race:
    return race(game, [(name,) for name in fixed], ("d0",), moves, tell, is_late)


def test_a_saddle_point_is_found_and_cannot_be_exploited() -> None:
    game, told = Matrix(SADDLE), list[Move]()
    found = run(game, tell=told.append)
    assert (found.final.attack, found.final.defense) == (("a1",), ("d1",))
    assert found.final.payoff == dict.fromkeys(SEEDS, 0.4)
    assert found.end == "settled"
    assert told == found.moves
    # The attacker cannot gain on 0.9 at d0; the defender takes d1; the attacker takes a1; the
    # defender has nothing better against a0 and a1.
    assert [m.side for m in found.moves] == ["attack", "defense", "attack", "defense"]
    assert [m.gain and round(m.gain[1000], 9) for m in found.moves] == [0, 0.7, 0.2, 0]
    assert [m.gains for m in found.moves] == [False, True, True, False]
    left = exploit(game, found.final, len(found.moves))
    assert left.total == Estimate(0.0, None, 3)
    assert left.attack.gain == left.defense.gain == dict.fromkeys(SEEDS, 0.0)


def test_without_a_saddle_point_the_pair_can_be_exploited() -> None:
    game = Matrix(PENNIES)
    found = run(game)
    # No defense stops both sides of a coin, so the defender settles; against the one that was
    # played he would do better.
    assert found.end == "settled"
    assert found.final.payoff == dict.fromkeys(SEEDS, 1.0)
    left = exploit(game, found.final, len(found.moves))
    assert left.attack.gain == dict.fromkeys(SEEDS, 0.0)
    assert left.defense.gain == dict.fromkeys(SEEDS, 1.0)
    assert left.total == Estimate(1.0, 0.0, 3)


@pytest.mark.parametrize("moves", [1, 2, 3, 4])
def test_a_budget_ends_it_before(moves: int) -> None:
    game = Matrix(DISTANCE)
    found = run(game, moves, fixed=("a4",))
    assert len(found.moves) == moves
    assert found.end == "moves"
    assert all(move.gains for move in found.moves)
    assert exploit(game, found.final, moves).total.mean > 0
    whole = run(game, fixed=("a4",))
    assert whole.moves[:moves] == found.moves
    assert whole.final.defense == ("d3",)
    assert whole.end == "settled"


def test_time_ends_it_between_moves() -> None:
    game = Matrix(DISTANCE)
    clock = iter([False, False, True])
    found = run(game, fixed=("a4",), is_late=lambda: next(clock))
    assert len(found.moves) == 2
    assert found.end == "time"
    late = run(game, fixed=("a4",), is_late=lambda: True)
    assert (late.moves, late.final, late.end) == ([], late.start, "time")


def test_the_set_of_attacks_grows_and_finds_are_known_to_the_next_search() -> None:
    game = Matrix(DISTANCE)
    run(game, fixed=("a4", "a4", "a5"))
    named = {search.name: (search, against) for search, against in game.searches}
    assert list(named) == ["1-attack", "2-defense", "3-attack", "4-defense", "5-attack"]
    assert named["1-attack"] == (ResponseSearch("1-attack", (("a4",), ("a5",))), ("d0",))
    assert named["2-defense"][1] == (("a4",), ("a5",), ("a6",))
    assert named["3-attack"][0].known == (("a4",), ("a5",), ("a6",))
    assert named["4-defense"][1] == (("a4",), ("a5",), ("a6",), ("a0",))
    assert named["4-defense"][0].known == (("d0",), ("d5",))
    game.searches.clear()
    exploit(game, run(game, 1).final, 1)
    assert [(s, against) for s, against in game.searches if s.fresh] == [
        (ResponseSearch("1-fresh-attack", (), True), ("d0",)),
        (ResponseSearch("1-fresh-defense", (), True), (("a6",),)),
    ]


def test_a_gain_within_the_noise_is_none() -> None:
    noise = dict(zip(SEEDS, (-0.3, 0.3, 0.0), strict=True))
    # The attacker gains 0.1 on average, with an interval that reaches far below 0.
    game = Matrix([[0.5, 0.5], [0.6, 0.6]], noise, ("a1",))
    found = run(game)
    assert [m.gains for m in found.moves] == [False, False]
    assert found.end == "settled"
    assert run(Matrix(game.payoffs)).moves[0].gains
    # A defense that gains as little is not taken.
    game = Matrix([[0.5, 0.4]], noise, ("d1",))
    found = run(game)
    assert found.moves[1].response.strategy == ("d1",)
    assert not found.moves[1].gains
    assert found.final.defense == ("d0",)


def test_who_finds_nothing_gains_nothing() -> None:
    class Barren(Matrix):
        def best_attack(self, defense: Strategy, search: ResponseSearch) -> Response:
            return Response(None, None)

        def best_defense(self, attacks: tuple[Strategy, ...], search: ResponseSearch) -> Response:
            return Response(None, None)

    game = Barren(SADDLE)
    found = run(game)
    assert [m.gain for m in found.moves] == [None, None]
    assert found.final == found.start
    left = exploit(game, found.final, 2)
    assert (left.attack.gain, left.defense.gain) == (None, None)
    assert left.total.mean == 0
