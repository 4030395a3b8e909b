"""Norm thresholding by clipping."""

from dataclasses import replace

from benchmark.defenses.base import DefenseContext
from benchmark.defenses.blocks import row_norms
from benchmark.defenses.composed import Before, Composed, Received
from benchmark.utils.checks import positive


class Clip(Before):
    """Δ_k · min(1, M/‖Δ_k‖₂); weight 0 for what is not finite.

    >>> from torch import tensor
    >>> updates, weights = tensor([[3.0, 4.0], [0.3, 0.4]]), tensor([0.5, 0.5])
    >>> Clip(norm_bound=1.0)(Received(updates, weights), context=None).scaled().updates
    tensor([[0.6000, 0.8000],
            [0.3000, 0.4000]])
    """

    each_alone = True

    def __init__(self, norm_bound: float):
        super().__init__()
        self.norm_bound = positive("norm_bound", norm_bound)

    def forward(self, received: Received, context: DefenseContext) -> Received:
        """Shorten the long updates; the share of them is ``clipped_fraction``."""
        length = row_norms(received.updates, received.workers)
        if not length.isfinite().all():
            received = received.keeping(length.isfinite())
        scale = (self.norm_bound / length).clamp(max=1).to(received.updates.dtype)
        clipped = replace(received, scale=scale)
        return clipped.saw("clipped_fraction", (length > self.norm_bound).double().mean())


class NormClip(Composed):
    """Clip every client update to norm M, then average: Σ_k w_k Δ_k min(1, M/‖Δ_k‖₂).

    Args:
        norm_bound: M, in units of the update's norm; the paper has 3, 5 and 10 where honest
            updates have norms of 1 to 2. Useful values scale with the model.

    Raises:
        ValueError: ``norm_bound`` is not positive.
    """

    paper = "Sun et al. 2019, arXiv 1911.07963, section 5, norm thresholding"

    def __init__(self, norm_bound: float = 3.0):
        super().__init__(before=[Clip(norm_bound)])
