"""What a defense is: the server's side of a round."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from benchmark.defenses.blocks import SMALL
from benchmark.engine.base import Predict
from benchmark.engine.client import Layer
from benchmark.engine.plan import Examples, Lane, LocalClient
from benchmark.engine.workbench import Workbench


@dataclass(frozen=True)
class DefenseSetting:
    """What a defense is told of the federation, once, before the first round.

    Attributes:
        num_users: N.
        clients_per_round: K.
        num_parameters: P.
        rounds: T.
        layers: where each parameter lies in a flat update, its shape and its role.
        weighting: ``uniform``, or ``examples``: n_k-weighted.
        server_lr: η.
        replacement: whether a cohort is drawn with replacement.
        has_root_data: whether the server has clean data of its own.
        root_images: how many images; 0 where it has none to look at.
        num_statistics: Q, running statistics, which the server averages beside the updates.
    """

    num_users: int
    clients_per_round: int
    num_parameters: int
    rounds: int
    layers: tuple[Layer, ...]
    weighting: str = "uniform"
    server_lr: float = 1.0
    replacement: bool = False
    has_root_data: bool = False
    root_images: int = 0
    num_statistics: int = 0


@dataclass(frozen=True)
class DefenseContext:
    """What the server knows in a round. It never knows who is compromised.

    Attributes:
        round, seed: which round of which run.
        theta: the global model ``(P,)`` before the round.
        clients: ``(K,)`` identities, for defenses that keep a history for each client.
        layers: where each parameter lies in a flat update, its shape and its role.
        root_update: ``(P,)``, what came of :meth:`Defense.server_lane`; None without.
        root: the server's own images, correctly labelled; None where it has none.
        workbench: the model, to be evaluated and trained with weights of the server's choice;
            None where there are arrays only.
    """

    round: int
    seed: int
    theta: Tensor
    clients: Tensor
    layers: tuple[Layer, ...]
    root_update: Tensor | None = None
    root: Examples | None = None
    workbench: Workbench | None = None


@dataclass(frozen=True)
class Aggregation:
    """What the server makes of the updates.

    Attributes:
        update: ``(P,)``; the server optimizer sees its negative as the pseudo-gradient.
        trust: ``(K,)`` in [0, 1], the share of its weight that each client kept; 0 is rejected.
            None where the defense judges no client.
        info: what the defense saw, scalars by name; they become metrics.
    """

    update: Tensor
    trust: Tensor | None = None
    info: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """What is left of a part of a cohort.

    Attributes:
        aggregation: of the part alone.
        weight: what those who were kept weigh in the cohort, together.
        size: how many clients it had.
        sums: over its clients, which are added to those of other parts.
    """

    aggregation: Aggregation
    weight: Tensor
    size: int
    sums: dict[str, Tensor] = field(default_factory=dict)


class Defense(nn.Module, ABC):
    """What the server does with the updates. A module, so that its buffers are saved.

    In a round :meth:`before_round`, :meth:`aggregate` and :meth:`after_round` follow each other,
    then :meth:`deployed` and :meth:`predictor` give what is measured. Lanes are made a round ahead
    and may not depend on state or on the global model.

    Attributes:
        group: of the configuration, by whose names one defense may hold another.
        paper: where the defense comes from.
        permutation_invariant: whether the order of the clients is irrelevant.
        is_weighted: whether it honors weights that are not uniform.
        exempt: what every defense keeps to and this one does not: the test of the contract, without
            ``test_``, and the reason.
        in_tests: parameters that the contract sets, where with the defaults it would take minutes.
        needs_root_data: whether the server needs clean data of its own.
        assumed_compromised: f, how many clients of a cohort the server reckons with; a setting,
            never the truth. 0 for a defense that has no such assumption.
        setting: what it was set up for.
    """

    group: ClassVar[str] = "defense"
    paper: ClassVar[str]
    permutation_invariant: ClassVar[bool] = True
    is_weighted: ClassVar[bool] = True
    exempt: ClassVar[Mapping[str, str]] = MappingProxyType({})
    in_tests: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    needs_root_data: bool = False
    assumed_compromised: int = 0
    setting: DefenseSetting | None = None

    def __init__(self) -> None:
        super().__init__()
        # A run keeps torch to one thread while it trains; the engines spread their work alike.
        self.workers = torch.get_num_threads()

    def threads(self, updates: Tensor) -> int:
        """On how many threads passes over updates ``(K, P)`` are spread."""
        return 1 if updates.is_cuda or updates.numel() <= SMALL else self.workers

    @classmethod
    def min_clients(cls, assumed_compromised: int) -> int:
        """The smallest cohort that the defense is defined for."""
        return 1

    def setup(self, setting: DefenseSetting) -> None:
        """Make buffers, whose sizes are known now, and refuse what does not fit.

        The federation has refused cohorts below :meth:`min_clients` before.

        Raises:
            ValueError: the defense is not defined in this setting; says what it needs.
        """
        self.setting = setting

    @abstractmethod
    def aggregate(self, updates: Tensor, weights: Tensor, context: DefenseContext) -> Aggregation:
        """Turn client updates into one.

        Args:
            updates: ``(K, P)``, local − global. The server received them as they are: nothing
                in them can be trusted.
            weights: ``(K,)``, sum 1; the protocol's aggregation weights (uniform or n_k/n).
            context: what else the server knows.

        Memory: beside ``updates`` at most a second ``(K, P)`` unless a defense says otherwise.
        """

    def before_round(self, theta: Tensor, context: DefenseContext) -> Tensor:
        """What the clients are sent, and the server's step is added to; by default θ ``(P,)``."""
        return theta

    def honest_lane(self, client: LocalClient) -> Lane:
        """How a client trains who does what the server asks; by default as the protocol says."""
        return client.honest_lane()

    def server_lane(self, server: LocalClient) -> Lane | None:
        """What the server trains beside the clients, on its root data; by default nothing."""
        return None

    @property
    def streams(self) -> bool:
        """Whether it needs each update once, so that a cohort may be larger than memory."""
        return False

    def part(self, updates: Tensor, weights: Tensor, context: DefenseContext) -> Part:
        """Of a part of the cohort: updates ``(k, P)`` with their weights ``(k,)`` in the cohort.

        It changes no state, and may run on another machine, on a copy: there is no workbench.
        """
        raise NotImplementedError

    def joined(self, parts: Sequence[Part], context: DefenseContext) -> Aggregation:
        """What :meth:`aggregate` makes of all, up to rounding; trust in the order of the parts."""
        raise NotImplementedError

    def after_round(self, theta: Tensor, context: DefenseContext) -> Tensor:
        """What the server makes of the new global model ``(P,)``; by default nothing."""
        return theta

    def deployed(self, theta: Tensor, context: DefenseContext) -> Tensor:
        """The weights ``(P,)`` that are put to use after this round, and measured; by default θ.

        It changes no state: federated training goes on with θ.
        """
        return theta

    def predictor(self, deployed: Tensor, context: DefenseContext) -> Predict:
        """What answers in use, images to scores of the classes; by default the deployed model."""
        assert context.workbench
        return context.workbench.predictor(deployed)


def workbench_of(context: DefenseContext, defense: Defense) -> Workbench:
    """The model, which ``defense`` cannot do without.

    Raises:
        ValueError: there are arrays only.
    """
    if context.workbench is None:
        raise ValueError(f"{type(defense).__name__} needs the model: aggregate(..., model=...)")
    return context.workbench


def root_of(context: DefenseContext, defense: Defense) -> Examples:
    """The server's own images, which ``defense`` cannot do without.

    Raises:
        ValueError: there are none.
    """
    if context.root is None:
        raise ValueError(
            f"{type(defense).__name__} needs images: aggregate(..., root=(images, labels))"
        )
    return context.root
