"""A picture of a partition: some users' images, and how many images users have."""

import io
import warnings
from typing import Any

import numpy as np
from torch.nn.functional import interpolate

from benchmark.data.dataset import FederatedDataset

ROWS, COLUMNS = 12, 20
CELL = 60  # of the picture, for an image and the gap around it
LONGEST = 16  # signs of a user's name
LARGEST = 2 * CELL  # side of an image that is drawn from all its pixels
DPI = 100
LEFT, RIGHT, TOP, GAP, HISTOGRAM, BOTTOM = 130, 30, 100, 75, 190, 60
INK, MUTED, BAR = "#1f2328", "#656d76", "#3b6ea8"


def draw(dataset: FederatedDataset, names: tuple[str, ...]) -> bytes:
    """A PNG: a row of training images for each of up to 12 users, and a histogram below.

    The users are evenly spaced over all of them. The same data set gives the same bytes.

    Args:
        dataset: the partitioned data, with its facts.
        names: the users' ids.
    """
    import matplotlib
    from matplotlib.figure import Figure

    shown = np.unique(np.linspace(0, len(names) - 1, ROWS).round().astype(int))
    sheet = contact_sheet(dataset, shown)
    wide, high = COLUMNS * CELL, len(shown) * CELL
    width, height = LEFT + wide + RIGHT, TOP + high + GAP + HISTOGRAM + BOTTOM

    # What the user's matplotlib is set to changes no bytes; a sign that its font lacks is a box.
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        matplotlib.rcdefaults()
        figure = Figure((width / DPI, height / DPI), dpi=DPI, facecolor="white")
        left, right = LEFT / width, (LEFT + wide) / width

        def text(x: float, down: float, words: str, size: float, **style: Any) -> None:
            shown = "".join(c if c.isprintable() else "?" for c in words)
            style |= {"fontsize": size, "va": "center", "parse_math": False}
            figure.text(x, 1 - down / height, shown, **style)

        facts = dataset.facts
        title = f"{facts['name']}: {facts['users']:,} {facts['user_kind']}"
        images = f"{facts['train_images']:,} training and {facts['test_images']:,} test images"
        text(left, 32, title, 17, color=INK, weight="bold")
        text(left, 64, f"{images}  ·  license: {facts['license']}", 10.5, color=MUTED)
        sheet_box = (left, 1 - (TOP + high) / height, wide / width, high / height)
        axes = figure.add_axes(sheet_box)
        axes.imshow(sheet, interpolation="antialiased", aspect="auto")
        axes.axis("off")
        text(left - 12 / width, TOP - 14, "user", 10.5, color=MUTED, ha="right")
        for row, user in enumerate(shown):
            down = TOP + (row + 0.5) * CELL
            text(left - 12 / width, down, names[user][:LONGEST], 10.5, color=INK, ha="right")

        text(left, TOP + high + GAP - 22, "Images per user", 12, color=INK, weight="bold")
        counts = (dataset.train.offsets.diff() + dataset.test.offsets.diff()).numpy()
        least, most = int(counts.min()), int(counts.max())
        summary = f"{least:,} to {most:,}, median {np.median(counts):g}"
        if least == most:
            summary = f"{least:,} each"
        text(right, TOP + high + GAP - 22, summary, 10.5, color=MUTED, ha="right")
        histogram_box = (left, BOTTOM / height, wide / width, HISTOGRAM / height)
        histogram = figure.add_axes(histogram_box)
        step = -(-(most - least + 1) // 48)
        edges = np.arange(least, most + step + 1, step) - 0.5
        histogram.hist(counts, edges.tolist(), color=BAR, rwidth=0.92)
        middle, reach = (edges[0] + edges[-1]) / 2, max(edges[-1] - edges[0], 20) * 0.52
        histogram.set_xlim(middle - reach, middle + reach)
        histogram.set_xlabel("training and test images", color=MUTED)
        histogram.set_ylabel("users", color=MUTED)
        histogram.locator_params(integer=True)
        histogram.tick_params(colors=MUTED)
        for side in ("top", "right"):
            histogram.spines[side].set_visible(False)
        for side in ("left", "bottom"):
            histogram.spines[side].set_color("#d0d7de")
        picture = io.BytesIO()
        figure.savefig(picture, format="png", metadata={"Software": None})
    return picture.getvalue()


def contact_sheet(dataset: FederatedDataset, users: np.ndarray) -> np.ndarray:
    """The first training images of some users, a row each, ordered by class.

    A row takes the user's classes in turn until it is full, so that a class is missing from it
    only where the user lacks it or there are more classes than places.

    Returns:
        ``(rows · cell, 20 · cell, 3)`` uint8; a cell is as large as the longer side and a gap.
    """
    high, wide = (min(side, LARGEST) for side in dataset.train.input_shape[1:])
    cell = max(high, wide) + 2
    sheet = np.full((len(users) * cell, COLUMNS * cell, 3), 255, np.uint8)
    for row, user in enumerate(users):
        own = dataset.train.user(int(user)).numpy()
        labels = dataset.train.labels[own].numpy()
        by_class = np.argsort(labels, kind="stable")
        ordered = labels[by_class]
        # Whether it is the user's first, second, ... image of its class.
        turn = np.arange(len(own)) - np.searchsorted(ordered, ordered)
        taken = np.sort(np.lexsort((ordered, turn))[:COLUMNS])
        images = interpolate(
            dataset.train.images[own[by_class[taken]]].float(), (high, wide), mode="area"
        )
        for column, image in enumerate(images.permute(0, 2, 3, 1).round().byte().numpy()):
            y, x = row * cell + (cell - high) // 2, column * cell + (cell - wide) // 2
            sheet[y : y + high, x : x + wide] = image
    return sheet
