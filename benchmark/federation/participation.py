"""When compromised clients appear in the cohort."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from benchmark.utils.checks import at_least, positive_share
from benchmark.utils.randomness import generator


class Participation(ABC):
    """Decides which places of a round's cohort the adversary controls.

    Args:
        window: rounds ``[first, end)`` outside which no client is compromised; null for all. The
            backdoor is measured from the first on; the rounds before are trained once for all
            attacks on a defense.

    Raises:
        ValueError: a window that is not two integers with 0 ≤ first < end.
    """

    paper: ClassVar[str] = "Sun et al. 2019, arXiv 1911.07963, section 3"

    def __init__(self, window: Sequence[int] | None = None):
        if window is not None and not (len(window) == 2 and 0 <= window[0] < window[1]):
            raise ValueError(f"window must be [first, end) with 0 <= first < end, got {window}")
        self.window = window

    @property
    def first_round(self) -> int:
        """Before which nobody is compromised, by what is said of it."""
        return self.window[0] if self.window else 0

    def setup(self, num_users: int, seed: int) -> None:  # noqa: B027
        """Choose what has to be chosen once.

        Raises:
            ValueError: the number of users does not allow it.
        """

    def check(self, clients_per_round: int, rounds: int) -> None:
        """Refuse a protocol of K clients a round and T rounds that it is not made for.

        Raises:
            ValueError: says why.
        """
        if self.first_round >= rounds:
            raise ValueError(
                f"the attack begins in round {self.first_round}, of {rounds} rounds from 0"
            )

    def compromised(self, round: int, cohort: Tensor) -> Tensor:
        """Which places of the cohort ``(K,)`` are compromised: ``(K,)`` bool."""
        if self.window is not None and not self.window[0] <= round < self.window[1]:
            return torch.zeros(len(cohort), dtype=torch.bool)
        return self._compromised(round, cohort)

    @abstractmethod
    def ranks(self, round: int, cohort: Tensor, compromised: Tensor) -> Tensor:
        """Place of each compromised client among all that ever are, ``(M,)`` int64.

        Args:
            round: its number.
            cohort: ``(K,)``.
            compromised: ``(K,)`` bool, what :meth:`compromised` said.
        """

    @abstractmethod
    def _compromised(self, round: int, cohort: Tensor) -> Tensor: ...


class FixedPlaces(Participation):
    """In some rounds the last M places of the cohort, with the local data of the clients there.

    Args:
        num_compromised: M.
        window: see :class:`Participation`.

    Raises:
        ValueError: ``num_compromised`` is below 1; a cohort has fewer places.
    """

    def __init__(self, num_compromised: int = 1, window: Sequence[int] | None = None):
        super().__init__(window)
        self.num_compromised = at_least("num_compromised", 1, num_compromised)

    def check(self, clients_per_round: int, rounds: int) -> None:
        """The places must be there."""
        super().check(clients_per_round, rounds)
        if self.num_compromised > clients_per_round:
            raise ValueError(
                f"num_compromised must be 1 to {clients_per_round}, the clients of a round; "
                f"got {self.num_compromised}"
            )

    def ranks(self, round: int, cohort: Tensor, compromised: Tensor) -> Tensor:
        """Everybody who appears is another one: M for each attacked round, in order."""
        first = self._number(round) * self.num_compromised
        return torch.arange(first, first + int(compromised.sum()))

    def _compromised(self, round: int, cohort: Tensor) -> Tensor:
        mask = torch.zeros(len(cohort), dtype=torch.bool)
        if self._attacks(round):
            mask[-self.num_compromised :] = True
        return mask

    @abstractmethod
    def _attacks(self, round: int) -> bool: ...

    @abstractmethod
    def _number(self, round: int) -> int:
        """Attacked rounds before this one."""


class FixedFrequency(FixedPlaces):
    """M compromised clients every f rounds, in round t when t mod f = ⌊f/2⌋.

    They take the last places in the cohort, and with them the local data of the clients there.
    With K clients a round this stands for a fraction ε = M/(f·K) of compromised users.

    Args:
        frequency: f, in rounds; 1, 2, 3, 5 and 10 in the paper.
        num_compromised: M; 1 in the paper.
        window: see :class:`Participation`.

    Raises:
        ValueError: ``frequency`` or ``num_compromised`` is below 1.
    """

    def __init__(
        self,
        frequency: int = 1,
        num_compromised: int = 1,
        window: Sequence[int] | None = None,
    ):
        super().__init__(num_compromised, window)
        self.frequency = at_least("frequency", 1, frequency)

    def _attacks(self, round: int) -> bool:
        return round % self.frequency == self.frequency // 2

    def _number(self, round: int) -> int:
        f = self.frequency
        until, outside = ((t - f // 2 + f - 1) // f for t in (round, self.first_round))
        return until - outside


class ListedRounds(FixedPlaces):
    """M compromised clients in each of some rounds: single shot, or staggered.

    Args:
        rounds: counted from 0; one for a single shot. By default 12, 14, 16 and 18 as in
            Xie et al. 2020, whose attackers plant one part of their trigger each.
        num_compromised: M, in each of them.

    Raises:
        ValueError: no round, one below 0, or one twice; ``num_compromised`` below 1.
    """

    paper = "Xie et al. 2020, ICLR, section 4.1"

    def __init__(self, rounds: Sequence[int] | None = None, num_compromised: int = 1):
        super().__init__(num_compromised)
        rounds = [12, 14, 16, 18] if rounds is None else rounds
        if not rounds or min(rounds) < 0 or len({*rounds}) < len(rounds):
            raise ValueError(f"rounds must be different ones from 0, got {list(rounds)}")
        self.rounds = sorted(rounds)

    @property
    def first_round(self) -> int:
        """The first of them."""
        return self.rounds[0]

    def check(self, clients_per_round: int, rounds: int) -> None:
        """All of its rounds must be there."""
        super().check(clients_per_round, rounds)
        if self.rounds[-1] >= rounds:
            raise ValueError(f"rounds must be 0 to {rounds - 1}, got {self.rounds[-1]}")

    def _attacks(self, round: int) -> bool:
        return round in self.rounds

    def _number(self, round: int) -> int:
        return sum(attacked < round for attacked in self.rounds)


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
        self.fraction = positive_share("fraction", fraction)

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

    def ranks(self, round: int, cohort: Tensor, compromised: Tensor) -> Tensor:
        """Place in the permutation."""
        return (cohort[compromised][:, None] == self.users).int().argmax(dim=1)

    def _compromised(self, round: int, cohort: Tensor) -> Tensor:
        return torch.isin(cohort, self.users)
