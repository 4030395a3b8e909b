"""Sign flipping: submit the opposite."""

from typing import Literal

from torch import Tensor

from benchmark.attacks.base import AttackContext
from benchmark.attacks.colluding import Colluding, honest_rows, moments
from benchmark.utils.checks import one_of, positive

Form = Literal["own", "mean"]


class SignFlip(Colluding):
    """Submits −s Δ_j instead of Δ_j; or −s times the mean of the honest updates.

    >>> from benchmark.testing import craft
    >>> craft("sign_flip", [[1.0, -3.0]], scale=2.0)
    tensor([[-2.,  6.]])

    Args:
        scale: s, 0.1 to 100; 1 in published code.
        form: ``own``, of what each trained, or ``mean``, of the honest.

    Raises:
        ValueError: ``scale`` is not positive, or an unknown ``form``.
    """

    paper = (
        "Li et al. 2019, AAAI, arXiv 1811.03761; Karimireddy et al. 2022, arXiv 2006.09365, code"
    )

    def __init__(self, scale: float = 1.0, form: Form = "own"):
        super().__init__("own")
        self.scale = positive("scale", scale)
        self.form = one_of("form", Form, form)

    def submission(self, rows: Tensor, updates: Tensor, context: AttackContext) -> Tensor:
        """Flip and scale."""
        if self.form == "own":
            return -self.scale * updates
        return -self.scale * moments(honest_rows(self, updates, context))[0]
