"""What an attack is: hooks in the order of a round, each with a do-nothing default."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Protocol

from torch import Tensor, nn

from benchmark.engine.client import Layer
from benchmark.engine.plan import Examples, Lane, LocalClient
from benchmark.engine.workbench import Workbench

Goal = Literal["backdoor", "untargeted"]
Learned = Literal["pattern", "weights"]

LEARNED_BY_TASK: Mapping[Learned, str] = MappingProxyType(
    {"pattern": "learned_patch", "weights": "learned_noise"}
)
"""What an attack can learn of a trigger, a buffer of the task, and the task that has it."""


class Knowledge(IntEnum):
    """What the adversary knows; each level includes those before it."""

    DATA = 1
    """Its own clients: their data, the global model, the training protocol."""
    UPDATES = 2
    """Also the honest clients' updates of the round."""
    DEFENSE = 3
    """Also the defense and its parameters: it may ask a copy of it."""
    OMNISCIENT = 4
    """Everything."""


@dataclass(frozen=True)
class AttackSetting:
    """What an attack is told of the federation, once, before the first round.

    Attributes:
        num_users: N.
        clients_per_round: K.
        num_parameters: P.
        rounds: T.
        layers: where each parameter lies in a flat update, its shape and its role.
        client_lr, local_epochs, batch_size: how honest clients train.
        server_lr: η.
        weighting: ``uniform``, or ``examples``: n_k-weighted.
    """

    num_users: int
    clients_per_round: int
    num_parameters: int
    rounds: int
    layers: tuple[Layer, ...]
    client_lr: float = 0.1
    local_epochs: int = 1
    batch_size: int = 20
    server_lr: float = 1.0
    weighting: str = "uniform"


@dataclass(frozen=True)
class CompromisedClient(LocalClient):
    """A client that the adversary controls in a round.

    Attributes:
        user: whose data it has.
        rank: its place among all that are ever compromised, the same in every round.
        boost: β_j, see :attr:`AttackContext.boosts`.
        num_clients: K.
        num_compromised: M, of this round.
        poisoned: for each part of the trigger, stamped copies of the client's own images with the
            label that the adversary wants; one where the trigger has no parts, the client's own
            images that the task is about where there is no trigger. They can be empty.
    """

    user: int = 0
    rank: int = 0
    boost: float = 1.0
    num_clients: int = 1
    num_compromised: int = 1
    poisoned: tuple[Examples, ...] = ()

    def poison(self, backdoor: Examples, part: int | None = None) -> Examples:
        """What it poisons its training with: copies of its own images, else D_mal.

        Args:
            backdoor: D_mal.
            part: of the trigger; None for all of it, the last of :attr:`poisoned`.
        """
        own = self.poisoned[-1 if part is None else part] if self.poisoned else backdoor
        # D_mal bears the whole trigger: a part is planted on images of its own or not at all.
        return own if len(own) or part is not None else backdoor


@dataclass(frozen=True)
class Reaction:
    """What a defense would make of a round.

    Attributes:
        update: ``(P,)``, the aggregated update.
        trust: ``(M,)`` in [0, 1] of the compromised rows, 0 is rejected; None where the defense
            judges no client.
    """

    update: Tensor
    trust: Tensor | None = None


class Trigger(Protocol):
    """What the adversary puts on an image; the task has it, and an attack may learn it."""

    def stamp(self, images: Tensor, part: int | None = None) -> Tensor:
        """The trigger on ``(b, C, H, W)`` in [0, 1], clamped and rounded as pixels are."""

    def trigger(self, images: Tensor, part: int | None = None) -> Tensor:
        """The same before it is clamped and rounded, which can be differentiated."""

    def wanted(self, labels: Tensor) -> Tensor:
        """The label that inputs of these true classes ``(b,)`` are to be given."""


