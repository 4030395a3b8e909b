"""Studies in pictures: Optuna's own, a Pareto front, a race. Importing it imports Optuna."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import optuna
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from optuna.trial import FrozenTrial, TrialState
from optuna.visualization import matplotlib as drawn

from benchmark.report import theme
from benchmark.results.statistics import estimate
from benchmark.tuning.problem import FinishedTrial
from benchmark.tuning.race import Pair, Race
from benchmark.tuning.reevaluation import Reevaluated, Reevaluation
from benchmark.utils.files import atomic_file

ENOUGH = 2
"""Finished trials; of fewer there is nothing to be seen."""
SIZE, SLICE = (9.0, 5.0), (2.4, 4.0)
"""Inches; the second of each of the slices, which stand side by side."""
FIGURE = (7.4, 4.6)
ATTACK, DEFENSE = theme.SERIES[0], theme.SERIES[1]


def draw(study: optuna.Study, folder: Path) -> list[Path]:
    """Draw what the trials allow as PNGs; a picture that they do not allow any more is removed.

    Returns:
        The files: ``history``, ``importances``, ``parallel`` and ``slices``; none of studies with
        several directions, whose front :func:`front_figure` draws.
    """
    plots = _plots(study)
    for name in {"history", "importances", "parallel", "slices"} - plots.keys():
        (folder / f"{name}.png").unlink(missing_ok=True)
    paths = []
    for name, plot in plots.items():
        with theme.style(), warnings.catch_warnings():
            # That it is experimental, and that few trials tell little: the caption says so.
            warnings.simplefilter("ignore")
            # Optuna places its parts by hand; what stands out of the figure is to be seen too.
            plt.rcParams.update({"savefig.bbox": "tight", "text.parse_math": True})
            try:
                figure = _styled(plot())
                with atomic_file(folder / f"{name}.png") as path:
                    theme.png(figure, path)
            finally:
                plt.close("all")
        paths.append(folder / f"{name}.png")
    return paths


def _plots(study: optuna.Study) -> dict[str, Callable[[], Figure]]:
    """What the study's trials allow."""
    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(finished) < ENOUGH or len(study.directions) > 1:
        return {}
    varied = _varied(finished)
    plots: dict[str, Callable[[], Figure]] = {
        "history": lambda: _of(drawn.plot_optimization_history(study))
    }
    if varied:
        plots["slices"] = lambda: _of(drawn.plot_slice(study, varied))
    if len(varied) >= 2:
        plots["parallel"] = lambda: _of(drawn.plot_parallel_coordinate(study, varied))
        if len({trial.value for trial in finished}) > 1:
            plots["importances"] = lambda: _of(drawn.plot_param_importances(study, params=varied))
    return plots


def _varied(trials: list[FrozenTrial]) -> list[str]:
    """Parameters of which finished trials tried more than one value."""
    found: dict[str, set[object]] = {}
    for trial in trials:
        for name, value in trial.params.items():
            found.setdefault(name, set()).add(value)
    return sorted(name for name, values in found.items() if len(values) > 1)


def _of(axes: object) -> Figure:
    first = axes if isinstance(axes, Axes) else axes.flat[0]  # type: ignore[attr-defined]
    figure = first.get_figure(root=True)
    assert figure is not None
    return figure


def _styled(figure: Figure) -> Figure:
    """Optuna chooses a style of its own while it draws: undo what that left."""
    figure.set_facecolor("white")
    slices = [axes for axes in figure.axes if axes.get_xlabel() and not axes.get_title()]
    for axes in slices:
        *_, family, name = f". .{axes.get_xlabel()}".split(".")
        axes.set_xlabel(f"{family.strip()}\n{name}", fontsize=9)
        axes.tick_params(axis="x", labelrotation=20 if len(slices) > 1 else 0)
    size = (max(SLICE[0] * len(slices), SIZE[0]), SLICE[1]) if len(slices) > 1 else SIZE
    figure.set_size_inches(*size)
    for axes in figure.axes:
        axes.set_facecolor("none")
        axes.tick_params(colors=theme.MUTED, labelsize=8.5)
        axes.xaxis.label.set_color(theme.INK)
        axes.yaxis.label.set_color(theme.INK)
        axes.title.set_color(theme.INK)
        axes.grid(color=theme.GRID, linewidth=0.6)
        for spine in axes.spines.values():
            spine.set_color(theme.GRID)
    return figure


def front_figure(
    tried: Sequence[FinishedTrial], front: Sequence[FinishedTrial], again: Reevaluation
) -> Figure:
    """Worst backdoor accuracy against lowest main accuracy: trials, their front, fresh seeds.

    Main accuracy on fresh seeds is drawn as what is lost beside the undefended model, in a panel
    of its own: other seeds and users have another level.
    """
    figure = Figure(figsize=FIGURE, layout="constrained")
    left, right = figure.subplots(1, 2)
    _trials(left, tried, front)
    _fresh(right, again)
    for axes in (left, right):
        theme.percent_axis(axes, "x")
        theme.percent_axis(axes, "y")
        axes.set_xlim(-0.03, 1.03)
        axes.legend(fontsize="small")
    return figure


def _trials(axes: Axes, tried: Sequence[FinishedTrial], front: Sequence[FinishedTrial]) -> None:
    points = [t.outcome.values for t in tried if t.feasible]
    axes.plot(*_columns(points), "o", color=theme.MUTED, alpha=0.5, markersize=4, label="trial")
    found = [t.outcome.values for t in front]
    # A staircase: between two points nothing better was found than the worse of them.
    axes.step(*_columns(found), "o-", where="post", color=DEFENSE, label="front")
    axes.set(xlabel="worst backdoor accuracy", ylabel="lowest main accuracy", title="found")


def _fresh(axes: Axes, again: Reevaluation) -> None:
    rows = [("fixed", theme.MUTED, "s", again.fixed), ("front", DEFENSE, "o", again.candidates)]
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


def race_figure(race: Race) -> Figure:
    """The backdoor accuracy of the pair after every move, on fresh seeds, with intervals."""
    pairs: list[tuple[int, str, str, Pair]] = [(0, "start", theme.MUTED, race.start)]
    for move in race.moves:
        pairs.append(
            (move.number, move.side, ATTACK if move.side == "attack" else DEFENSE, move.pair)
        )
    figure = Figure(figsize=FIGURE, layout="constrained")
    axes = figure.add_subplot()
    values = [estimate(pair.payoff) for *_, pair in pairs]
    axes.plot([n for n, *_ in pairs], [v.mean for v in values if v], color=theme.MUTED, lw=0.8)
    shown = set[str]()
    for (number, who, color, _), value in zip(pairs, values, strict=True):
        assert value
        label = "_nolegend_" if who in shown else who
        shown.add(who)
        spread = value.half_width or 0
        axes.errorbar(number, value.mean, yerr=spread, fmt="o", color=color, capsize=3, label=label)
    axes.set(xlabel="move", ylabel="backdoor accuracy of the pair")
    axes.set_ylim(-0.02, 1.02)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    theme.percent_axis(axes, "y")
    axes.legend(fontsize="small")
    return figure
