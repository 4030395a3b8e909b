"""The federation: one training step of this Lightning module is one round."""

import math
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor, nn

from benchmark.attacks.base import Attack, AttackContext, Knowledge
from benchmark.data.dataset import FederatedDataset
from benchmark.defenses.base import Aggregation, Defense, DefenseContext, DefenseSetting, norms
from benchmark.engine.base import Engine
from benchmark.engine.client import ClientModule
from benchmark.engine.plan import Examples, LocalClient, Plan
from benchmark.federation.cohort import Cohort, draw
from benchmark.federation.contract import (
    check_finite,
    check_fit,
    checked_aggregation,
    checked_submission,
)
from benchmark.federation.evaluation import Evaluator
from benchmark.federation.participation import Participation
from benchmark.federation.protocol import Protocol
from benchmark.tasks.base import Task
from benchmark.utils.randomness import generator


class Federation(pl.LightningModule):
    """Federated training under attack and defense, McMahan et al. 2017 and Sun et al. 2019.

    The global model is ``theta``, a flat parameter ``(P,)``. The server optimizer takes one
    step a round on the pseudo-gradient −Δ, so Lightning's ``global_step`` and
    ``current_epoch`` count rounds, and checkpoints, resuming, loggers and devices are
    Lightning's. Every draw derives from ``(seed, round, purpose)``: a resumed run equals an
    uninterrupted one bit by bit.

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
        K, N = protocol.clients_per_round, dataset.num_users
        if K > N and not protocol.replacement:
            raise ValueError(f"clients_per_round must be 1 to {N}, the number of users; got {K}")
        if protocol.measured_on != "all":
            dataset = dataset.measuring(protocol.measured_on)
        setting = DefenseSetting(
            num_users=N,
            clients_per_round=K,
            num_parameters=client.num_parameters,
            rounds=protocol.rounds,
            layers=client.layers,
            weighting=protocol.weighting,
            server_lr=protocol.server_lr,
            replacement=protocol.replacement,
        )
        check_fit(defense, setting)
        defense.setup(setting)
        task.setup(dataset, seed)
        participation.setup(N, seed)
        self.theta = nn.Parameter(client.flat())
        self.client, self.attack, self.defense = client, attack, defense
        self.dataset, self.task, self.participation = dataset, task, participation
        self.engine, self.protocol, self.seed = engine, protocol, seed
        self.resumed: dict[str, Any] | None = None

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The server's SGD."""
        return torch.optim.SGD([self.theta], lr=self.protocol.server_lr)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what the engine decided at the start."""
        checkpoint["engine"] = self.engine.state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the same engine, which gives the same bits."""
        self.resumed = checkpoint["engine"]

    def on_fit_start(self) -> None:
        """Bring the data to where the model is."""
        self.ahead: tuple[Cohort, Plan] | None = None
        self.dataset = self.dataset.to(self.device)
        self.evaluator = Evaluator(self.dataset, self.task, self.theta.dtype)
        train, self.backdoor = self.task.plant(self.dataset)
        self.train_labels = train.labels.cpu()
        self.engine.setup(self.client, train)
        if self.resumed is not None:
            self.engine.restore(self.resumed)

    def training_step(self, batch: object, batch_idx: int) -> dict[str, float]:
        """One round; returns its metrics, which are also in ``trainer.callback_metrics``."""
        round, start = self.current_epoch, self.theta.detach()
        cohort, plan = self.ahead if self.ahead else self.prepare(round)
        trained = self.engine.train(start, plan)
        updates = self.craft(round, start, cohort, trained.updates)
        # A GPU is still training: nothing so far has waited for it.
        self.ahead = self.prepare(round + 1) if round + 1 < self.protocol.rounds else None
        aggregation = self.aggregate(round, start, cohort, updates)
        self.server_step(aggregation)
        check_finite(self.theta, "the global model after the step", round, cohort, updates)
        metrics = self.observe(cohort, trained.losses, updates, aggregation)
        metrics |= self.evaluate(round)
        # Where callbacks such as EarlyStopping look; log_dict takes a tenth of a small round.
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
        """The lanes: one for each client in order, then what attacks train besides."""
        first, further = [], []
        boosts = iter(cohort.boosts.tolist())
        for slot, user in enumerate(cohort.clients.tolist()):
            indices = self.dataset.train.user(user)
            client = LocalClient(
                local=Examples(indices, self.train_labels[indices]),
                epochs=self.protocol.local_epochs,
                batch_size=self.protocol.batch_size,
                seed=self.seed,
                round=round,
                slot=slot,
            )
            if cohort.compromised[slot]:
                lane, *more = self.attack.lanes(client, self.backdoor, next(boosts))
            else:
                lane, more = client.honest_lane(), []
            first.append(lane)
            further += more
        return Plan(round, first + further)

    def craft(self, round: int, start: Tensor, cohort: Cohort, trained: Tensor) -> Tensor:
        """What the server receives, ``(K, P)``: compromised rows are the attack's."""
        updates, further = trained[: len(cohort.clients)], trained[len(cohort.clients) :]
        compromised = cohort.compromised.to(updates.device)
        M, P = len(cohort.boosts), trained.shape[1]
        if M == 0:
            return updates
        own = torch.cat(
            [updates[compromised].unsqueeze(1), further.view(M, len(further) // M, P)], dim=1
        )
        knowledge = self.attack.knowledge
        context = AttackContext(
            round=round,
            seed=self.seed,
            start=start,
            boosts=cohort.boosts,
            honest_updates=updates[~compromised] if knowledge >= Knowledge.UPDATES else None,
            defense=self.defense if knowledge >= Knowledge.DEFENSE else None,
        )
        crafted = self.attack.craft(own, context)
        updates[compromised] = checked_submission(self.attack, crafted, M, P)
        return updates

    def aggregate(self, round: int, start: Tensor, cohort: Cohort, updates: Tensor) -> Aggregation:
        """What the defense makes of the updates."""
        context = DefenseContext(
            round=round,
            seed=self.seed,
            theta=start,
            clients=cohort.clients,
            layers=self.client.layers,
        )
        weights = cohort.weights.to(updates.device)
        aggregation = self.defense.aggregate(updates, weights, context)
        checked_aggregation(self.defense, aggregation, updates)
        check_finite(aggregation.update, "the aggregated update", round, cohort, updates)
        return aggregation

    def server_step(self, aggregation: Aggregation) -> None:
        """One step of the server optimizer on the pseudo-gradient."""
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        self.theta.grad = -aggregation.update
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            self.theta.copy_(self.defense.after_round(self.theta.detach()))

    def observe(
        self, cohort: Cohort, losses: Tensor, updates: Tensor, aggregation: Aggregation
    ) -> dict[str, float]:
        """What happened in the round: loss, norms, and what the defense made of whom."""
        compromised = cohort.compromised
        length, losses = norms(updates).cpu(), losses[: len(compromised)].cpu()
        metrics = {
            "train_loss": losses[~compromised].mean().item(),
            "num_compromised": float(compromised.sum()),
        }
        if not compromised.all():
            honest = length[~compromised]
            metrics["honest_norm_median"] = honest.quantile(0.5).item()
            metrics["honest_norm_max"] = honest.max().item()
        if compromised.any():
            metrics["compromised_norm_max"] = length[compromised].max().item()
        metrics |= {name: float(value) for name, value in aggregation.info.items()}
        if aggregation.trust is not None:
            rejected = aggregation.trust.cpu() == 0
            metrics["all_rejected"] = float(rejected.all())
            if compromised.any():
                metrics["true_positive_rate"] = rejected[compromised].double().mean().item()
            if not compromised.all():
                metrics["false_positive_rate"] = rejected[~compromised].double().mean().item()
        return {name: value for name, value in metrics.items() if math.isfinite(value)}

    def evaluate(self, round: int) -> dict[str, float]:
        """Backdoor accuracy in every round; main accuracy every few, and in the last."""
        predict = self.engine.predictor(self.theta.detach())
        metrics = self.evaluator.backdoor(predict)
        last = round == self.protocol.rounds - 1
        if last or (round + 1) % self.protocol.evaluate_every == 0:
            metrics |= self.evaluator.main(predict)
        return metrics
