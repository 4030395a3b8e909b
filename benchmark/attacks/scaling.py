"""What is submitted of a backdoor update: how long it is made."""

from typing import Literal

import torch
from torch import Tensor

Scaling = Literal["none", "boost", "norm", "at_most", "reference"]


def boosted(updates: Tensor, boosts: Tensor) -> Tensor:
    """β_j · Δ_j for every row of ``(M, P)``: alone among 30 with a uniform mean, β = 30.

    >>> from torch import tensor
    >>> boosted(tensor([[1.0, -2.0]]), tensor([30.0])) / 30
    tensor([[ 1., -2.]])
    """
    return updates * boosts.to(updates).unsqueeze(1)


def norms(updates: Tensor) -> Tensor:
    """‖Δ_j‖₂ of every row of ``(M, P)``, ``(M,)`` float64."""
    return torch.linalg.vector_norm(updates, dim=1, dtype=torch.float64)


def to_length(updates: Tensor, wanted: Tensor | float, most: Tensor | None = None) -> Tensor:
    """γ_j Δ_j with γ_j = S_j/‖Δ_j‖, at most ``most`` ``(M,)``; rows of zeros stay.

    >>> from torch import tensor
    >>> to_length(tensor([[3.0, 4.0], [0.0, 0.0]]), 1.0)
    tensor([[0.6000, 0.8000],
            [0.0000, 0.0000]])
    """
    found = norms(updates)
    factors = torch.where(found > 0, wanted / found, 0)
    if most is not None:
        factors = factors.minimum(most.to(factors))
    return within(updates * factors.to(updates).unsqueeze(1), wanted)


def within(updates: Tensor, bound: Tensor | float) -> Tensor:
    """Rows ``(M, P)`` that rounding has made longer than a bound, by a few units in the last place.

    A server that rejects what is longer, even by one, takes them.
    """
    found, room = norms(updates), 1 - 8 * torch.finfo(updates.dtype).eps
    factors = torch.where(found > bound, room * bound / found, 1)
    return updates * factors.to(updates).unsqueeze(1)


def scaled(
    updates: Tensor,
    scaling: Scaling,
    boosts: Tensor,
    norm_bound: float,
    reference: Tensor | None = None,
) -> Tensor:
    """Backdoor updates ``(M, P)`` as they are submitted.

    - ``none``: Δ_j; ``boost``: β_j Δ_j.
    - ``norm``: S/‖Δ_j‖ · Δ_j; ``at_most``: min(β_j, S/‖Δ_j‖) · Δ_j.
    - ``reference``: as long as the client's own honest update.

    Args:
        updates: ``(M, P)``.
        scaling: one of the above.
        boosts: ``(M,)``.
        norm_bound: S.
        reference: ``(M, P)``, honest updates.

    Raises:
        ValueError: ``reference`` without honest updates.
    """
    match scaling:
        case "none":
            return updates
        case "boost":
            return boosted(updates, boosts)
        case "norm":
            return to_length(updates, norm_bound)
        case "at_most":
            return to_length(updates, norm_bound, boosts)
    if reference is None:
        raise ValueError("scaling=reference needs an honest lane: updates of shape (M, 2, P)")
    return to_length(updates, norms(reference))
