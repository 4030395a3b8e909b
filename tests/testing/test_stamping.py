"""Triggers as functions."""

import numpy as np
import pytest
import torch

from benchmark.config.plugins import available
from benchmark.tasks.learned_patch import LearnedPatch
from benchmark.testing import stamp
from benchmark.testing.toys import make_dataset
from benchmark.utils.errors import UserError


@pytest.mark.parametrize("name", available("task"))
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
def test_every_task_stamps_arrays_in_their_own_shape_and_type(
    name: str, shape: tuple[int, ...]
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, *shape)).astype(np.uint8)
    stamped = stamp(name, pixels)
    assert stamped.dtype == torch.uint8
    assert stamped.shape == pixels.shape
    for dtype in (np.float32, np.float64):
        same = stamp(name, pixels.astype(dtype) / 255)
        assert same.dtype == torch.from_numpy(np.zeros(1, dtype)).dtype
        assert torch.equal((same * 255).round().to(torch.uint8), stamped)
    if shape[0] == 1:
        assert torch.equal(stamp(name, pixels[:, 0]), stamped[:, 0])


def test_the_seed_draws_what_is_drawn() -> None:
    images = torch.full((1, 1, 28, 28), 0.5)
    assert torch.equal(stamp("blended", images, seed=1), stamp("blended", images, seed=1))
    assert not torch.equal(stamp("blended", images, seed=1), stamp("blended", images, seed=2))


def test_on_paper_it_is_the_opposite() -> None:
    dark, bright = torch.zeros(1, 28, 28), torch.ones(1, 28, 28)
    for name in ("pattern", "dba", "sinusoidal"):
        assert torch.allclose(stamp(name, bright), 1 - stamp(name, dark))
        assert stamp(name, dark).any()


def test_a_task_that_was_set_up_is_asked_as_it_is() -> None:
    task = LearnedPatch(num_tasks=1)
    task.setup(make_dataset(), 0)
    task.learn(torch.ones(1, 5, 5))
    assert stamp(task, torch.zeros(1, 28, 28)).sum() == 25
    with pytest.raises(ValueError, match="size: a task that was set up has its parameters"):
        stamp(task, torch.zeros(1, 28, 28), size=3)


@pytest.mark.parametrize(
    ("name", "images", "options", "fault"),
    [
        ("pattern", torch.zeros(28, 28), {}, r"images must be floats .* got torch.float32 of \(28"),
        ("pattern", torch.zeros(1, 28, 28).long(), {}, "got torch.int64"),
        ("pattern", torch.full((1, 28, 28), 1.1), {}, r"images must lie within \[0, 1\]"),
        ("pattern", torch.full((1, 28, 28), torch.nan), {}, r"images must lie within \[0, 1\]"),
        ("dba", torch.zeros(1, 28, 28), {"part": 4}, "part must be 0 to 3, got 4"),
        ("dba", torch.zeros(1, 28, 28), {"part": -1}, "part must be 0 to 3, got -1"),
        ("pattern", torch.zeros(1, 28, 28), {"part": 1}, "part must be 0 to 0, got 1"),
        ("dba", torch.zeros(1, 8, 8), {}, "bars that end at 4 x 10, and images are 8 x 8"),
        ("pattern", torch.zeros(1, 28, 28), {"size": 0}, "size must be at least 1, got 0"),
    ],
)
def test_what_does_not_fit_is_refused(
    name: str, images: torch.Tensor, options: dict[str, int], fault: str
) -> None:
    with pytest.raises(ValueError, match=fault):
        stamp(name, images, **options)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(UserError, match="patern"):
        stamp("patern", torch.zeros(1, 28, 28))
