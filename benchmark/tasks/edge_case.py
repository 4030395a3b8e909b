"""Unusual inputs of one class: the tail of the data, or images that the adversary brings."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from benchmark.data.dataset import FederatedDataset, Split
from benchmark.data.images import SUFFIXES, arranged, decoded, stacked
from benchmark.engine.plan import Examples
from benchmark.tasks.base import Task
from benchmark.utils.checks import at_least
from benchmark.utils.errors import UserError, one_line
from benchmark.utils.randomness import generator


class EdgeCase(Task):
    """Inputs of class s that hardly occur are to be read as t; they bear no trigger.

    By default the tail of the data: the share q of the images of class s that are least likely
    under a Gaussian on the first d principal components z, of variances λ, of its training images
    at half their size: those of the largest Σ_i z_i²/λ_i. D_mal are those of the training images,
    whoever they are of, and held-out those of the test images. Their owners keep them, labelled
    correctly.

    With ``path`` images of the adversary's own, as the sevens of ARDIS are in the paper, in the
    size and the colors of the data: half of them, drawn once, is held out.

    Args:
        source_class: s; 7 in the paper.
        target_class: t; 1 in the paper.
        tail: q, above 0 and below 1; 0.02 to 0.2.
        components: d, or as many as the images span.
        path: a folder of images, or an .npz of ``images`` ``(n, H, W)``, ``(n, H, W, C)`` or
            ``(n, C, H, W)``, and perhaps ``test`` ``(n,)`` bool, those that are held out; null for
            the tail of the data.

    Raises:
        ValueError: equal classes, or ones that the data do not have; q out of its range; images of
            another shape; none to train on, or none held out.
        UserError: ``path`` cannot be read.
    """

    paper = "Wang et al. 2020, arXiv 2007.05084"
    plants_own = False
    source_class: int
    target_class: int

    def __init__(
        self,
        source_class: int = 7,
        target_class: int = 1,
        tail: float = 0.1,
        components: int = 20,
        path: str | None = None,
    ):
        super().__init__()
        if source_class == target_class:
            raise ValueError(f"source_class and target_class are both {source_class}")
        if not 0 < tail < 1:
            raise ValueError(f"tail must be above 0 and below 1, got {tail}")
        self.source_class, self.target_class, self.tail = source_class, target_class, tail
        self.components, self.path = at_least("components", 1, components), path

    def setup(self, dataset: FederatedDataset, seed: int) -> None:
        """Find where the tail begins, or read the adversary's own images."""
        for name in ("source_class", "target_class"):
            if not 0 <= getattr(self, name) < dataset.num_classes:
                raise ValueError(
                    f"{name} must be 0 to {dataset.num_classes - 1}, got {getattr(self, name)}"
                )
        self.brought: dict[str, Tensor] | None = None
        if self.path is not None:
            self.brought = brought(Path(self.path).expanduser(), dataset.train.input_shape, seed)
        else:
            self._fit(dataset)
        for split in ("train", "test"):
            if not len(self.examples(dataset, split)):
                what = "images to plant" if split == "train" else "test image: none is held out"
                raise ValueError(f"edge case of class {self.source_class}: no {what}")

    def images(self, dataset: FederatedDataset, split: Literal["train", "test"]) -> Split:
        """The users' images, and behind them those that were brought, of class s."""
        held = super().images(dataset, split)
        if self.brought is None:
            return held
        more = self.brought[split].to(held.images.device)
        labels = torch.full((len(more),), self.source_class).to(held.labels)
        images = torch.cat([held.images, more])
        return replace(held, images=images, labels=torch.cat([held.labels, labels]))

    def examples(self, dataset: FederatedDataset, split: Literal["train", "test"]) -> Examples:
        """The edge cases, labelled t."""
        held = super().images(dataset, split)
        if self.brought is not None:
            indices = torch.arange(len(held), len(held) + len(self.brought[split]))
        else:
            indices = self._tail(held, self._of_class(held), split)
            indices = indices[dataset.counts(held, indices)]
        return Examples(indices, torch.full_like(indices, self.target_class))

    def own(self, dataset: FederatedDataset, user: int) -> Tensor:
        """Those of the edge cases that are the user's."""
        indices = super().own(dataset, user)
        if self.brought is not None:
            return indices[:0]
        return self._tail(dataset.train, indices, "train")

    def source_examples(self, dataset: FederatedDataset) -> tuple[Examples, Examples]:
        """Test images of class s in the tail, and all of them, labelled correctly."""
        everybody = self._of_class(dataset.test)
        everybody = everybody[dataset.counts(dataset.test, everybody)]
        tail = everybody[:0] if self.brought else self.examples(dataset, "test").indices
        return (
            Examples(tail, torch.full_like(tail, self.source_class)),
            Examples(everybody, torch.full_like(everybody, self.source_class)),
        )

    def _of_class(self, split: Split) -> Tensor:
        return (split.labels.cpu() == self.source_class).nonzero().flatten()

    def _fit(self, dataset: FederatedDataset) -> None:
        images = _halved(dataset.train, self._of_class(dataset.train))
        self.mean = images.sum(dim=0) / max(len(images), 1)
        centered = images - self.mean
        scales, axes = torch.linalg.eigh(centered.T @ centered / max(len(images), 1))
        kept = (scales > 1e-9 * scales[-1]).nonzero().flatten()[-self.components :]
        self.scales, self.axes = scales[kept], axes[:, kept]
        self.thresholds = {}
        for name, split in {"train": dataset.train, "test": dataset.test}.items():
            distances = self._distances(split, self._of_class(split)).sort(descending=True).values
            last = math.ceil(self.tail * len(distances)) - 1
            # Between two of them: the same image alone is not always as far to the last bit.
            self.thresholds[name] = pad(distances, (0, 1))[last : last + 2].mean().item()

    def _tail(self, split: Split, indices: Tensor, which: str) -> Tensor:
        return indices[self._distances(split, indices) >= self.thresholds[which]]

    def _distances(self, split: Split, indices: Tensor) -> Tensor:
        coordinates = (_halved(split, indices) - self.mean) @ self.axes
        return coordinates.square().div(self.scales).sum(dim=1)


