"""Between Flower's named arrays and flat vectors."""

from collections.abc import Mapping

import numpy as np
import torch
from flwr.app import Array, ArrayRecord
from torch import Tensor

Arrays = Mapping[str, np.ndarray]


def arrays_of(record: ArrayRecord) -> dict[str, np.ndarray]:
    """By name, in the record's order."""
    return {name: array.numpy() for name, array in record.items()}


def floating(arrays: Arrays) -> dict[str, np.ndarray]:
    """Those that are averaged: parameters, and running statistics too."""
    return {name: x for name, x in arrays.items() if np.issubdtype(x.dtype, np.floating)}


def flat(arrays: Arrays) -> Tensor:
    """One vector ``(P,)`` float32 of floating arrays."""
    parts = [np.asarray(x, dtype=np.float32).reshape(-1) for x in arrays.values()]
    return torch.from_numpy(np.concatenate(parts))


def record_of(vector: Tensor, like: Arrays) -> ArrayRecord:
    """A record of these names, shapes and kinds; whole numbers stay as they are in ``like``."""
    parts, start = {}, 0
    for name, array in like.items():
        if np.issubdtype(array.dtype, np.floating):
            end = start + array.size
            part = vector[start:end].cpu().numpy().reshape(array.shape).astype(array.dtype)
            parts[name], start = Array(part), end
        else:
            parts[name] = Array(array)
    return ArrayRecord(parts)
