"""Passes over the updates of a round, by blocks that fit a core's cache, on several cores.

How blocks are cut, and in which order they are summed, does not depend on the number of cores, and
each works on one thread: so neither do the bits.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from benchmark.defenses import passes
from benchmark.utils.machine import one_thread

BLOCK = 2**16
"""Numbers in a block of columns: 512 KiB in float64."""
CUDA_BLOCK = 2**24
SMALL = 2**20
"""Numbers in a cohort's updates up to which waking threads costs more than they gain."""
COLUMNS = 256
"""Of a block at the least: with fewer, a product of matrices is mostly waiting for its sums."""
PANEL = 256
"""Rows of a product of matrices."""
FEW = 128
"""Rows up to which a block of columns stays in the cache that compiled code multiplies from."""
SPANS = 16
"""Parts of the columns that are worked on at the same time, at the most."""

MEAN_BLOCK = 2**16
"""Columns of a sum that stay in a core's cache while row after row is added."""

Item = TypeVar("Item")
Found = TypeVar("Found")


def spread(work: Callable[[Item], Found], items: Iterable[Item], workers: int) -> list[Found]:
    """``work`` of each item, in order; ``workers`` of them at a time, one thread each."""
    # On several threads an operator may round differently.
    if workers == 1:
        with one_thread():
            return [work(item) for item in items]
    return list(_pool(workers).map(work, items))


@cache
def _pool(workers: int) -> ThreadPoolExecutor:
    """Threads that stay: new ones get their memory page by page, which takes as long again."""
    return ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))


# A child has none of its parent's threads.
os.register_at_fork(after_in_child=_pool.cache_clear)


