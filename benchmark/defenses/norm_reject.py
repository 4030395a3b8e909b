"""Norm thresholding by leaving long updates out."""

from benchmark.defenses.base import DefenseContext
from benchmark.defenses.blocks import row_norms
from benchmark.defenses.composed import Before, Composed, Received
from benchmark.utils.checks import positive


class Reject(Before):
    """Weight 0 for updates with ‖Δ_k‖₂ > M or not finite; the rest is scaled to sum 1."""

    each_alone = True

    def __init__(self, norm_bound: float):
        super().__init__()
        self.norm_bound = positive("norm_bound", norm_bound)

    def forward(self, received: Received, context: DefenseContext) -> Received:
        """Drop the long updates; the share of them is ``rejected_fraction``."""
        kept = row_norms(received.updates, received.workers) <= self.norm_bound
        return received.keeping(kept).saw("rejected_fraction", (~kept).double().mean())


class NormReject(Composed):
    """Average the updates with ‖Δ_k‖₂ ≤ M only; if there is none, the model stays as it is.

    The other reading of the paper's "ignore updates whose norm is above some threshold M".

    Args:
        norm_bound: M; see :class:`benchmark.defenses.norm_clip.NormClip`.

    Raises:
        ValueError: ``norm_bound`` is not positive.
    """

    paper = "Sun et al. 2019, arXiv 1911.07963, section 5, norm thresholding"

    def __init__(self, norm_bound: float = 3.0):
        super().__init__(before=[Reject(norm_bound)])
