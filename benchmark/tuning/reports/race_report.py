"""How an arms race went, as ``tuning.json``, ``tuning.md`` and a picture."""

import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmark.results.gates import GATE, TOLERANCE
from benchmark.results.searches import SCHEMA_VERSION
from benchmark.results.statistics import estimate
from benchmark.tuning.federations import MEASURED_ON
from benchmark.tuning.race import Exploitability, Move, Pair, Race, Regret
from benchmark.tuning.reports.drawing import RACE, save_race
from benchmark.tuning.reports.report import JSON, MARKDOWN, percent
from benchmark.utils.files import atomic_file, write_json

ENDS = {
    "settled": "a side gained no more than the noise on a pair that the other had answered",
    "moves": "its moves were used up",
    "time": "its time was up",
}


@dataclass(frozen=True)
class RaceReport:
    """A race's result.

    Attributes:
        name: of the race; its studies are NAME-1-attack, NAME-2-defense, ...
        storage: URL of the studies, without a password.
        overrides: what the race was given but for the first defense.
        description: the budget of a search and all that was given, resolved.
        fresh: seeds of the payoffs.
        race: its moves.
        left: what is still to gain.
    """

    name: str
    storage: str
    overrides: tuple[str, ...]
    description: dict[str, Any]
    fresh: tuple[int, ...]
    race: Race
    left: Exploitability

    @property
    def command(self) -> str:
        """One federation of the final pair, on the test users and the first fresh seed."""
        pair = self.race.final
        chosen = [*pair.defense, *pair.attack, f"seed={self.fresh[0]}"]
        words = [*self.overrides, f"{MEASURED_ON}=test", *chosen]
        return "python -m benchmark run " + shlex.join(words)

    def write(self, folder: Path) -> list[Path]:
        """Write the files; their paths."""
        write_json(folder / JSON, self.plain())
        with atomic_file(folder / MARKDOWN) as path:
            path.write_text(self.markdown(), encoding="utf-8")
        with atomic_file(folder / RACE) as path:
            save_race(self.race, path)
        return [folder / JSON, folder / MARKDOWN, folder / RACE]

    def plain(self) -> dict[str, Any]:
        """As plain values."""
        total = self.left.total
        return {
            "schema_version": SCHEMA_VERSION,
            "study": self.name,
            "storage": self.storage,
            "overrides": list(self.overrides),
            "description": self.description,
            "fresh_seeds": list(self.fresh),
            "start": _plain_pair(self.race.start),
            "moves": [_plain_move(move, self.name) for move in self.race.moves],
            "end": self.race.end,
            "final": _plain_pair(self.race.final),
            "exploitability": {
                "attack": _plain_regret(self.left.attack),
                "defense": _plain_regret(self.left.defense),
                "total": asdict(total),
                "beyond_noise": self.left.is_found,
            },
            "command": self.command,
        }

    def markdown(self) -> str:
        """For people."""
        told = self.description
        budget = (
            f"Every move is a study of {told['trials']} trials ({told['sampler']}) on "
            f"{len(told['seeds'])} seeds and the validation half of the users: the attacker "
            "answers the defense that stands, the defender all attacks known so far, the fixed "
            f"ones included. Payoffs are on fresh seeds ({', '.join(map(str, self.fresh))}) and "
            "the test half. "
            f"The race ended after {len(self.race.moves)} moves: {ENDS[self.race.end]}."
        )
        rows = [
            "| move | found | its value (optimistic) | the pair after it | its attack costs | gain "
            "| beyond noise |",
            "|---|---|---|---|---|---|---|",
            f"| start | | | {_pair(self.race.start)} | {_cost(self.race.start)} | | |",
            *map(_row, self.race.moves),
        ]
        measure = (
            "In-sample backdoor accuracy over the last fifth of the rounds, in %, mean and 95 % "
            "interval over seeds; that of a pair is that of the strongest known attack on the "
            f"defense, and an attack that costs main accuracy more than {100 * TOLERANCE:g} points "
            "is noticed and gets nothing. This is decided by its mean cost: where the interval of "
            f"the cost reaches across {100 * TOLERANCE:g}, other seeds may decide otherwise, and "
            "the intervals of payoffs and gains know nothing of that. A defense may cost "
            f"{100 * GATE:g} points without an attack. A gain is that of who moved, paired by seed."
        )
        return "\n\n".join(
            [
                f"# Arms race: {self.name}",
                budget,
                self.verdict(),
                f"![The race]({RACE})",
                "\n".join(rows),
                measure,
                self._exploitability(),
                f"Run the final pair:\n\n```sh\n{self.command}\n```\n",
            ]
        )

    def verdict(self) -> str:
        """The result in a sentence or two."""
        final = self.race.final
        settled = self.race.end == "settled"
        how = "settled" if settled else f"stopped, as {ENDS[self.race.end]},"
        return (
            f"The race {how} after {len(self.race.moves)} moves: `{shlex.join(final.attack)}` gets "
            f"{percent(estimate(final.payoff))} % through `{shlex.join(final.defense)}`. "
            f"{self._left()}"
        )

    def _left(self) -> str:
        points = percent(self.left.total)
        if self.left.is_found:
            return f"Fresh searches against the pair still gain {points} points."
        return f"Fresh searches against the pair gain no more than the noise ({points} points)."

    def _exploitability(self) -> str:
        told = self.description
        return (
            "## How far from an equilibrium\n\n"
            "Both sides searched once more, with other draws, nothing of the race known and the "
            f"same budget ({told['trials']} trials), each against the other's final strategy "
            f"alone.\n\n- {_regret('attacker', self.left.attack)}\n"
            f"- {_regret('defender', self.left.defense)}\n\n"
            f"Together: {percent(self.left.total)} points (a side that finds nothing better keeps "
            "what it has, and counts 0, so noise alone gives more than 0). A longer search may "
            "find more. Where it is large and the race has settled, no single pair is an "
            "equilibrium."
        )


def _regret(who: str, regret: Regret) -> str:
    if regret.response.strategy is None:
        return f"A fresh {who} found nothing that keeps main accuracy."
    gain = estimate(regret.gain or {})
    chosen = shlex.join(regret.response.strategy)
    return f"A fresh {who} gains {percent(gain, sign=True)} points with `{chosen}`."


def _row(move: Move) -> str:
    found = "nothing" if move.response.strategy is None else shlex.join(move.response.strategy)
    value = "-" if move.response.found is None else f"{100 * move.response.found:.1f}"
    cells = [
        f"{move.number}, {move.side}",
        f"`{found}`",
        value,
        _pair(move.pair),
        _cost(move.pair),
        percent(estimate(move.gain or {}), sign=True),
        "yes" if move.gains else "no",
    ]
    return f"| {' | '.join(cells)} |"


def _pair(pair: Pair) -> str:
    value = percent(estimate(pair.payoff))
    return f"`{shlex.join(pair.attack)}` on `{shlex.join(pair.defense)}`: {value}"


def _cost(pair: Pair) -> str:
    return percent(estimate(pair.cost), sign=True)


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
