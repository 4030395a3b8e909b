"""Gaussian noise that servers add."""

import torch
from torch import Tensor

from benchmark.defenses.base import DefenseContext
from benchmark.utils.randomness import generator


def standard_normal(
    like: Tensor, context: DefenseContext, purpose: str = "defense noise"
) -> Tensor:
    """N(0, I) of the length, the device and the dtype of a vector ``(P,)``, from (seed, round).

    Drawn in float32 whatever the dtype, so that either precision has the same; a GPU draws others.
    """
    source = generator(context.seed, context.round, purpose, like.device)
    noise = torch.randn(len(like), generator=source, device=like.device, dtype=torch.float32)
    return noise.to(like)
