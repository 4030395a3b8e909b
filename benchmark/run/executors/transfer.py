"""What goes between a command and the nodes of its cluster: files as bytes, and events."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.run.cell import Cell
from benchmark.run.events import Event
from benchmark.utils.files import atomic_file, space_for

Files = Mapping[str, np.ndarray]
"""Paths, relative to some folder, and their bytes, uint8."""


@dataclass(frozen=True)
class Told:
    """What comes back of a cell.

    Attributes:
        event: what happened.
        files: new in its results: a checkpoint, or the final model.
    """

    event: Event
    files: Files


def packed(folder: Path, pattern: str = "**/*") -> Files:
    """Files of a folder, but those that Python compiled."""
    paths = (p for p in sorted(folder.glob(pattern)) if p.is_file() and p.suffix != ".pyc")
    return {str(path.relative_to(folder)): np.fromfile(path, np.uint8) for path in paths}


def unpacked(files: Files, folder: Path) -> None:
    """Write files into a folder.

    Raises:
        FullError: no space is left.
    """
    for name, content in files.items():
        with space_for(folder / name):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            content.tofile(folder / name)


def checkpoints(cell: Cell) -> str:
    """Those of a cell, in a suite's results."""
    return str(cell.work_path(Path()) / "round-*.ckpt")


def save(files: Files, cell: Cell, folder: Path) -> None:
    """Write what came of a cell into its suite's results, in the place of earlier checkpoints.

    Raises:
        FullError: no space is left.
    """
    before = set(folder.glob(checkpoints(cell)))
    for name, content in files.items():
        with atomic_file(folder / name) as path:
            content.tofile(path)
    if files:
        for earlier in before - {folder / name for name in files}:
            earlier.unlink()
