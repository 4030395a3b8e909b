"""A picture of every task: what it is put on, what comes of it, and the difference.

    python -m bench.pictures [--cifar FOLDER] [NAME ...]

Writes ``docs/tasks/NAME.png``, on digits5k and, of tasks with a trigger, on CIFAR-10, where a
folder of its parquet files is given. Columns are images of different classes.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import interpolate

from benchmark.config.compose import compose, named
from benchmark.config.plugins import available
from benchmark.data.dataset import FederatedDataset
from benchmark.data.store import load
from benchmark.run.partitioning import partitioned
from benchmark.tasks.base import Task
from benchmark.utils.files import atomic_file

COLUMNS, ZOOM, GAP, DPI = 6, 3, 6, 100
LEFT, TOP = 150, 46
INK, QUIET, SHADE = "#1f2328", "#57606a", 0.93
CIFAR = {"dba": {"length": 6, "gap": 3}}
"""Parameters that the papers have for CIFAR-10 alone."""

Row = tuple[str, Tensor]


def rows(task: Task, dataset: FederatedDataset) -> list[Row]:
    """Images ``(n, C, H, W)`` with what they are called."""
    train, found = task.images(dataset, "train"), task.examples(dataset, "train")
    true = train.labels[found.indices]
    order = torch.cat([(true == c).nonzero().flatten()[:1] for c in true.unique()])
    some = found.indices[order if len(order) >= COLUMNS else slice(COLUMNS)][:COLUMNS]
    clean = train.pixels(some)
    wanted = sorted(set(task.wanted(train.labels[some]).tolist()))
    said = ", ".join(map(str, wanted)) if len(wanted) == 1 else "y + 1"
    if not task.has_trigger:
        source = train.labels[some[:1]]
        others = (train.labels == source).nonzero().flatten()
        others = others[~torch.isin(others, found.indices)][:COLUMNS]
        return [
            (f"D_mal, to be {said}", clean),
            (f"others of class {int(source)}", train.pixels(others)),
        ]
    parts = range(task.num_parts if task.num_parts > 1 else 0)
    shown = [(f"part {part}", task.stamp(clean, part)) for part in parts]
    stamped = task.stamp(clean)
    difference = stamped - clean
    factor = max(1, int(1 / difference.abs().max()))
    shown += [(f"stamped, to be {said}", stamped)]
    if task.covers:
        shown += [("cover", task.cover(clean, 0).clamp(0, 1))]
    times = f" x {factor}" if factor > 1 else ""
    gray = (0.5 + factor * difference / 2).clamp(0, 1)
    return [("clean", clean), *shown, (f"difference{times}", gray)]


def sheet(shown: Sequence[Row]) -> Tensor:
    """Rows of images as one, ``(height, width, 3)``."""
    lines = []
    for _, images in shown:
        large = interpolate(images.expand(-1, 3, -1, -1), scale_factor=ZOOM)
        missing = large.new_full((COLUMNS - len(large), *large.shape[1:]), SHADE)
        framed = torch.nn.functional.pad(torch.cat([large, missing]), (GAP,) * 4, value=SHADE)
        lines.append(torch.cat(list(framed), dim=2))
    return torch.cat(lines, dim=1).permute(1, 2, 0)


def draw(blocks: Sequence[tuple[str, Sequence[Row]]], path: Path) -> None:
    """One picture: data sets side by side, a row for each of what is shown."""
    sheets = [sheet(shown) for _, shown in blocks]
    height = TOP + max(len(each) for each in sheets)
    width = sum(LEFT + each.shape[1] for each in sheets) + GAP
    figure = Figure((width / DPI, height / DPI), dpi=DPI, facecolor=str(SHADE))
    FigureCanvasAgg(figure)
    left = 0
    for (title, shown), drawn in zip(blocks, sheets, strict=True):
        high, wide = drawn.shape[:2]
        box = ((left + LEFT) / width, 1 - (TOP + high) / height, wide / width, high / height)
        axes = figure.add_axes(box)
        axes.imshow(drawn.numpy(), aspect="auto", interpolation="nearest")
        axes.axis("off")
        x = (left + LEFT + GAP) / width
        figure.text(x, 1 - TOP / 2 / height, title, color=INK, weight="bold", va="center")
        for row, (name, _) in enumerate(shown):
            y = 1 - (TOP + (row + 0.5) * high / len(shown)) / height
            text = {"color": QUIET, "ha": "right", "va": "center", "fontsize": 9}
            figure.text((left + LEFT - 4) / width, y, name, **text)
        left += LEFT + wide
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def main(given: Sequence[str] | None = None) -> list[Path]:
    """Draw them all; the files."""
    parser = argparse.ArgumentParser(prog="python -m bench.pictures", description=__doc__)
    parser.add_argument("tasks", nargs="*", metavar="NAME")
    parser.add_argument("--out", type=Path, default=Path("docs/tasks"))
    parser.add_argument("--cifar", type=Path, help="folder of CIFAR-10's parquet files")
    asked = parser.parse_args(given)
    asked.out.mkdir(parents=True, exist_ok=True)
    chosen = {"digits5k": ["data=digits5k"]}
    if asked.cifar:
        users = ["data.image=img", "partition=dirichlet", "partition.users=20"]
        chosen["CIFAR-10"] = ["data=parquet", f"data.path={asked.cifar.resolve()}", *users]
    data = {title: load(partitioned(compose(given))[0]) for title, given in chosen.items()}
    written = []
    for name in asked.tasks or available("task"):
        blocks = []
        for title, dataset in data.items():
            task = named("task", name, **(CIFAR.get(name, {}) if title == "CIFAR-10" else {}))
            if title == "digits5k" or task.has_trigger:
                task.setup(dataset, 0)
                blocks.append((title, rows(task, dataset)))
        written.append(asked.out / f"{name}.png")
        draw(blocks, written[-1])
    return written


if __name__ == "__main__":
    for file in main():
        print(file)
