"""What functions on arrays are given: checked, as tensors of one precision."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.engine.client import Layer, layers_of

Layers = Sequence[Layer] | Mapping[str, Sequence[int]]


def floats(values: Any, like: Tensor | None = None) -> Tensor:
    if isinstance(values, Sequence) and len({np.shape(row) for row in values}) > 1:
        raise ValueError("rows must be of one length")
    if isinstance(values, Sequence) and values and isinstance(values[0], Tensor | np.ndarray):
        values = torch.stack([torch.as_tensor(row) for row in values])
    if like is not None:
        return torch.as_tensor(values, dtype=like.dtype, device=like.device).detach()
    found = torch.as_tensor(values).detach()
    exact = found.dtype in (torch.float32, torch.float64)
    return found if exact else found.to(torch.get_default_dtype())


def matrix(name: str, values: Any, like: Tensor | None = None) -> Tensor:
    found = floats(values, like)
    if found.dim() != 2 or 0 in found.shape:
        raise ValueError(f"{name} must be (clients, parameters), got {tuple(found.shape)}")
    return found


def in_lanes(updates: Any) -> Tensor:
    """``(M, L, P)``, also of ``(M, P)``."""
    if updates is None:
        raise ValueError("updates are missing, or model= and examples= to train them with")
    found = floats(updates)
    each = found.unsqueeze(1) if found.dim() == 2 else found
    if each.dim() != 3 or 0 in each.shape:
        raise ValueError(
            "updates must be (clients, parameters) or (clients, lanes, parameters), "
            f"got {tuple(found.shape)}"
        )
    return each


def check_widths(found: Iterable[int]) -> None:
    widths = sorted(set(found))
    if len(widths) > 1:
        raise ValueError(f"all rounds must have as many parameters, got {widths}")


def vector(name: str, values: Any, like: Tensor, length: int) -> Tensor:
    if values is None:
        return like.new_zeros(length)
    found = floats(values, like)
    if found.shape != (length,):
        raise ValueError(f"{name} must be ({length},), as updates are, got {tuple(found.shape)}")
    return found


def identities(given: Any, count: int) -> Tensor:
    if given is None:
        return torch.arange(count)
    found = torch.as_tensor(given)
    if found.shape != (count,) or found.is_floating_point() or found.min() < 0:
        raise ValueError(f"clients must be {count} whole numbers from 0, one of each update")
    return found.long()


def shares(given: Any, count: int) -> Tensor:
    found = torch.ones(count).double() if given is None else floats(given).double()
    total = found.sum()
    if found.shape != (count,) or not (found >= 0).all() or not 0 < total < torch.inf:
        raise ValueError(f"weights must be {count} numbers from 0, one of each update, not all 0")
    return found / total


def given_layers(given: Layers | None, num_parameters: int) -> tuple[Layer, ...]:
    if given is None:
        return (Layer("all", slice(0, num_parameters), (num_parameters,), is_output=True),)
    if not isinstance(given, Mapping):
        return tuple(given)
    found = layers_of(given)
    if (held := found[-1].place.stop) != num_parameters:
        raise ValueError(f"layers hold {held} parameters, the updates {num_parameters}")
    return found
