"""Min-Sum: as far from all honest updates together as one of them is."""

from typing import Literal

from torch import Tensor

from benchmark.attacks.base import AttackContext
from benchmark.attacks.colluding import Colluding, Known
from benchmark.attacks.deviation import Deviation, Direction, Solver, halved
from benchmark.utils.checks import one_of

Reading = Literal["code", "text"]


class MinSum(Colluding):
    """All submit m = μ + γ p with the largest γ of Σ_i ‖m − x_i‖² ≤ S.

    S is min_i Σ_j ‖x_i − x_j‖² (published code), or max_i (text). In closed form
    γ = min_i ‖μ − x_i‖ / ‖p‖, or max_i: m lies as far from the mean as the nearest update, or the
    farthest.

    >>> from benchmark.testing import craft
    >>> honest = [[1.0, 0.0], [3.0, 0.0], [2.0, 3.0]]
    >>> craft("min_sum", [[9.0, 9.0]], honest=honest, direction="unit")
    tensor([[0.7351, 0.3675]])

    Args:
        direction: as :class:`benchmark.attacks.min_max.MinMax`.
        reading: ``code`` or ``text``.
        solver: ``closed``, or the published ``search``.
        known: as :class:`benchmark.attacks.colluding.Colluding`.

    Raises:
        ValueError: an unknown ``direction``, ``reading``, ``solver`` or ``known``.
    """

    paper = "Shejwalkar and Houmansadr 2021, NDSS, section 5.3, and its published code"

    def __init__(
        self,
        direction: Direction = "std",
        reading: Reading = "code",
        solver: Solver = "closed",
        known: Known = "honest",
    ):
        super().__init__(known)
        self.direction = one_of("direction", Direction, direction)
        self.reading = one_of("reading", Reading, reading)
        self.solver = one_of("solver", Solver, solver)

    def submission(self, rows: Tensor, updates: Tensor, context: AttackContext) -> Tensor:
        """Go as far as allowed."""
        line = Deviation.of(rows, self.direction)
        return line.at(self.farthest(line))

    def farthest(self, line: Deviation) -> float:
        """γ."""
        if self.solver == "search":
            sums = line.pairs.sum(dim=1)
            bound = sums.min() if self.reading == "code" else sums.max()
            return halved(lambda gamma: bool(line.distances(gamma).sum() <= bound))
        if line.length == 0:
            return 0.0
        square = line.squares.min() if self.reading == "code" else line.squares.max()
        return float((square / line.length).sqrt())
