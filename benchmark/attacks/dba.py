"""The distributed backdoor attack: every attacker plants a part of the trigger."""

from types import MappingProxyType

from torch import Tensor

from benchmark.attacks.base import AttackContext, CompromisedClient
from benchmark.attacks.poisoning import Poisoning
from benchmark.attacks.scaling import Scaling, scaled
from benchmark.engine.plan import Examples, Lane
from benchmark.utils.checks import one_of


class DistributedBackdoor(Poisoning):
    """Attacker j trains on images with part j mod n of the trigger; measured is the whole of it.

    j is its rank among all compromised clients, whatever its place in the cohort. Single-shot
    (``participation=listed_rounds``) its update is boosted, 100 = K/η times in the paper's code;
    multi-shot it is not. The loss is cross-entropy alone, as the paper's α = 1 says.

    Args:
        scaling: ``boost``, by β_j, or ``none``.
        epochs: passes over the local data, 10 in the paper's code; null takes the protocol's.
        poison_share: of every batch; 20 of 64 in the paper's code.
        lr: learning rate; 0.05 in the paper's code; null takes the protocol's.
        momentum: of its SGD; 0.9 in the paper's code.
        weight_decay: of its SGD; 5e-4 in the paper's code.
        step_decay: whether the rate is divided by 10 after 20 % and 80 % of the epochs.

    Raises:
        ValueError: a number out of its range, or an unknown ``scaling``.
    """

    paper = "Xie et al. 2020, ICLR, section 3, and its published code"
    cost = "10/E for E local epochs of an honest one"
    needs_parts = True
    in_tests = MappingProxyType({"epochs": 2})

    def __init__(
        self,
        scaling: Scaling = "boost",
        epochs: int | None = 10,
        poison_share: float = 0.3125,
        lr: float | None = 0.05,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        step_decay: bool = True,
    ):
        super().__init__(epochs, poison_share, lr, momentum, weight_decay, step_decay)
        self.scaling = one_of("scaling", Scaling, scaling)
        if scaling not in ("boost", "none"):
            raise ValueError(f"scaling must be one of boost, none; got {scaling}")

    def lanes(self, client: CompromisedClient, backdoor: Examples, boost: float) -> list[Lane]:
        """One lane on its part."""
        parts = max(len(client.poisoned) - 1, 1)  # arrays have none
        poison = client.poison(backdoor, client.rank % parts)
        return [self.trained(client, self.poisoned(client, poison))]

    def craft(self, updates: Tensor, context: AttackContext) -> Tensor:
        """Boost, single-shot."""
        return scaled(updates[:, 0], self.scaling, context.boosts, 1.0)
