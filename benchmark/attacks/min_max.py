"""Min-Max: as far from the mean as the honest are from each other."""

from torch import Tensor

from benchmark.attacks.base import AttackContext
from benchmark.attacks.colluding import Colluding, Known
from benchmark.attacks.deviation import Deviation, Direction, Solver, halved
from benchmark.utils.checks import one_of


class MinMax(Colluding):
    """All submit m = μ + γ p with the largest γ of max_i ‖m − x_i‖ ≤ max_ij ‖x_i − x_j‖.

    In closed form γ = min_i [−d_i·p + √((d_i·p)² + ‖p‖² (D − ‖d_i‖²))] / ‖p‖², d_i = μ − x_i,
    D the largest squared distance. Of one known update, or equal ones, it is μ.

    >>> from benchmark.testing import craft
    >>> honest = [[1.0, 0.0], [3.0, 0.0], [2.0, 3.0]]
    >>> craft("min_max", [[9.0, 9.0]], honest=honest)
    tensor([[ 1.3660, -0.0981]])

    Args:
        direction: p: ``std``, −σ; ``unit``, −μ/‖μ‖; or ``sign``, −sign μ.
        solver: ``closed``, or the published ``search``, within 2·10⁻⁵ of it and below 20: too
            coarse for ``sign`` where there are many parameters.
        known: as :class:`benchmark.attacks.colluding.Colluding`.

    Raises:
        ValueError: an unknown ``direction``, ``solver`` or ``known``.
    """

    paper = "Shejwalkar and Houmansadr 2021, NDSS, section 5.2, and its published code"

    def __init__(
        self, direction: Direction = "std", solver: Solver = "closed", known: Known = "honest"
    ):
        super().__init__(known)
        self.direction = one_of("direction", Direction, direction)
        self.solver = one_of("solver", Solver, solver)

    def submission(self, rows: Tensor, updates: Tensor, context: AttackContext) -> Tensor:
        """Go as far as allowed."""
        line = Deviation.of(rows, self.direction)
        return line.at(self.farthest(line))

    def farthest(self, line: Deviation) -> float:
        """γ."""
        bound = line.pairs.max()
        if self.solver == "search":
            return halved(lambda gamma: bool(line.distances(gamma).max() <= bound))
        if line.length == 0:
            return 0.0
        room, along = (bound - line.squares).clamp(min=0), line.along
        root = (along**2 + line.length * room).sqrt()
        # Of two forms of the same root the one that subtracts nothing.
        forward = room / (along + root)
        return float(forward.where(along > 0, (root - along) / line.length).min())
