"""Triggers on arrays, without a federation."""

from typing import Any

import torch
from torch import Tensor

from benchmark.config.compose import named
from benchmark.data.dataset import FederatedDataset, Split
from benchmark.tasks.base import Task

_PAPER = 0.75


def stamp(
    task: str | Task, images: Any, part: int | None = None, *, seed: int = 0, **parameters: Any
) -> Tensor:
    """Images that bear the trigger of a task, clamped and rounded as what is planted.

    >>> import torch
    >>> stamp("dba", torch.zeros(1, 28, 28), part=3)[0, 3].nonzero().flatten()
    tensor([6, 7, 8, 9])

    Ink is taken for bright, as in the formulas, unless the mean of ``images`` is above 3/4, as that
    of handwriting on paper is: then triggers are their opposites.

    Args:
        task: the name of a yaml in ``conf/task``, or one that was set up.
        images: ``(n, C, H, W)``, or gray ``(n, H, W)``; floats in [0, 1], or uint8.
        part: of the trigger, from 0; None for all of it.
        seed: of what the task draws.
        parameters: of the task, over those of its yaml.

    Returns:
        As many, in the shape and the type of ``images``.

    Raises:
        ValueError: images of another shape or range, no such part, a parameter out of its range,
            or a trigger that does not fit.
        UserError: there is no such task or parameter.
    """
    given = torch.as_tensor(images).detach()
    seen = given.unsqueeze(1) if given.dim() == 3 else given
    seen = seen.float() / 255 if seen.dtype == torch.uint8 else seen
    if seen.dim() != 4 or not seen.is_floating_point():
        raise ValueError(
            f"images must be floats or uint8 of (n, C, H, W) or (n, H, W), got {given.dtype} of "
            f"{tuple(given.shape)}"
        )
    if not ((seen >= 0) & (seen <= 1)).all():
        raise ValueError("images must lie within [0, 1]")
    if isinstance(task, str):
        built: Task = named("task", task, **parameters)
        built.setup(_blank(built, tuple(seen.shape[1:]), bool(seen.mean() > _PAPER)), seed)
        return stamp(built, given, part)
    if parameters:
        raise ValueError(f"{', '.join(parameters)}: a task that was set up has its parameters")
    if part is not None and not 0 <= part < task.num_parts:
        raise ValueError(f"part must be 0 to {task.num_parts - 1}, got {part}")
    stamped = task.stamp(seen, part)
    if given.dtype == torch.uint8:
        stamped = (stamped * 255).round().to(torch.uint8)
    return stamped.view(given.shape)


def _blank(task: Task, shape: tuple[int, ...], bright: bool) -> FederatedDataset:
    """As many users as the task wants, who have a blank image of every class."""
    users = getattr(task, "num_tasks", 1)
    classes = 1 + max(9, task.target_class or 0, task.source_class or 0)
    split = Split(
        images=torch.full((users * classes, *shape), 255 * bright, dtype=torch.uint8),
        labels=torch.arange(classes).repeat(users),
        offsets=classes * torch.arange(users + 1),
    )
    return FederatedDataset(split, split, classes, {})
