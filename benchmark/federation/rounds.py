"""The federation: one training step of this Lightning module is one round."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor, nn

from benchmark.attacks.base import Attack, CompromisedClient
from benchmark.data.dataset import FederatedDataset
from benchmark.defenses.base import Defense, DefenseContext
from benchmark.engine.base import Engine
from benchmark.engine.client import ClientModule
from benchmark.engine.plan import Examples, Lane, LocalClient, Plan
from benchmark.engine.workbench import Workbench
from benchmark.federation.adversary import Adversary, ever_compromised
from benchmark.federation.cohort import Cohort, draw
from benchmark.federation.contract import check_finite, check_trigger
from benchmark.federation.evaluation import Evaluator
from benchmark.federation.observation import observed
from benchmark.federation.participation import Participation
from benchmark.federation.protocol import Protocol
from benchmark.federation.reception import Reception, at_once, in_parts
from benchmark.federation.setting import set_up, with_root
from benchmark.tasks.base import Task
from benchmark.utils.randomness import generator


class Federation(pl.LightningModule):
    """Federated training under attack and defense, McMahan et al. 2017 and Sun et al. 2019.

    The global model is ``theta``, flat, ``(P,)``. The server optimizer takes one step a round on
    the pseudo-gradient −Δ, so Lightning's ``global_step`` and ``current_epoch`` count rounds, and
    it saves, resumes and logs. Draws derive from ``(seed, round, purpose)``: the bits are the same.

    Args:
        client: the model and how a client trains it.
        dataset: the partitioned data.
        task, attack, participation: what the adversary wants, how, and when.
        defense: how the server aggregates.
        engine: what trains the cohort.
        protocol: FedAvg's knobs.
        seed: of everything random.

    Raises:
        ValueError: parts that do not fit each other or the data.
    """

    def __init__(
        self,
        *,
        client: ClientModule,
        dataset: FederatedDataset,
        task: Task,
        attack: Attack,
        participation: Participation,
        defense: Defense,
        engine: Engine,
        protocol: Protocol,
        seed: int,
    ):
        super().__init__()
        self.automatic_optimization = False
        if protocol.measured_on != "all":
            dataset = dataset.measuring(protocol.measured_on)
        set_up(defense, attack, client, dataset.num_users, protocol)
        task.setup(dataset, seed)
        check_trigger(attack, task)
        dataset = with_root(dataset, task, protocol, seed)
        participation.check(protocol.clients_per_round, protocol.rounds)
        participation.setup(dataset.num_users, seed)
        self.theta = nn.Parameter(client.flat())
        self.client, self.attack, self.defense = client, attack, defense
        self.dataset, self.task, self.participation = dataset, task, participation
        self.engine, self.protocol, self.seed = engine, protocol, seed
        self.resumed: dict[str, Any] | None = None
        self.deployed: Tensor | None = None

    @property
    def result(self) -> Tensor:
        """The weights ``(P,)`` that the last round put to use: θ, or what the defense deploys."""
        return self.theta.detach() if self.deployed is None else self.deployed.to(self.theta)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The server's SGD."""
        return torch.optim.SGD([self.theta], lr=self.protocol.server_lr)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what the engine decided at the start, and what the defense last deployed."""
        checkpoint["engine"] = self.engine.state()
        checkpoint["deployed"] = self.deployed

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the same engine, which gives the same bits."""
        self.resumed, self.deployed = checkpoint["engine"], checkpoint["deployed"]

    def on_fit_start(self) -> None:
        """Bring the data to where the model is."""
        self.ahead: tuple[Cohort, Plan] | None = None
        self.dataset = self.dataset.to(self.device)
        self.evaluator = Evaluator(self.dataset, self.task, self.theta.dtype)
        cohorts = map(self.sample_cohort, range(self.protocol.rounds))
        planted = self.task.plant(self.dataset, ever_compromised(cohorts))
        train, self.backdoor = planted.train, planted.backdoor
        self.train_labels = train.labels.cpu()
        self.engine.setup(self.client, train)
        self.workbench = Workbench(self.client, self.engine, train)
        self.adversary = Adversary(
            self.attack, self.defense, self.task, planted, self.workbench, self.seed
        )
        if self.resumed is not None:
            self.engine.restore(self.resumed)

    def training_step(self, batch: object, batch_idx: int) -> dict[str, float]:
        """One round; returns its metrics, which are also in ``trainer.callback_metrics``."""
        round = self.current_epoch
        cohort, plan = self.ahead if self.ahead else self.prepare(round)
        context = self.broadcast(self.context(round, cohort))
        self.adversary.prepare(cohort, self.compromised(round, cohort), context)
        received = self.receive(cohort, plan, context)
        update, lengths = received.aggregation.update, received.lengths
        check_finite(update, "the aggregated update", round, cohort, lengths)
        self.server_step(update, context)
        check_finite(self.theta, "the global model after the step", round, cohort, lengths)
        if (statistics := received.statistics) is not None:
            check_finite(statistics, "a running statistic", round, cohort, lengths)
            self.client.load_statistics(statistics)
        metrics = observed(cohort, received) | self.evaluate(context)
        # Where EarlyStopping looks; log_dict takes a tenth of a small round.
        self.trainer.callback_metrics.update({k: torch.tensor(v) for k, v in metrics.items()})
        return metrics

    def prepare(self, round: int) -> tuple[Cohort, Plan]:
        """All of a round that does not depend on the global model."""
        cohort = self.sample_cohort(round)
        return cohort, self.plan(round, cohort)

    def sample_cohort(self, round: int) -> Cohort:
        """Draw K clients from everybody; the participation says which are compromised."""
        sizes, source = self.dataset.train.offsets.diff(), generator(self.seed, round, "cohort")
        clients = draw(self.protocol, self.dataset.num_users, source)
        compromised = self.participation.compromised(round, clients) & self.attack.active
        return Cohort.of(self.protocol, clients, compromised, sizes)

    def plan(self, round: int, cohort: Cohort) -> Plan:
        """The lanes: one for each client in order, what attacks train besides, the server's."""
        first, further = [], []
        compromised = iter(self.compromised(round, cohort))
        for slot, user in enumerate(cohort.clients.tolist()):
            if cohort.compromised[slot]:
                member = next(compromised)
                lane, *more = self.attack.lanes(member, self.backdoor, member.boost)
            else:
                client = self.local(round, slot, self.dataset.train.user(user))
                lane, more = self.defense.honest_lane(client), []
            first.append(lane)
            further += more
        return Plan(round, first + further, self.server_lane(round))

    def compromised(self, round: int, cohort: Cohort) -> list[CompromisedClient]:
        """The adversary's clients of a round, in the order of the cohort."""
        ranks = self.participation.ranks(round, cohort.clients, cohort.compromised)
        train = self.dataset.train
        places = zip(cohort.places, cohort.attackers, strict=True)
        clients = [self.local(round, slot, train.user(user)) for slot, user in places]
        return self.adversary.members(cohort, ranks.tolist(), clients)

    def server_lane(self, round: int) -> Lane | None:
        """What the server trains beside the clients, on its own data."""
        root = self.dataset.root
        slot = self.protocol.clients_per_round
        return None if root is None else self.defense.server_lane(self.local(round, slot, root))

    def local(self, round: int, slot: int, indices: Tensor) -> LocalClient:
        """Who trains on these images, by the protocol; the server's slot is K."""
        return LocalClient(
            local=Examples(indices, self.train_labels[indices]),
            epochs=self.protocol.local_epochs,
            batch_size=self.protocol.batch_size,
            seed=self.seed,
            round=round,
            slot=slot,
            augmentation=self.protocol.augmentation,
            lr=self.protocol.client_lr,
        )

    @torch.no_grad()
    def broadcast(self, context: DefenseContext) -> DefenseContext:
        """What the clients begin with, which is the global model from now on."""
        theta = self.defense.before_round(context.theta, context)
        self.theta.copy_(theta)
        return replace(context, theta=theta)

    def context(self, round: int, cohort: Cohort) -> DefenseContext:
        """What the server knows when a round begins."""
        root = self.dataset.root
        return DefenseContext(
            round=round,
            seed=self.seed,
            theta=self.theta.detach().clone(),
            clients=cohort.clients,
            layers=self.client.layers,
            root=None if root is None else Examples(root, self.train_labels[root]),
            workbench=self.workbench,
        )

    def receive(self, cohort: Cohort, plan: Plan, context: DefenseContext) -> Reception:
        """Train, craft, aggregate; a GPU still trains while the next round is planned."""
        craft = partial(self.adversary.craft, members=self.compromised(plan.round, cohort))
        if size := self.protocol.part_size:
            self.plan_ahead(plan.round + 1)
            return in_parts(self.defense, self.engine, craft, cohort, plan, context, size)
        trained = self.engine.train(context.theta, plan)
        of_clients, of_server = plan.parted(trained.updates)
        served = replace(context, root_update=of_server)
        updates = craft(of_clients, cohort, context=served)
        self.plan_ahead(plan.round + 1)
        return at_once(self.defense, cohort, updates, trained, served)

    def plan_ahead(self, round: int) -> None:
        """The next round, while nothing has waited for this one."""
        self.ahead = self.prepare(round) if round < self.protocol.rounds else None

    def server_step(self, update: Tensor, context: DefenseContext) -> None:
        """One step of the server optimizer on the pseudo-gradient."""
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        self.theta.grad = -update
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            self.theta.copy_(self.defense.after_round(self.theta.detach(), context))

    def evaluate(self, context: DefenseContext) -> dict[str, float]:
        """Backdoor accuracy from the first attack on; main accuracy every few, and in the last."""
        theta = self.theta.detach()
        deployed = self.defense.deployed(theta, context)
        self.deployed = None if deployed is theta else deployed
        predict = self.defense.predictor(deployed, context)
        attackable = context.round >= self.participation.first_round
        metrics = self.evaluator.backdoor(predict) if attackable else {}
        rounds = context.round + 1
        if rounds == self.protocol.rounds or rounds % self.protocol.evaluate_every == 0:
            metrics |= self.evaluator.main(predict, of_task=attackable)
        return metrics
