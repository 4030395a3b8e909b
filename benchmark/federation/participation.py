"""When compromised clients appear in the cohort."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from benchmark.utils.checks import at_least
from benchmark.utils.randomness import generator


class Participation(ABC):
    """Decides which places of a round's cohort the adversary controls.

    Args:
        window: rounds ``[first, end)`` outside which no client is compromised; null for all.

    Raises:
        ValueError: a window that is not two integers with 0 ≤ first < end.
    """

    paper: ClassVar[str] = "Sun et al. 2019, arXiv 1911.07963, section 3"

    def __init__(self, window: Sequence[int] | None = None):
        if window is not None and not (len(window) == 2 and 0 <= window[0] < window[1]):
            raise ValueError(f"window must be [first, end) with 0 <= first < end, got {window}")
        self.window = window

    def setup(self, num_users: int, seed: int) -> None:  # noqa: B027
        """Choose what has to be chosen once.

        Raises:
            ValueError: the number of users does not allow it.
        """

    def compromised(self, round: int, cohort: Tensor) -> Tensor:
        """Which places of the cohort ``(K,)`` are compromised: ``(K,)`` bool."""
        if self.window is not None and not self.window[0] <= round < self.window[1]:
            return torch.zeros(len(cohort), dtype=torch.bool)
        return self._compromised(round, cohort)

    @abstractmethod
    def _compromised(self, round: int, cohort: Tensor) -> Tensor: ...


class FixedFrequency(Participation):
    """One compromised client every f rounds, in round t when t mod f = ⌊f/2⌋.

    It takes the last place in the cohort, and with it the local data of the client there. With
    K clients a round this stands for a fraction ε = 1/(f·K) of compromised users.

    Args:
        frequency: f, in rounds; 1, 2, 3, 5 and 10 in the paper.
        window: see :class:`Participation`.

    Raises:
        ValueError: ``frequency`` is below 1.
    """

    def __init__(self, frequency: int = 1, window: Sequence[int] | None = None):
        super().__init__(window)
        self.frequency = at_least("frequency", 1, frequency)

    def _compromised(self, round: int, cohort: Tensor) -> Tensor:
        mask = torch.zeros(len(cohort), dtype=torch.bool)
        mask[-1] = round % self.frequency == self.frequency // 2
        return mask


class RandomSampling(Participation):
    """A fraction ε of all users is compromised; the cohort is drawn from everybody.

    Without replacement the number in a cohort is hypergeometric (N, ⌊εN + ½⌋, K). The
    compromised users are the first of one permutation, so a smaller fraction is a subset of a
    larger one.

    Args:
        fraction: ε, 0 < ε ≤ 1; 0.0033 to 0.033 in the paper.
        window: see :class:`Participation`.

    Raises:
        ValueError: ``fraction`` is outside its range, or so small that it means no user.
    """

    def __init__(self, fraction: float = 0.033, window: Sequence[int] | None = None):
        super().__init__(window)
        if not 0 < fraction <= 1:
            raise ValueError(f"fraction must be above 0 and at most 1, got {fraction}")
        self.fraction = fraction

    def setup(self, num_users: int, seed: int) -> None:
        """Choose the compromised users."""
        count = int(self.fraction * num_users + 0.5)
        if count == 0:
            raise ValueError(
                f"fraction {self.fraction} of {num_users} users is nobody; "
                f"one of them is {1 / num_users:.2g}"
            )
        order = torch.randperm(num_users, generator=generator(seed, 0, "compromised users"))
        self.users = order[:count]

    def _compromised(self, round: int, cohort: Tensor) -> Tensor:
        return torch.isin(cohort, self.users)