def spans(rows: Tensor) -> list[list[slice]]:
    """The columns of ``(n, P)``: at most ``SPANS`` parts, each a list of blocks."""
    P = rows.shape[1]
    width = max((CUDA_BLOCK if rows.is_cuda else BLOCK) // len(rows), COLUMNS)
    places = [slice(start, min(start + width, P)) for start in range(0, P, width)]
    count = max(-(-len(places) // SPANS), 1)
    return [places[i : i + count] for i in range(0, len(places), count)]


def over_columns(rows: Tensor, work: Callable[[slice], None], workers: int) -> None:
    """``work`` on the place of every block of columns of ``(n, P)``."""

    def each(span: list[slice]) -> None:
        for place in span:
            work(place)

    spread(each, spans(rows), workers)


def by_columns(rows: Tensor, reduce: Callable[[Tensor], Tensor], workers: int) -> Tensor:
    """``reduce`` of blocks of columns ``(n, b)`` → ``(b,)``, put together: ``(P,)``."""
    found = rows.new_empty(rows.shape[1])

    def work(place: slice) -> None:
        found[place] = reduce(rows[:, place])

    over_columns(rows, work, workers)
    return found


def summed(
    rows: Tensor,
    shape: Sequence[int],
    add: Callable[[slice, Tensor], object],
    workers: int,
    whole: bool = False,
) -> Tensor:
    """What ``add`` adds of every block of columns, or of spans of them as a whole, in float64."""

    def each(span: list[slice]) -> Tensor:
        total = rows.new_zeros(*shape, dtype=torch.float64)
        for place in [slice(span[0].start, span[-1].stop)] if whole else span:
            add(place, total)
        return total

    return torch.stack(spread(each, spans(rows), workers)).sum(dim=0)


def gram(rows: Tensor, center: Tensor | None = None, workers: int = 1) -> Tensor:
    """⟨x_i − c, x_j − c⟩ of the rows of ``(n, P)``: ``(n, n)`` float64."""
    n, middle = len(rows), None if center is None else center.double()

    def compiled(place: slice, total: Tensor) -> None:
        passes.gram(rows[:, place], None if middle is None else middle[place], total)

    def add(place: slice, total: Tensor) -> None:
        block = rows[:, place].to(torch.float64, copy=middle is not None)
        if middle is not None:
            block -= middle[place]
        # Of pairs, each once: above the diagonal, by rows of blocks.
        for start in range(0, n, PANEL):
            end = min(start + PANEL, n)
            total[start:end, start:].addmm_(block[start:end], block[start:].T)

    if n <= FEW and passes.serves(rows):
        upper = summed(rows, passes.pairs_shape(n), compiled, workers, whole=True)[:n, :n].triu()
    else:
        upper = summed(rows, (n, n), add, workers).triu()
    return upper + upper.triu(1).T


def row_norms(rows: Tensor, workers: int = 1, center: Tensor | None = None) -> Tensor:
    """‖x_k − c‖₂ of the rows of ``(n, P)``: ``(n,)`` float64."""
    if not passes.serves(rows):
        return torch_norms(rows, workers, center)
    middle = None if center is None else center.double()

    def add(place: slice, total: Tensor) -> None:
        passes.squares(rows[:, place], None if middle is None else middle[place], total)

    return summed(rows, (len(rows),), add, workers, whole=True).sqrt()


def torch_norms(rows: Tensor, workers: int = 1, center: Tensor | None = None) -> Tensor:
    """:func:`row_norms` with the same bits whether or not there is a compiler, as records have."""

    # Converted block by block, to a product of its own: a norm that converts takes twice as long.
    width = CUDA_BLOCK if rows.is_cuda else BLOCK // 2

    def square(row: Tensor) -> Tensor:
        total = row.new_zeros((), dtype=torch.float64)
        for start in range(0, len(row), width):
            wide = row[start : start + width].double()
            if center is not None:
                wide = wide - center[start : start + width]
            total += wide @ wide
        return total

    return torch.stack(spread(square, rows, workers)).sqrt()


def mean(updates: Tensor, weights: Tensor, scale: Tensor | None = None, workers: int = 1) -> Tensor:
    """Σ_k w_k Δ_k over the rows of ``(K, P)``, in a fixed order; with ``scale``, Σ_k w_k (s_k Δ_k).

    Rows of weight 0 are left out rather than multiplied: what a rejected client sent may be
    infinite, and 0 · inf is not 0.

    >>> mean(torch.tensor([[1.0, 3.0], [torch.inf, 0.0]]), torch.tensor([1.0, 0.0]))
    tensor([1., 3.])
    """
    shares = weights.to(updates).contiguous()
    scales = None if scale is None else scale.to(updates).contiguous()
    update = torch.zeros_like(updates[0])
    width = len(update) if updates.is_cuda else MEAN_BLOCK
    places = [slice(i, i + width) for i in range(0, len(update), max(width, 1))]
    factors = [1.0] * len(updates) if scales is None else scales.tolist()
    terms = zip(updates, shares.tolist(), factors, strict=True)
    kept = [term for term in terms if term[1] != 0]

    def compiled(place: slice) -> None:
        passes.mean(updates[:, place], shares, scales, update[place])

    def add(place: slice) -> None:
        total = update[place]
        for row, weight, factor in kept:
            part = row[place]
            total.add_(part if scale is None else part * factor, alpha=weight)

    spread(compiled if passes.serves(updates) else add, places, workers)
    return update


def products(rows: Tensor, vector: Tensor, workers: int = 1) -> Tensor:
    """⟨x_k, v⟩ of the rows of ``(n, P)``, ``(n,)`` float64."""
    other, served = vector.double(), passes.serves(rows)

    def add(place: slice, total: Tensor) -> None:
        if served:
            passes.products(rows[:, place], other[place], total)
        else:
            total += rows[:, place].double() @ other[place]

    return summed(rows, (len(rows),), add, workers, whole=served)


def beyond(rows: Tensor, cuts: Tensor, signs: Tensor | None = None, workers: int = 1) -> Tensor:
    """Of ``(n, P)`` what is larger in magnitude than its row's cut, ``(n, 3)`` float64.

    The sum of its squares, and how many are positive, and negative.

    Args:
        cuts: ``(n,)``, at least 0, of the rows' type.
        signs: ``(P,)``, −1, 0 or 1, of the rows' type, by which rows are multiplied before.
    """
    served = passes.serves(rows)

    def add(place: slice, total: Tensor) -> None:
        part, own = rows[:, place], None if signs is None else signs[place]
        if served:
            passes.beyond(part, cuts, own, total)
            return
        values = part if own is None else part * own
        kept = torch.where(values.abs() > cuts[:, None], values, 0)
        total[:, 0] += kept.double().square().sum(dim=1)
        total[:, 1] += (kept > 0).sum(dim=1)
        total[:, 2] += (kept < 0).sum(dim=1)

    return summed(rows, (len(rows), 3), add, workers, whole=served)


def ordered(values: Tensor) -> Tensor:
    """The columns of ``(n, b)``, sorted."""
    if passes.serves(values):
        return passes.ordered(values)
    if values.is_cuda:
        return values.sort(dim=0).values
    # NumPy sorts short rows that lie together ten times as fast as torch sorts columns.
    return torch.from_numpy(np.sort(values.T.contiguous().numpy(), axis=1)).T


def largest(parts: Sequence[Tensor], rank: int) -> Tensor:
    """The ``rank``-th largest magnitude of ``(m,)`` values, some in each part."""
    if parts[0].is_cuda:
        values = torch.cat(list(parts)).abs()
        return values.kthvalue(len(values) - rank + 1).values
    # NumPy's selection takes a tenth of the time of torch's, its memory a half.
    sizes = np.concatenate([part.numpy() for part in parts])
    np.abs(sizes, out=sizes).partition(len(sizes) - rank)
    return torch.from_numpy(sizes)[len(sizes) - rank].clone()  # and nothing of all the others
