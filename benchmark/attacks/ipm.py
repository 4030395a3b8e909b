"""Inner product manipulation."""

from torch import Tensor

from benchmark.attacks.base import AttackContext
from benchmark.attacks.colluding import Colluding, Known, moments
from benchmark.utils.checks import positive


class Ipm(Colluding):
    """All submit −ε μ, μ the mean of known updates.

    Against rules that go by distances a small ε, against the median a large one.

    >>> from benchmark.testing import craft
    >>> craft("ipm", [[9.0, 9.0]], honest=[[1.0, 0.0], [3.0, 0.0], [2.0, 3.0]], epsilon=0.5)
    tensor([[-1.0000, -0.5000]])

    Args:
        epsilon: ε, 0.01 to 100.
        known: as :class:`benchmark.attacks.colluding.Colluding`.

    Raises:
        ValueError: ``epsilon`` is not positive, or an unknown ``known``.
    """

    paper = "Xie et al. 2019, UAI, arXiv 1903.03936"

    def __init__(self, epsilon: float = 0.1, known: Known = "honest"):
        super().__init__(known)
        self.epsilon = positive("epsilon", epsilon)

    def submission(self, rows: Tensor, updates: Tensor, context: AttackContext) -> Tensor:
        """Against the mean."""
        return -self.epsilon * moments(rows)[0]