def _halved(split: Split, indices: Tensor) -> Tensor:
    return avg_pool2d(split.pixels(indices, torch.float64).cpu(), 2).flatten(1)


def brought(path: Path, shape: tuple[int, ...], seed: int) -> dict[str, Tensor]:
    """Images ``(n, C, H, W)`` uint8 of a file or a folder, to train on and held out.

    Args:
        path: see :class:`EdgeCase`.
        shape: ``(C, H, W)``, which they must have.
        seed: of the half that is held out, where the file does not say.
    """
    if path.is_dir():
        found = sorted(each for each in path.iterdir() if each.suffix.lower() in SUFFIXES)
        names = [str(each) for each in found]
        if not found:
            raise UserError(f"{path}: no image, of {', '.join(SUFFIXES)}")
        content = (decoded(each.read_bytes(), str(each)) for each in found)
        arrays = {"images": stacked(content, names, str(path))}
    else:
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in ("images", "test") if name in file}
            arrays["images"] = arranged(arrays["images"], f"{path}: images")
        except UserError:
            raise
        except FileNotFoundError:
            raise UserError(f"{path}: no such file or folder; see task.path") from None
        except Exception as error:  # numpy's, zipfile's and its compressors': no base but this
            raise UserError(f"{path}: no npz with an array 'images' ({one_line(error)})") from None
    images = torch.from_numpy(arrays["images"])
    if tuple(images.shape[1:]) != shape:
        expected, got = (" x ".join(map(str, each)) for each in (shape, images.shape[1:]))
        raise ValueError(f"{path}: images must be {expected}, as the data's are, got {got}")
    order = torch.randperm(len(images), generator=generator(seed, 0, "held-out images"))
    drawn = torch.zeros(len(images), dtype=torch.bool)
    drawn[order[: len(images) // 2]] = True
    test = torch.as_tensor(arrays.get("test", drawn))
    if test.dtype != torch.bool or test.shape != drawn.shape:
        raise UserError(f"{path}: test must be true or false for each of {len(images)} images")
    return {"train": images[~test], "test": images[test]}