@dataclass(frozen=True)
class AttackContext:
    """What the adversary has at hand in a round with M compromised clients.

    Attributes:
        round, seed: which round of which run.
        start: the global model ``(P,)`` that the round began with.
        boosts: ``(M,)`` β_j of each compromised client: the round's boosting factor
            Σ n_k / (η n_j), shared evenly by the M; K/M for a uniform mean and η = 1.
        honest_updates: ``(K − M, P)``, or None below :attr:`Knowledge.UPDATES`.
        honest_clients: ``(K − M,)``, whose they are; None with them.
        layers: where each parameter lies in a flat update, its shape and its role.
        clients: ``(M,)`` identities of the compromised.
        members: the M with their data; none where there are arrays only.
        num_clients: K.
        backdoor: D_mal; None where there are arrays only.
        workbench: the model, to be trained and evaluated with weights of the adversary's choice;
            None where there are arrays only.
        trigger: of the task; None where there are arrays only.
        simulate: what the defense would answer if the compromised submitted ``(M, P)``, from a
            copy of it; None below :attr:`Knowledge.DEFENSE`. It costs an aggregation.
    """

    round: int
    seed: int
    start: Tensor
    boosts: Tensor
    honest_updates: Tensor | None = None
    honest_clients: Tensor | None = None
    layers: tuple[Layer, ...] = ()
    clients: Tensor | None = None
    members: tuple[CompromisedClient, ...] = ()
    num_clients: int = 0
    backdoor: Examples | None = None
    workbench: Workbench | None = None
    trigger: Trigger | None = None
    simulate: Callable[[Tensor], Reaction] | None = None


class Attack(nn.Module):
    """How compromised clients attack. A module, so that buffers are saved.

    In every round :meth:`observe`; where somebody is compromised :meth:`before_training`, then
    their lanes are trained, then :meth:`craft`. Lanes are made a round ahead: what depends on the
    global model belongs into a rule of a lane, or into :meth:`craft`.

    Attributes:
        paper: where the attack comes from.
        knowledge: the most that it may see; contexts hold no more.
        goal: ``backdoor``, or ``untargeted``: then main accuracy under attack is its result.
        cost: of a compromised client's round, in trainings of an honest client.
        active: False for the attack that compromises nobody.
        learns: what of the trigger it learns, without which it is not itself; None needs nothing.
        needs_parts: whether it is not itself unless the trigger has several parts.
        exempt: what every attack keeps to and this one does not: the test of the contract, without
            ``test_``, and the reason.
        in_tests: parameters that the contract sets, where with the defaults it would take minutes.
        setting: what it was set up for.
    """

    group: ClassVar[str] = "attack"
    paper: ClassVar[str]
    knowledge: ClassVar[Knowledge] = Knowledge.DATA
    goal: ClassVar[Goal] = "backdoor"
    cost: ClassVar[str] = "1"
    active: ClassVar[bool] = True
    learns: ClassVar[Learned | None] = None
    needs_parts: ClassVar[bool] = False
    exempt: ClassVar[Mapping[str, str]] = MappingProxyType({})
    in_tests: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    setting: AttackSetting | None = None

    def setup(self, setting: AttackSetting) -> None:
        """Make buffers, whose sizes are known now, and refuse what does not fit.

        Raises:
            ValueError: the attack is not defined in this setting; says what it needs.
        """
        self.setting = setting

    def observe(self, round: int, theta: Tensor) -> None:
        """See the global model ``(P,)`` that a round begins with, in every round of all."""

    def before_training(self, context: AttackContext) -> None:
        """Prepare a round in which somebody is compromised: masks, a trigger that is learned.

        The context has no updates yet.
        """

    def lanes(self, client: CompromisedClient, backdoor: Examples, boost: float) -> list[Lane]:
        """What a compromised client trains on, and by what rule: L lanes, always as many.

        A round is planned while the one before still trains, so this changes no state.

        Args:
            client: whose place it takes, with the local data, correctly labelled.
            backdoor: D_mal, the adversary's own images with the label that it wants.
            boost: β_j, see :attr:`AttackContext.boosts`.

        Returns:
            One lane or more; the default trains honestly on the local data.
        """
        return [client.honest_lane()]

    def craft(self, updates: Tensor, context: AttackContext) -> Tensor:
        """What the M compromised clients of a round submit, from what their lanes gave.

        Args:
            updates: ``(M, L, P)``, local − global, for L lanes a client.
            context: what the adversary knows.

        Returns:
            ``(M, P)``; the default submits the first lane's update.
        """
        return updates[:, 0]


def workbench_of(context: AttackContext, attack: Attack) -> tuple[Workbench, Examples]:
    """The model and D_mal, which ``attack`` cannot do without.

    Raises:
        ValueError: there are arrays only.
    """
    if context.workbench is None or context.backdoor is None:
        raise ValueError(f"{type(attack).__name__} trains: craft(..., model=..., examples=...)")
    return context.workbench, context.backdoor
