"""Somebody's Flower strategy as a defense."""

import json
import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import Strategy
from flwr.supercore.task_identity import TaskIdentity
from torch import Tensor

from benchmark.defenses.base import Aggregation, Defense, DefenseContext
from benchmark.flower.arrays import arrays_of, flat, record_of
from benchmark.utils.randomness import derive

_PATIENCE = 3
"""How often a strategy may look who is there; each look after the second takes it a second."""


class FlowerStrategy(Defense):
    """What a strategy makes of local models θ + Δ_k, less θ.

    The strategy is asked as Flower asks it: ``configure_train`` with the global model, then
    ``aggregate_train`` with the replies, of which each has ``num-examples`` w_k · K. Its arrays
    are float32, so the update is right to the rounding of θ. Numbers and arrays that it keeps are
    saved and resumed. It sees nothing of what other strategies' clients may reply, and judges no
    client by name: trust is unknown.

    Args:
        strategy: ``module:Class``, a ``flwr.serverapp.strategy.Strategy``.
        arguments: of its constructor, each ``name=value``, the value in JSON or a text.

    Raises:
        ValueError: there is no such strategy, or it does not take these arguments.
    """

    paper = "Beutel et al. 2020, arXiv 2007.14390"
    exempt = MappingProxyType(
        {
            "poison_that_is_not_finite_is_left_out_or_shows": "a strategy does as it does",
            "a_huge_update_does_not_overflow": "a strategy does as it does",
            "its_aggregation_is_well_formed_in_either_precision": "arrays are float32",
            "the_order_of_the_clients_is_irrelevant_where_it_says_so": "float32 sums in order",
            "a_cohort_that_agrees_gets_its_update": "right to the rounding of the model alone",
        }
    )
    permutation_invariant = False

    def __init__(
        self,
        strategy: str = "flwr.serverapp.strategy:FedAvg",
        arguments: Sequence[str] | None = None,
    ):
        super().__init__()
        # It tells of every round, on the terminal where ours are shown.
        logging.getLogger("flwr").setLevel(logging.WARNING)
        self.strategy = _construct(strategy, arguments or ())

    @classmethod
    def min_clients(cls, assumed_compromised: int) -> int:
        """2, as Flower's own strategies want by default."""
        return 2

    def get_extra_state(self) -> dict[str, Any]:
        """Numbers and arrays that the strategy keeps, for checkpoints."""
        told = {name: _saved(value) for name, value in vars(self.strategy).items()}
        return {name: value for name, value in told.items() if value is not None}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """As they were."""
        for name, value in state.items():
            setattr(self.strategy, name, _restored(value))

    def aggregate(self, updates: Tensor, weights: Tensor, context: DefenseContext) -> Aggregation:
        """See :class:`Defense`.

        Raises:
            ValueError: the strategy gives no model.
        """
        theta = context.theta.cpu().float()
        like = {layer.name: layer.of(theta).numpy() for layer in context.layers}
        start, grid = record_of(theta, like), _Cohort(len(updates))
        # Messages name a run and a node, which there are in Flower's own processes only.
        TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1
        # What Flower draws, it draws from Python's own generator.
        before = random.getstate()
        random.seed(derive(context.seed, context.round, "flower"))
        try:
            asked = self.strategy.configure_train(context.round + 1, start, ConfigRecord(), grid)
            replies = []
            for message in sorted(asked, key=lambda message: message.metadata.dst_node_id):
                k = message.metadata.dst_node_id - 1
                local = record_of(theta + updates[k].cpu().float(), like)
                examples = MetricRecord({"num-examples": float(weights[k]) * len(updates)})
                content = RecordDict({"arrays": local, "metrics": examples})
                replies.append(Message(content, reply_to=message))
            arrays, _ = self.strategy.aggregate_train(context.round + 1, replies)
        finally:
            random.setstate(before)
        if arrays is None:
            raise ValueError(f"{type(self.strategy).__name__} gives no model in this round")
        return Aggregation((flat(arrays_of(arrays)) - theta).to(updates))


@dataclass
class _Cohort:
    """What a strategy samples from: nodes 1 to K."""

    num_clients: int
    asked: int = 0

    def get_node_ids(self) -> range:
        # Flower waits for nodes that are missing, and here nobody ever joins.
        self.asked += 1
        if self.asked > _PATIENCE:
            raise ValueError(f"the strategy waits for more clients than the {self.num_clients}")
        return range(1, self.num_clients + 1)


def _construct(named: str, arguments: Sequence[str]) -> Strategy:
    module, _, name = named.partition(":")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"strategy must be module:Class, got {named!r}: {error}") from None
    if not (isinstance(found, type) and issubclass(found, Strategy)):
        raise ValueError(f"strategy {named!r} is no flwr.serverapp.strategy.Strategy")
    given = {}
    for argument in arguments:
        key, sign, value = argument.partition("=")
        if not sign:
            raise ValueError(f"arguments are name=value, got {argument!r}")
        given[key] = _value(value)
    try:
        return found(**given)
    except TypeError as error:
        raise ValueError(f"strategy {named!r}: {error}") from None


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _saved(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy())
    if isinstance(value, dict):
        kept = {key: _saved(item) for key, item in value.items()}
        return kept if all(item is not None for item in kept.values()) else None
    return value if isinstance(value, bool | int | float) else None


def _restored(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.numpy()
    return {k: _restored(v) for k, v in value.items()} if isinstance(value, dict) else value
