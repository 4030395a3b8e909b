"""A little is enough: shifted within the spread of honest updates."""

from statistics import NormalDist
from typing import Literal

from torch import Tensor

from benchmark.attacks.base import AttackContext
from benchmark.attacks.colluding import Colluding, Known, moments
from benchmark.utils.checks import at_least, at_most, one_of, positive

Sign = Literal["minus", "plus"]


class Alie(Colluding):
    """All submit μ − z σ, mean and standard deviation of each coordinate over known updates.

    ``z: null`` is the paper's, the most that s = ⌊K/2 + 1⌋ − M honest supporters allow:
    Φ⁻¹((K − M − s)/(K − M)), from the K and M of each round. It is not positive for M = 1, nor for
    M = 2 of an even K: no attack. It is defined up to M = ⌊K/2⌋, whose z a greater majority takes.

    >>> from benchmark.testing import craft
    >>> honest = [[1.0, 0.0], [3.0, 0.0], [2.0, 3.0]]
    >>> craft("alie", [[9.0, 9.0]], honest=honest)
    tensor([[ 0.7753, -1.1213]])

    Args:
        z: 0.1 to 5; 1.5 in the paper's code. null: the paper's formula.
        ddof: σ² is divided by n − ddof: 0, or 1 in later codes.
        sign: ``minus`` or ``plus``.
        known: as :class:`benchmark.attacks.colluding.Colluding`; ``own`` in the paper's code.

    Raises:
        ValueError: ``z`` is not positive, ``ddof`` is not 0 or 1, an unknown ``sign`` or ``known``.
    """

    paper = "Baruch et al. 2019, NeurIPS, arXiv 1902.06156, algorithm 3, and its published code"

    def __init__(
        self,
        z: float | None = 1.5,
        ddof: int = 0,
        sign: Sign = "minus",
        known: Known = "honest",
    ):
        super().__init__(known)
        self.z = None if z is None else positive("z", z)
        self.ddof = at_most("ddof", 1, at_least("ddof", 0, ddof))
        self.sign = one_of("sign", Sign, sign)

    def submission(self, rows: Tensor, updates: Tensor, context: AttackContext) -> Tensor:
        """Shift.

        Raises:
            ValueError: the formula is asked for a majority on arrays, where it is not defined.
        """
        z = self._supported(len(updates), context) if self.z is None else self.z
        center, spread = moments(rows, self.ddof)
        return center - z * spread if self.sign == "minus" else center + z * spread

    def _supported(self, M: int, context: AttackContext) -> float:
        n = max(context.num_clients, M)
        # In a federation M is drawn: a round that has too many of them is no reason to stop.
        if n // 2 < M and not context.members:
            raise ValueError(
                f"z of the formula is infinite for {M} compromised of {n} clients, at most {n // 2}"
            )
        return supported_z(n, min(M, n // 2))


def supported_z(n: int, m: int) -> float:
    """z of the paper for m of n clients, 1 ≤ m ≤ ⌊n/2⌋; 0 for a client alone.

    >>> [round(supported_z(*x), 4) for x in ((50, 12), (30, 6), (10, 2))]
    [0.336, 0.2104, 0.0]
    """
    supporters = n // 2 + 1 - m
    share = (n - m - supporters) / (n - m)
    return NormalDist().inv_cdf(share) if 0 < share < 1 else 0.0
