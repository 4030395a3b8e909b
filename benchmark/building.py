"""From a resolved configuration to the objects that it names."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import torch

from benchmark.client import ClientModule
from benchmark.data.dataset import FederatedDataset
from benchmark.engine.base import Engine
from benchmark.errors import UserError
from benchmark.federation import Federation
from benchmark.randomness import derive


def make(group: str, section: Mapping[str, Any], **further: Any) -> Any:
    """Construct what a group's section names.

    Raises:
        UserError: the constructor refuses a value.
    """
    parameters = {k: v for k, v in section.items() if k not in ("name", "_target_")}
    with refusals(group):
        module, _, name = section["_target_"].rpartition(".")
        return getattr(import_module(module), name)(**parameters, **further)


class refusals:  # noqa: N801
    """Turns the ValueError of a constructor into a UserError that says where it comes from."""

    def __init__(self, where: str):
        self.where = where

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, ValueError):
            raise UserError(f"{self.where}: {str(error).strip().splitlines()[0]}") from error


def build(resolved: dict[str, Any], dataset: FederatedDataset) -> Federation:
    """The federation that a resolved configuration describes.

    Raises:
        UserError: parts that do not fit each other or the data.
    """
    seed = resolved["seed"]
    protocol = make("federation", resolved["federation"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, 0, "model"))
        model = make("model", resolved["model"], num_classes=dataset.num_classes)
    with refusals("model"):
        client = ClientModule(model, protocol.client_lr)
        _check_shapes(client, dataset)
    parts = {
        name: make(name, resolved[name])
        for name in ("task", "attack", "participation", "defense", "engine")
    }
    with refusals(f"engine {resolved['engine']['name']}"):
        parts["engine"].check(client)
    with refusals("configuration"):
        return Federation(client=client, dataset=dataset, protocol=protocol, seed=seed, **parts)


def _check_shapes(client: ClientModule, dataset: FederatedDataset) -> None:
    try:
        with torch.no_grad():
            shape = tuple(client.model(dataset.test.pixels(torch.arange(1))).shape)
    except RuntimeError as error:
        raise ValueError(f"does not take these images: {error}") from error
    if shape != (1, dataset.num_classes):
        raise ValueError(
            f"gives logits of shape {shape} for one image, not (1, {dataset.num_classes}): "
            "the data have so many classes"
        )


def choose_device(asked: str, engine: Engine) -> str:
    """``cpu`` or ``cuda``.

    Raises:
        UserError: CUDA is asked for and not there, or needed for the precision, or the engine
            does not run on it.
    """
    if asked == "auto":
        asked = "cuda" if "cuda" in engine.device_types and torch.cuda.is_available() else "cpu"
    if asked not in engine.device_types:
        raise UserError(
            f"device={asked}: this engine runs on {', '.join(engine.device_types)}; "
            "engine=cuda and engine=reference run on both"
        )
    if asked == "cuda" and not torch.cuda.is_available():
        raise UserError("device=cuda: no CUDA device is visible; valid: auto, cpu")
    if asked == "cpu" and engine.precision == "tf32":
        raise UserError("engine.precision=tf32 is for CUDA devices; valid on a CPU: strict, bf16")
    return asked
