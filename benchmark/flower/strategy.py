"""Any defense as a strategy of Flower."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg, Result
from torch import Tensor

from benchmark.config.compose import named
from benchmark.defenses.base import Defense, DefenseContext, DefenseSetting
from benchmark.engine.client import layers_of
from benchmark.federation.contract import check_fit
from benchmark.flower.arrays import arrays_of, flat, floating, record_of
from benchmark.utils.checks import one_of, positive

Weighting = Literal["uniform", "examples"]
Train = Callable[[ArrayRecord], ArrayRecord]


def strategy(
    defense: str | Defense,
    *,
    parameters: Mapping[str, Any] | None = None,
    root: Train | None = None,
    server_lr: float = 1.0,
    weighting: Weighting = "uniform",
    seed: int = 0,
    **sampling: Any,
) -> "DefenseStrategy":
    """A strategy that aggregates as a defense does::

        from benchmark.flower import strategy

        app = ServerApp()

        @app.main()
        def main(grid, context):
            defended = strategy("multi_krum", parameters={"assumed_compromised": 2})
            result = defended.start(grid, initial_arrays, num_rounds=100)

    Clients reply as to ``FedAvg``: their local model, and ``num-examples``. Floating arrays are
    flat vectors in the order of the initial arrays; whole numbers stay as they were.

    Args:
        defense: the name of a yaml in ``conf/defense``, or one that was built.
        parameters: of a defense that is named, over those of its yaml.
        root: what the server trains on data of its own, from the global arrays to its local ones,
            for a defense that needs it, such as FLTrust.
        server_lr: η.
        weighting: ``uniform``, or ``examples``: by what clients say that they have.
        seed: of what the defense draws.
        sampling: of ``flwr.serverapp.strategy.FedAvg``: ``fraction_train``, ``min_train_nodes``...

    Raises:
        UserError: there is no such defense or parameter.
        ValueError: a value out of its range, or a defense that evaluates models.
    """
    built = named("defense", defense, **(parameters or {})) if isinstance(defense, str) else defense
    return DefenseStrategy(built, root, server_lr, weighting, seed, **sampling)


class DefenseStrategy(FedAvg):  # type: ignore[misc, unused-ignore]
    """What :func:`strategy` makes."""

    def __init__(
        self,
        defense: Defense,
        root: Train | None,
        server_lr: float,
        weighting: Weighting,
        seed: int,
        **sampling: Any,
    ):
        super().__init__(**sampling)
        if defense.needs_root_data and root is None:
            raise ValueError(f"{type(defense).__name__} needs root data: give root=, which trains")
        self.defense, self.root, self.seed = defense, root, seed
        self.server_lr = positive("server_lr", server_lr)
        self.weighting = one_of("weighting", Weighting, weighting)
        self.identities: dict[int, int] = {}
        self.rounds = 1

    def start(self, grid: Grid, initial_arrays: ArrayRecord, *rest: Any, **named: Any) -> Result:
        """As every strategy's; the defense is told how many rounds there are."""
        self.rounds = rest[0] if rest else named.get("num_rounds", 3)
        return super().start(grid, initial_arrays, *rest, **named)

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Sample as ``FedAvg`` does, and send what the defense broadcasts."""
        messages = list(super().configure_train(server_round, arrays, config, grid))
        self.like = arrays_of(arrays)
        theta, nodes = flat(floating(self.like)), sorted(grid.get_node_ids())
        for node in nodes:
            self.identities.setdefault(node, len(self.identities))
        sampled = sorted(message.metadata.dst_node_id for message in messages)
        self.context = self._context(server_round, theta, sampled)
        if self.defense.setting is None:
            self._set_up(len(nodes), len(messages))
        elif len(self.identities) > self.defense.setting.num_users:
            raise ValueError(
                f"{len(self.identities)} nodes have been seen, more than when the defense was set "
                f"up; let all connect first: min_available_nodes={len(self.identities)}"
            )
        sent = self.defense.before_round(theta, self.context)
        if sent is not theta:
            arrays = record_of(sent, self.like)
            for message in messages:
                message.content[self.arrayrecord_key] = arrays
        update = None
        if self.root is not None:
            update = flat(floating(arrays_of(self.root(record_of(sent, self.like))))) - sent
        self.context = replace(self.context, theta=sent, root_update=update)
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """The defense's update, added to the global model; what it saw is among the metrics.

        Raises:
            ValueError: too few clients replied for the defense.
        """
        valid, _ = self._check_and_log_replies(replies, is_train=True)
        if not valid:
            return None, None
        valid.sort(key=lambda message: message.metadata.src_node_id)
        contents = [message.content for message in valid]
        theta = self.context.theta
        rows = torch.stack([self._local(content) - theta for content in contents])
        nodes = [message.metadata.src_node_id for message in valid]
        context = replace(self.context, clients=self._clients(nodes))
        found = self.defense.aggregate(rows, self._weights(contents), context)
        stepped = theta + self.server_lr * found.update
        arrays = record_of(self.defense.after_round(stepped, context), self.like)
        metrics = dict(self.train_metrics_aggr_fn(contents, self.weighted_by_key))
        metrics |= {name: float(value) for name, value in found.info.items()}
        if found.trust is not None:
            metrics["rejected"] = int((found.trust == 0).sum())
        return arrays, MetricRecord(metrics)

    def deployed(self, arrays: ArrayRecord) -> ArrayRecord:
        """What the defense would put to use of a final model."""
        theta = flat(floating(arrays_of(arrays)))
        return record_of(self.defense.deployed(theta, self.context), self.like)

    def _local(self, content: Any) -> Tensor:
        (record,) = content.array_records.values()
        arrays = arrays_of(record)
        return flat(floating({name: arrays[name] for name in self.like}))

    def _weights(self, contents: list[Any]) -> Tensor:
        counts = torch.ones(len(contents), dtype=torch.float64)
        if self.weighting == "examples":
            told = [next(iter(content.metric_records.values())) for content in contents]
            counts = torch.tensor([float(t[self.weighted_by_key]) for t in told]).double()
        return counts / counts.sum()

    def _clients(self, nodes: list[int]) -> Tensor:
        return torch.tensor([self.identities[node] for node in nodes])

    def _context(self, server_round: int, theta: Tensor, nodes: list[int]) -> DefenseContext:
        layers = layers_of({name: x.shape for name, x in floating(self.like).items()})
        return DefenseContext(server_round - 1, self.seed, theta, self._clients(nodes), layers)

    def _set_up(self, num_users: int, clients_per_round: int) -> None:
        setting = DefenseSetting(
            num_users=num_users,
            clients_per_round=clients_per_round,
            num_parameters=len(self.context.theta),
            rounds=self.rounds,
            layers=self.context.layers,
            weighting=self.weighting,
            server_lr=self.server_lr,
            has_root_data=self.root is not None,
        )
        check_fit(self.defense, setting)
        self.defense.setup(setting)
