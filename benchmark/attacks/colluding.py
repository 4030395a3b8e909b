"""What untargeted attacks are made of: updates that are known, their moments and distances."""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from benchmark.attacks.base import Attack, AttackContext, Knowledge
from benchmark.utils.checks import one_of

Known = Literal["honest", "own"]
BLOCK = 2**16
"""Columns that are held in float64 at a time."""


class Colluding(Attack):
    """Compromised clients train honestly and submit what is made of updates that they know.

    Args:
        known: ``honest``, the updates of the round's honest clients, or ``own``, what the
            compromised trained. Where nobody is honest the own are all there are.

    Raises:
        ValueError: an unknown ``known``.
    """

    knowledge = Knowledge.UPDATES
    goal = "untargeted"

    def __init__(self, known: Known = "honest"):
        super().__init__()
        self.known = one_of("known", Known, known)

    @abstractmethod
    def submission(self, rows: Tensor, updates: Tensor, context: AttackContext) -> Tensor:
        """What all submit, ``(P,)``, or each of them, ``(M, P)``.

        Args:
            rows: ``(n, P)``, known updates.
            updates: ``(M, P)``, what the compromised trained.
            context: what the adversary knows.
        """

    def craft(self, updates: Tensor, context: AttackContext) -> Tensor:
        """The submission of all, in the precision of updates."""
        own = updates[:, 0]
        rows = own if self.known == "own" else honest_rows(self, own, context)
        return self.submission(rows, own, context).to(own).expand_as(own).contiguous()


def honest_rows(attack: Attack, own: Tensor, context: AttackContext) -> Tensor:
    """Updates of the honest, ``(H, P)``; where there is nobody, the adversary's own.

    Raises:
        ValueError: they are not known.
    """
    if context.honest_updates is None:
        without = {"honest": ", or known=own", "full": ", or known=partial"}
        raise ValueError(
            f"{type(attack).__name__} needs the honest updates of the round"
            f"{without.get(getattr(attack, 'known', ''), '')}"
        )
    return context.honest_updates if len(context.honest_updates) else own


def blocks(P: int) -> Iterator[slice]:
    """The columns of ``(n, P)``, in parts."""
    return (slice(start, start + BLOCK) for start in range(0, P, BLOCK))


def moments(rows: Tensor, ddof: int = 0) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each coordinate, ``(P,)`` float64.

    Args:
        rows: ``(n, P)``; of a single one the deviation is 0.
        ddof: the variance is divided by n − ddof.
    """
    n, means, deviations = len(rows), [], []
    for place in blocks(rows.shape[1]):
        block = rows[:, place].double()
        # Of whole numbers that sum to 0 the mean is 0, and its sign, which attacks go by.
        mean = block.sum(dim=0) / n
        means.append(mean)
        deviations.append(((block - mean).square().sum(dim=0) / max(n - ddof, 1)).sqrt())
    return torch.cat(means), torch.cat(deviations)


def total(rows: Tensor) -> Tensor:
    """Σ of the rows of ``(n, P)``: ``(P,)`` float64."""
    return torch.cat([rows[:, place].double().sum(dim=0) for place in blocks(rows.shape[1])])


def gram(rows: Tensor, center: Tensor, *further: Tensor) -> Tensor:
    """Products of c − x_i, of the rows of ``(n, P)``, and of ``further`` vectors, float64."""
    n = len(rows) + len(further)
    found = rows.new_zeros(n, n, dtype=torch.float64)
    for place in blocks(rows.shape[1]):
        beside = [vector[place].double()[None] for vector in further]
        both = torch.cat([center[place] - rows[:, place].double(), *beside])
        found += both @ both.T
    return found


def squared_distances(products: Tensor) -> Tensor:
    """‖d_i − d_j‖² from the products ``(n, n)`` of the d_i."""
    squares = products.diagonal()
    return (squares[:, None] + squares - 2 * products).clamp(min=0)
