"""A study in pictures: Optuna's own, in the leaderboard's colors. Importing it imports Optuna."""

import warnings
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import optuna
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from optuna.trial import FrozenTrial, TrialState
from optuna.visualization import matplotlib as drawn

from benchmark.report import theme as drawing
from benchmark.utils.files import atomic_file

ENOUGH = 2
"""Finished trials; of fewer there is nothing to be seen."""
SIZE, SLICE = (9.0, 5.0), (2.4, 4.0)
"""Inches; the second of each of the slices, which stand side by side."""


def write(study: optuna.Study, folder: Path) -> list[Path]:
    """Draw what the trials allow as PNGs; a picture that they do not allow any more is removed.

    Returns:
        The files: ``history``, ``importances``, ``parallel`` and ``slices``; none of studies with
        several directions, whose Pareto front :mod:`benchmark.tuning.reports.drawing` draws.
    """
    plots = _plots(study)
    for name in {"history", "importances", "parallel", "slices"} - plots.keys():
        (folder / f"{name}.png").unlink(missing_ok=True)
    paths = []
    for name, plot in plots.items():
        with drawing.style(), warnings.catch_warnings():
            # That it is experimental, and that few trials tell little: the caption says so.
            warnings.simplefilter("ignore")
            # Optuna places its parts by hand; what stands out of the figure is to be seen too.
            plt.rcParams.update({"savefig.bbox": "tight", "text.parse_math": True})
            try:
                figure = _styled(plot())
                with atomic_file(folder / f"{name}.png") as path:
                    drawing.png(figure, path)
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
        axes.tick_params(colors=drawing.MUTED, labelsize=8.5)
        axes.xaxis.label.set_color(drawing.INK)
        axes.yaxis.label.set_color(drawing.INK)
        axes.title.set_color(drawing.INK)
        axes.grid(color=drawing.GRID, linewidth=0.6)
        for spine in axes.spines.values():
            spine.set_color(drawing.GRID)
    return figure
