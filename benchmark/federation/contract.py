"""What a federation asks of its plug-ins: to fit at the start, and sound answers in every round."""

import math

import torch
from torch import Tensor

from benchmark.attacks.base import LEARNED_BY_TASK, Attack, Knowledge
from benchmark.defenses.base import Aggregation, Defense, DefenseSetting
from benchmark.federation.cohort import Cohort
from benchmark.tasks.base import Task
from benchmark.utils.errors import UserError


class DivergedError(FloatingPointError):
    """The global model did not stay finite: the federation ends here, which is its result.

    Args:
        message: one line.
        round: in which it ended.
        honest, compromised: identities of the clients that submitted values that are not finite.
    """

    def __init__(self, message: str, round: int, honest: list[int], compromised: list[int]):
        super().__init__(message)
        self.round, self.honest, self.compromised = round, honest, compromised


def check_finite(values: Tensor, what: str, round: int, cohort: Cohort, lengths: Tensor) -> None:
    """End a federation that diverged.

    Args:
        values: that must be finite.
        what: they are called.
        round, cohort: when, and who.
        lengths: ``(K,)``, norms of the updates as the server received them.

    Raises:
        DivergedError: some value is infinite or no number.
    """
    if not values.isfinite().all():
        broken = ~lengths.isfinite().cpu()
        honest = cohort.clients[broken & ~cohort.compromised].tolist()
        compromised = cohort.clients[broken & cohort.compromised].tolist()
        raise DivergedError(
            f"round {round}: {what} is not finite; {len(honest)} honest and {len(compromised)} "
            "compromised clients submitted values that are not finite",
            round,
            honest,
            compromised,
        )


def check_fit(defense: Defense, setting: DefenseSetting) -> None:
    """Refuse a defense that is not defined in this federation.

    Raises:
        ValueError: says what it needs.
    """
    name, K, f = type(defense).__name__, setting.clients_per_round, defense.assumed_compromised
    N = setting.num_users
    if K > N and not setting.replacement:
        raise ValueError(f"clients_per_round must be 1 to {N}, the number of users; got {K}")
    least = defense.min_clients(f)
    if least > K:
        told = f" for assumed_compromised = {f}" if f else ""
        raise ValueError(
            f"{name} needs {least} clients a round or more{told}, clients_per_round is {K}"
        )
    if defense.needs_root_data and not setting.has_root_data:
        raise ValueError(
            f"{name} needs clean data of the server's own, and there are none; "
            "federation.root_images=100 takes as many from the users"
        )


def task_needed(attack: Attack | type[Attack]) -> str | None:
    """A task that has what an attack needs; None where any will do."""
    return (
        LEARNED_BY_TASK[attack.learns] if attack.learns else "dba" if attack.needs_parts else None
    )


def check_trigger(attack: Attack, task: Task) -> None:
    """Refuse an attack that learns the trigger, or plants parts of it, where the task has no such.

    Raises:
        ValueError: says which task has.
    """
    name, needed = type(attack).__name__, task_needed(attack)
    if attack.learns is not None and not hasattr(task, attack.learns):
        raise ValueError(f"{name} learns the trigger: it needs task={needed}")
    if attack.needs_parts and task.num_parts < 2:
        raise ValueError(f"{name} plants parts of the trigger: it needs task={needed}")


def check_parts(defense: Defense, attack: Attack, part_size: int) -> None:
    """Refuse to go through a cohort part by part where somebody wants to see all of it.

    Raises:
        ValueError: says who.
    """
    if part_size and not defense.streams:
        raise ValueError(
            f"part_size = {part_size}: {type(defense).__name__} needs all updates at once; "
            "part_size=0, or a defense such as mean or norm_clip"
        )
    if part_size and attack.knowledge >= Knowledge.UPDATES:
        raise ValueError(f"part_size = {part_size}: {type(attack).__name__} sees all updates")


def checked_submission(attack: Attack, crafted: Tensor, num_compromised: int, P: int) -> Tensor:
    """What compromised clients submit, ``(M, P)``.

    Raises:
        UserError: it is something else; names the attack.
    """
    if _shape(crafted) != (num_compromised, P):
        raise UserError(
            f"attack {_named(attack)}: craft must return a tensor of shape "
            f"({num_compromised}, {P}), got {_shown(crafted)}"
        )
    return crafted


def checked_aggregation(defense: Defense, aggregation: Aggregation, updates: Tensor) -> Aggregation:
    """What the server makes of ``updates`` ``(K, P)``.

    Values of the aggregated update may be anything: a model that does not stay finite is a result.

    Raises:
        UserError: it is no aggregation of these updates; names the defense and what is wrong.
    """
    if fault := _fault(aggregation, updates):
        raise UserError(f"defense {_named(defense)}: aggregate must return {fault}")
    return aggregation


def _fault(aggregation: Aggregation, updates: Tensor) -> str | None:
    K, P = updates.shape
    if not isinstance(aggregation, Aggregation):
        return f"an Aggregation, got {_shown(aggregation)}"
    if _shape(aggregation.update) != (P,):
        return f"an update of shape ({P},), got {_shown(aggregation.update)}"
    if aggregation.update.dtype != updates.dtype:
        return f"an update in {updates.dtype} as the updates are, got {aggregation.update.dtype}"
    trust = aggregation.trust
    if trust is not None and _shape(trust) != (K,):
        return f"trust of shape ({K},) or None, got {_shown(trust)}"
    if trust is not None and not ((trust >= 0) & (trust <= 1)).all():
        return f"trust in [0, 1], got {[round(t, 3) for t in trust.tolist()]}"
    for name, value in aggregation.info.items():
        if torch.as_tensor(value).numel() != 1 or not math.isfinite(value):
            return f"finite numbers as info, got {name} = {value}"
    return None


def _shape(value: object) -> tuple[int, ...] | None:
    return tuple(value.shape) if isinstance(value, Tensor) else None


def _shown(value: object) -> str:
    return f"shape {_shape(value)}" if isinstance(value, Tensor) else type(value).__name__


def _named(plugin: object) -> str:
    return f"{type(plugin).__name__} ({type(plugin).__module__})"
