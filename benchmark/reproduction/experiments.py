"""From a profile to evidence: first the norms of honest updates, then all that depends on them."""

import shlex
import statistics
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmark.config.plugins import available
from benchmark.reproduction.evidence import Evidence, Failure, Line, claims
from benchmark.reproduction.profile import HONEST, Profile, Values, norm_unit, suites, values
from benchmark.run.assembly import build
from benchmark.run.cell import Cell
from benchmark.run.failures import failures
from benchmark.run.record import Record
from benchmark.run.suite import Suite
from benchmark.run.training import resident
from benchmark.utils.errors import UserError, unknown

Run = Callable[[Suite, list[Cell]], object]
"""Runs the cells of a suite that have no record yet."""


def reproduce(
    profile: Profile, further: Sequence[str], only: Sequence[str], folder: Path, run: Run
) -> Evidence:
    """Run the paper's experiments at a scale and gather what they gave.

    Args:
        profile: the scale.
        further: overrides on top of the profile's.
        only: suites of ``conf/reproduction`` to run; none for all of them.
        folder: for the results.
        run: runs cells.

    Raises:
        UserError: a name or value that is not valid, or no norm could be measured.
    """
    for name in only:
        if name not in available("reproduction"):
            raise unknown("suite", name, available("reproduction"), "conf/reproduction")
    unit, known = 1.0, _values(profile, further, 1.0)
    # What is wrong with a claim is better known before hours of runs than after.
    claims(known)
    everything = Suite(f"reproduction-{profile.name}", profile.description, [], {}, profile.seeds)
    if profile.norms == "measured":
        cells = suites(profile, known, further)[HONEST].cells()
        run(everything, cells)
        unit = norm_unit(_honest_norm(cells, folder))
        known = _values(profile, further, unit)
    grids = {
        name: suite
        for name, suite in suites(profile, known, further).items()
        if not only or name in (HONEST, *only)
    }
    points = {name: _points(suite) for name, suite in grids.items()}
    cells = list({c.id: c for of in points.values() for _, same in of for c in same}.values())
    run(everything, cells)
    paths = {cell.id: cell.record_path(folder) for cell in cells}
    why = failures(cells, folder)
    return Evidence(
        profile=profile.name,
        description=profile.description,
        command="python -m benchmark reproduce " + shlex.join([profile.name, *further]),
        date=datetime.now(UTC).date().isoformat(),
        unit=unit,
        values=known,
        seeds=profile.seeds,
        descriptions={name: suite.description for name, suite in grids.items()},
        lines={
            name: [Line(choices, [cell.id for cell in same]) for choices, same in of]
            for name, of in points.items()
        },
        records={name: Record.read(path) for name, path in paths.items() if path.exists()},
        failures={
            cell.id: Failure(cell.seed, cell.config, why[cell.id])
            for cell in cells
            if cell.id in why
        },
    )


def _points(suite: Suite) -> list[tuple[list[str], list[Cell]]]:
    """What the axes chose, and its cells by seed."""
    return [
        (point, [Cell.of([*suite.overrides, *point, f"seed={seed}"]) for seed in suite.seeds])
        for point in suite.points()
    ]


def _values(profile: Profile, further: Sequence[str], unit: float) -> Values:
    cell = Cell.of([*profile.overrides, *further])
    P = build(cell.config, resident(cell.data)).client.num_parameters
    return values(cell.config["federation"], cell.config["task"]["num_tasks"], P, unit)


def _honest_norm(cells: Sequence[Cell], folder: Path) -> float:
    """Median over rounds and seeds of the median over clients."""
    paths = [cell.record_path(folder) for cell in cells]
    found = [
        value
        for path in paths
        if path.exists()
        for value in Record.read(path).curves["honest_norm_median"].points().values()
    ]
    if not found:
        raise UserError(f"{folder}: no run without an attack has ended, so norms are not known")
    return statistics.median(found)
