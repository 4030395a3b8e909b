"""The adversary's side of a round: whom it controls, what it knows, what it submits."""

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from benchmark.attacks.base import (
    Attack,
    AttackContext,
    CompromisedClient,
    Knowledge,
    Reaction,
)
from benchmark.defenses.base import Defense, DefenseContext
from benchmark.engine.plan import LocalClient
from benchmark.engine.workbench import Workbench
from benchmark.federation.cohort import Cohort
from benchmark.federation.contract import checked_submission
from benchmark.tasks.base import Task
from benchmark.tasks.planting import Planted


@dataclass
class Adversary:
    """An attack with what it has at hand in a federation.

    Attributes:
        attack, defense: whose submissions meet whom.
        task: what it wants; the trigger is the task's.
        planted: in the training images.
        workbench: the model.
        seed: of the run.
    """

    attack: Attack
    defense: Defense
    task: Task
    planted: Planted
    workbench: Workbench
    seed: int

    def members(
        self, cohort: Cohort, ranks: Sequence[int], clients: Sequence[LocalClient]
    ) -> list[CompromisedClient]:
        """The compromised of a cohort, in its order.

        Args:
            cohort: with M of them.
            ranks: of M, see :meth:`Participation.ranks`.
            clients: M, what they have and how they train.
        """
        places = zip(cohort.attackers, ranks, cohort.boosts.tolist(), clients, strict=True)
        return [
            CompromisedClient(
                **vars(client),
                user=user,
                rank=rank,
                boost=boost,
                num_clients=len(cohort.clients),
                num_compromised=len(clients),
                poisoned=self.planted.own[user] if self.task.plants_own else (),
            )
            for user, rank, boost, client in places
        ]

    def prepare(
        self, cohort: Cohort, members: list[CompromisedClient], context: DefenseContext
    ) -> None:
        """It sees the global model, and prepares a round that it attacks."""
        self.attack.observe(context.round, context.theta)
        if not members:
            return
        if type(self.attack).before_training is not Attack.before_training:
            self.attack.before_training(self.context(cohort, members, context))
        if self.task.state_dict():
            self.task.replant(self.planted, [client.user for client in members])

    def craft(
        self,
        trained: Tensor,
        cohort: Cohort,
        members: list[CompromisedClient],
        context: DefenseContext,
    ) -> Tensor:
        """What the server receives, ``(K, P)``: compromised rows are the attack's.

        Args:
            trained: ``(L, P)``, of the cohort's lanes and of those that attacks train besides.
            cohort: who takes part; a part of it, where it goes part by part.
            members: the compromised of the round.
            context: what the server knows.
        """
        updates, further = trained[: len(cohort.clients)], trained[len(cohort.clients) :]
        compromised = cohort.compromised.to(updates.device)
        M, P = len(cohort.boosts), trained.shape[1]
        if M == 0:
            return updates
        own = torch.cat(
            [updates[compromised].unsqueeze(1), further.view(M, len(further) // M, P)], dim=1
        )
        crafted = self.attack.craft(own, self.context(cohort, members, context, updates))
        updates[compromised] = checked_submission(self.attack, crafted, M, P)
        return updates

    def context(
        self,
        cohort: Cohort,
        members: list[CompromisedClient],
        context: DefenseContext,
        updates: Tensor | None = None,
    ) -> AttackContext:
        """What it knows, before there are ``updates`` ``(K, P)`` and after."""
        told = AttackContext(
            round=context.round,
            seed=self.seed,
            start=context.theta,
            boosts=cohort.boosts,
            layers=context.layers,
            clients=cohort.clients[cohort.compromised],
            members=tuple(members),
            num_clients=members[0].num_clients,
            backdoor=self.planted.backdoor,
            workbench=self.workbench,
            trigger=self.task,
        )
        if updates is None or self.attack.knowledge < Knowledge.UPDATES:
            return told
        honest = ~cohort.compromised
        told = replace(
            told,
            honest_updates=updates[honest.to(updates.device)],
            honest_clients=cohort.clients[honest],
        )
        if self.attack.knowledge < Knowledge.DEFENSE:
            return told
        asked = simulator(self.defense, updates, cohort.weights, cohort.compromised, context)
        return replace(told, simulate=asked)


def ever_compromised(cohorts: Iterable[Cohort]) -> list[int]:
    """Users who are compromised in some round, once each."""
    return sorted({user for cohort in cohorts for user in cohort.attackers})


def simulator(
    defense: Defense,
    updates: Tensor,
    weights: Tensor,
    compromised: Tensor,
    context: DefenseContext,
) -> Callable[[Tensor], Reaction]:
    """What a defense would answer, from a copy of it: its state stays, as do ``updates``.

    Args:
        defense: in its state before the round.
        updates: ``(K, P)`` of all.
        weights: ``(K,)`` of all.
        compromised: ``(K,)`` bool, whose rows are replaced by what is tried.
        context: what the server knows.
    """
    where = compromised.to(updates.device)

    def simulate(crafted: Tensor) -> Reaction:
        rows = updates.clone()
        rows[where] = crafted
        found = copy.deepcopy(defense).aggregate(rows, weights.to(rows.device), context)
        return Reaction(found.update, None if found.trust is None else found.trust[where])

    return simulate
