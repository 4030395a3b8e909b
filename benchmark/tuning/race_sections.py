"""How an arms race went, with a picture."""

import shlex
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from matplotlib.figure import Figure

from benchmark.report.document import (
    Block,
    Bullets,
    Heading,
    Paragraph,
    Picture,
    Table,
    Text,
)
from benchmark.report.numbers import interval, number
from benchmark.results.gates import GATE, TOLERANCE, gate
from benchmark.results.statistics import estimate
from benchmark.tuning.figures import race_figure
from benchmark.tuning.race import Exploitability, Move, Pair, Race, Regret
from benchmark.tuning.sections import TuningReport, coded

ENDS = {
    "settled": "a side gained no more than the noise on a pair that the other had answered",
    "moves": "its moves were used up",
    "time": "its time was up",
}


@dataclass(frozen=True)
class RaceReport(TuningReport):
    """A race's result: its studies are STUDY-1-attack, STUDY-2-defense, ..., it was given nothing
    of the first defense, and its description has the budget of a search.

    Attributes:
        fresh: seeds of the payoffs.
        race: its moves.
        left: what is still to gain.
    """

    heading: ClassVar = "Arms race"
    run_it: ClassVar = "Run the final pair"
    fresh: tuple[int, ...]
    race: Race
    left: Exploitability

    @property
    def chosen(self) -> tuple[str, ...]:
        """The final pair, on the first fresh seed."""
        return (*self.race.final.defense, *self.race.final.attack, f"seed={self.fresh[0]}")

    def plain(self) -> dict[str, Any]:
        """As plain values."""
        return super().plain() | {
            "fresh_seeds": list(self.fresh),
            "start": _plain_pair(self.race.start),
            "moves": [_plain_move(move, self.study) for move in self.race.moves],
            "end": self.race.end,
            "final": _plain_pair(self.race.final),
            "exploitability": {
                "attack": _plain_regret(self.left.attack),
                "defense": _plain_regret(self.left.defense),
                "total": asdict(self.left.total),
                "beyond_noise": self.left.is_found,
            },
            "command": self.command,
        }

    def draw(self) -> Figure:
        """The moves."""
        return race_figure(self.race)

    def blocks(self) -> list[Block]:
        """Budget, verdict, all moves, how they were measured, and what is left to gain."""
        told = self.description
        budget = (
            f"Every move is a study of {told['trials']} trials ({told['sampler']}) on "
            f"{len(told['seeds'])} seeds and the validation half of the users: the attacker "
            "answers the defense that stands, the defender all attacks known so far, the fixed "
            f"ones included. Payoffs are on fresh seeds ({', '.join(map(str, self.fresh))}) and "
            "the test half. "
            f"The race ended after {len(self.race.moves)} moves: {ENDS[self.race.end]}."
        )
        measure = (
            "In-sample backdoor accuracy over the last fifth of the rounds, in %, mean and 95 % "
            "interval over seeds; that of a pair is that of the strongest known attack on the "
            f"defense, and an attack that costs main accuracy more than {100 * TOLERANCE:g} points "
            "is noticed and gets nothing. This is decided by its mean cost: where the interval of "
            f"the cost reaches across {100 * TOLERANCE:g}, it is at the gate, other seeds may "
            "decide otherwise, and the intervals of payoffs and gains know nothing of that. A "
            f"defense may cost {100 * GATE:g} points without an attack. A gain is that of who "
            "moved, paired by seed."
        )
        start = ["start", "", "", *_pair(self.race.start), "", ""]
        return [
            Paragraph(budget),
            Paragraph(coded(self.verdict())),
            Picture("race", "The race", "What each move of the race reached."),
            Table.of(HEAD, [start, *map(_row, self.race.moves)], len(HEAD)),
            Paragraph(measure),
            *self._exploitability(),
        ]

    def verdict(self) -> str:
        """The result in a sentence or two."""
        final = self.race.final
        settled = self.race.end == "settled"
        how = "settled" if settled else f"stopped, as {ENDS[self.race.end]},"
        return (
            f"The race {how} after {len(self.race.moves)} moves: `{shlex.join(final.attack)}` gets "
            f"{interval(estimate(final.payoff))} % through `{shlex.join(final.defense)}`. "
            f"Its cost in main accuracy: {_cost(final)}. {self._left()}"
        )

    def _left(self) -> str:
        points = interval(self.left.total, signed=True)
        if self.left.is_found:
            return f"Fresh searches against the pair still gain {points} points."
        return f"Fresh searches against the pair gain no more than the noise ({points} points)."

    def _exploitability(self) -> list[Block]:
        told = self.description
        return [
            Heading(2, "How far from an equilibrium"),
            Paragraph(
                "Both sides searched once more, with other draws, nothing of the race known and "
                f"the same budget ({told['trials']} trials), each against the other's final "
                "strategy alone."
            ),
            Bullets(
                [_regret("attacker", self.left.attack), _regret("defender", self.left.defense)]
            ),
            Paragraph(
                f"Together: {interval(self.left.total, signed=True)} points (a side that finds "
                "nothing better keeps what it has, and counts 0, so noise alone gives more than "
                "0). A longer search may find more. Where it is large and the race has settled, no "
                "single pair is an equilibrium."
            ),
        ]


def _regret(who: str, regret: Regret) -> Text:
    if regret.response.strategy is None:
        return f"A fresh {who} found nothing that keeps main accuracy."
    gain = estimate(regret.gain or {})
    chosen = shlex.join(regret.response.strategy)
    return coded(f"A fresh {who} gains {interval(gain, signed=True)} points with `{chosen}`.")


HEAD = (
    "move",
    "found",
    "its value (optimistic)",
    "the pair after it",
    "its attack costs",
    "gain",
    "beyond noise",
)


def _row(move: Move) -> list[Text]:
    found = move.response.strategy
    return [
        f"{move.number}, {move.side}",
        coded(f"`{'nothing' if found is None else shlex.join(found)}`"),
        number(move.response.found),
        *_pair(move.pair),
        interval(estimate(move.gain or {}), signed=True),
        "yes" if move.gains else "no",
    ]


def _pair(pair: Pair) -> list[Text]:
    value = interval(estimate(pair.payoff))
    played = f"`{shlex.join(pair.attack)}` on `{shlex.join(pair.defense)}`: {value}"
    return [coded(played), _cost(pair)]


def _cost(pair: Pair) -> str:
    cost = estimate(pair.cost)
    outcome, told = gate(cost, TOLERANCE), interval(cost, signed=True)
    return f"{told}, {outcome}" if outcome == "at the gate" else told


def _plain_pair(pair: Pair) -> dict[str, Any]:
    value = estimate(pair.payoff)
    return asdict(pair) | {"payoff_estimate": value and asdict(value)}


def _plain_move(move: Move, name: str) -> dict[str, Any]:
    gain = estimate(move.gain or {})
    return {
        "number": move.number,
        "side": move.side,
        "study": f"{name}-{move.number}-{move.side}",
        **asdict(move.response),
        "gain": move.gain,
        "gain_estimate": gain and asdict(gain),
        "gains": move.gains,
        "pair": _plain_pair(move.pair),
    }


def _plain_regret(regret: Regret) -> dict[str, Any]:
    gain = estimate(regret.gain or {})
    return {**asdict(regret.response), "gain": regret.gain, "gain_estimate": gain and asdict(gain)}
