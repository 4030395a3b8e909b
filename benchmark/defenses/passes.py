"""Passes over updates in compiled code, which need no second copy of them in float64.

``passes.c`` is compiled at first use. Without a compiler, or on a GPU, ``blocks.py`` has torch do
the same; sums may differ in their last digits, means do not.
"""

import ctypes
import logging
import subprocess
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from benchmark.utils.compiler import compiled

log = logging.getLogger("benchmark")

COLUMNS, STRIP, TILES = 1024, 64, 4
"""Of ``passes.c``: what is packed and sorted at a time, and rows that are multiplied together."""
_SOURCE = Path(__file__).with_suffix(".c")
_TYPES = {torch.float32: "float", torch.float64: "double"}


def serves(rows: Tensor) -> bool:
    """Whether there is compiled code for ``(n, P)``."""
    lie_right = rows.device.type == "cpu" and (rows.stride(1) == 1 or rows.shape[1] == 1)
    return lie_right and rows.dtype in _TYPES and _library() is not None


def squares(rows: Tensor, center: Tensor | None, total: Tensor) -> None:
    """Add ‖x_k − c‖² of ``(n, b)`` and ``(b,)`` float64 to ``(n,)`` float64."""
    _run("products", rows, None, center, total)


def products(rows: Tensor, other: Tensor, total: Tensor) -> None:
    """Add ⟨x_k, v⟩ of ``(n, b)`` and ``(b,)`` float64 to ``(n,)`` float64."""
    _run("products", rows, other, None, total)


def pairs_shape(n: int) -> tuple[int, int]:
    """Of a matrix of pairs with what fills up its last tiles."""
    whole = -(-n // TILES) * TILES
    return whole, whole


def gram(rows: Tensor, center: Tensor | None, total: Tensor) -> None:
    """Add ⟨x_i − c, x_j − c⟩, i ≤ j, of ``(n, b)`` and ``(b,)`` float64 to :func:`pairs_shape`."""
    _run("gram", rows, center, total.new_empty(len(total), COLUMNS), total)


def manhattan(rows: Tensor, total: Tensor) -> None:
    """Add ‖x_i − x_j‖₁, i ≤ j, of ``(n, b)`` to :func:`pairs_shape`."""
    _run("manhattan", rows, None, total.new_empty(len(total), COLUMNS), total)


def mean(rows: Tensor, weights: Tensor, scale: Tensor | None, out: Tensor) -> None:
    """Σ_k w_k (s_k x_k) of ``(n, b)`` into ``(b,)``, all of one type, as torch rounds it."""
    _run("mean", rows, weights, scale, out)


def beyond(rows: Tensor, cuts: Tensor, signs: Tensor | None, total: Tensor) -> None:
    """Add what is larger in magnitude than the cuts ``(n,)`` to ``(n, 3)``: see ``blocks.py``."""
    _run("beyond", rows, cuts, signs, total)


def ordered(rows: Tensor) -> Tensor:
    """The columns of ``(n, b)``, sorted, where all of it is finite."""
    found = rows.new_empty(rows.shape)
    _run("ordered", rows, rows.new_empty(len(rows), STRIP), None, found)
    return found


def _run(name: str, rows: Tensor, first: Tensor | None, second: Tensor | None, out: Tensor) -> None:
    function = getattr(_library(), f"{name}_{_TYPES[rows.dtype]}")
    others = (None if x is None else x.data_ptr() for x in (first, second, out))
    function(rows.data_ptr(), rows.stride(0), *rows.shape, *others)


@cache
def _library() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(str(compiled(_SOURCE)))
    except (OSError, subprocess.SubprocessError) as error:
        log.warning("defenses: no compiled code, so torch, which is slower (%s)", error)
        return None
    for name in ("products", "gram", "manhattan", "mean", "beyond", "ordered"):
        for kind in _TYPES.values():
            function = getattr(library, f"{name}_{kind}")
            function.restype = None
            function.argtypes = [ctypes.c_void_p, *[ctypes.c_int64] * 3, *[ctypes.c_void_p] * 3]
    return library
