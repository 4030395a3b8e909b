"""Pictures of a Pareto front and of an arms race, in the leaderboard's style."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from benchmark.report.theme import MUTED, SERIES, percent_axis, png, style
from benchmark.results.statistics import estimate
from benchmark.tuning.problem import FinishedTrial
from benchmark.tuning.race import Pair, Race
from benchmark.tuning.reevaluation import Reevaluated, Reevaluation

PARETO, RACE = "pareto.png", "race.png"
SIZE = (7.4, 4.6)
ATTACK, DEFENSE = SERIES[0], SERIES[1]


def save_front(
    tried: Sequence[FinishedTrial], front: Sequence[FinishedTrial], again: Reevaluation, path: Path
) -> None:
    """Worst backdoor accuracy against lowest main accuracy: trials, their front, fresh seeds.

    Main accuracy on fresh seeds is drawn as what is lost beside the undefended model, in a panel
    of its own: other seeds and users have another level.
    """
    with style():
        figure = Figure(figsize=SIZE, layout="constrained")
        left, right = figure.subplots(1, 2)
        _trials(left, tried, front)
        _fresh(right, again)
        for axes in (left, right):
            percent_axis(axes, "x")
            percent_axis(axes, "y")
            axes.set_xlim(-0.03, 1.03)
            axes.legend(fontsize="small")
        png(figure, path)


def _trials(axes: Axes, tried: Sequence[FinishedTrial], front: Sequence[FinishedTrial]) -> None:
    points = [t.outcome.values for t in tried if t.feasible]
    axes.plot(*_columns(points), "o", color=MUTED, alpha=0.5, markersize=4, label="trial")
    found = [t.outcome.values for t in front]
    # A staircase: between two points nothing better was found than the worse of them.
    axes.step(*_columns(found), "o-", where="post", color=DEFENSE, label="front")
    axes.set(xlabel="worst backdoor accuracy", ylabel="lowest main accuracy", title="found")


def _fresh(axes: Axes, again: Reevaluation) -> None:
    rows = [("fixed", MUTED, "s", again.fixed), ("front", DEFENSE, "o", again.candidates)]
    for label, color, marker, group in rows:
        for i, one in enumerate(group):
            _cross(axes, one, color, marker, label if i == 0 else "")
    axes.invert_yaxis()
    axes.set(xlabel="worst backdoor accuracy", ylabel="main accuracy lost", title="on fresh seeds")


def _cross(axes: Axes, one: Reevaluated, color: str, marker: str, label: str) -> None:
    x, y = estimate(one.backdoor), estimate(one.cost)
    assert x
    assert y
    axes.errorbar(
        x.mean,
        y.mean,
        xerr=x.half_width or 0,
        yerr=y.half_width or 0,
        fmt=marker,
        color=color,
        elinewidth=0.8,
        label=label or "_nolegend_",
    )


def _columns(points: Sequence[Sequence[float]]) -> tuple[list[float], list[float]]:
    return [p[0] for p in points], [p[1] for p in points]


def save_race(race: Race, path: Path) -> None:
    """The backdoor accuracy of the pair after every move, on fresh seeds, with intervals."""
    pairs: list[tuple[int, str, str, Pair]] = [(0, "start", MUTED, race.start)]
    for move in race.moves:
        pairs.append(
            (move.number, move.side, ATTACK if move.side == "attack" else DEFENSE, move.pair)
        )
    with style():
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.add_subplot()
        values = [estimate(pair.payoff) for *_, pair in pairs]
        axes.plot([n for n, *_ in pairs], [v.mean for v in values if v], color=MUTED, lw=0.8)
        shown = set[str]()
        for (number, who, color, _), value in zip(pairs, values, strict=True):
            assert value
            label = "_nolegend_" if who in shown else who
            shown.add(who)
            spread = value.half_width or 0
            axes.errorbar(
                number, value.mean, yerr=spread, fmt="o", color=color, capsize=3, label=label
            )
        axes.set(xlabel="move", ylabel="backdoor accuracy of the pair")
        axes.set_ylim(-0.02, 1.02)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        percent_axis(axes, "y")
        axes.legend(fontsize="small")
        png(figure, path)
