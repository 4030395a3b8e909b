"""From a resolved configuration to the objects that it names."""

import copy
from typing import Any

import torch
from torch import nn

from benchmark.config.instantiate import make, refusals
from benchmark.config.types import parameters, target_class
from benchmark.data.dataset import FederatedDataset
from benchmark.engine.base import Engine
from benchmark.engine.client import ClientModule
from benchmark.federation.protocol import Protocol
from benchmark.federation.rounds import Federation
from benchmark.models.normalize import Normalize
from benchmark.utils.errors import UserError
from benchmark.utils.randomness import derive


def build(resolved: dict[str, Any], dataset: FederatedDataset) -> Federation:
    """The federation that a resolved configuration describes.

    Raises:
        UserError: parts that do not fit each other or the data.
    """
    seed = resolved["seed"]
    protocol = make("federation", resolved["federation"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, 0, "model"))
        model = make("model", resolved["model"], **_needs(resolved["model"], dataset))
    with refusals("model"):
        client = ClientModule(_normalized(model, protocol, dataset), protocol.client_lr)
        _check_model(client, dataset)
    parts = {
        name: make(name, resolved[name])
        for name in ("task", "attack", "participation", "defense", "engine")
    }
    with refusals(f"engine {resolved['engine']['name']}"):
        parts["engine"].check(client, dataset.train.input_shape)
    with refusals("configuration"):
        return Federation(client=client, dataset=dataset, protocol=protocol, seed=seed, **parts)


def _needs(section: dict[str, Any], dataset: FederatedDataset) -> dict[str, Any]:
    """What the data say about a model, as far as its constructor asks for it."""
    known = {"num_classes": dataset.num_classes, "image": dataset.train.input_shape}
    asked = parameters(target_class("model", section))
    return {name: value for name, value in known.items() if name in asked}


def _normalized(model: nn.Module, protocol: Protocol, dataset: FederatedDataset) -> nn.Module:
    if protocol.pixel_mean is None or protocol.pixel_std is None:
        return model
    channels, given = dataset.train.input_shape[0], len(protocol.pixel_mean)
    if given != channels:
        raise ValueError(f"pixel_mean is of {given} channels, the images have {channels}")
    return nn.Sequential(Normalize(protocol.pixel_mean, protocol.pixel_std), model)


def _check_model(client: ClientModule, dataset: FederatedDataset) -> None:
    inputs = dataset.test.pixels(torch.arange(1))
    model = copy.deepcopy(client.model)  # one with running statistics is moved by what it is shown
    try:
        with torch.no_grad():
            logits, again = model(inputs), model(inputs)
    except RuntimeError as error:
        image = " x ".join(map(str, dataset.test.input_shape))
        raise ValueError(f"does not take these images of {image}: {error}") from error
    shape = tuple(logits.shape)
    if shape != (1, dataset.num_classes):
        raise ValueError(
            f"gives logits of shape {shape} for one image, not (1, {dataset.num_classes}): "
            "the data have so many classes"
        )
    if not torch.equal(logits, again):
        raise ValueError(
            "gives other logits for the same image and weights: it draws from torch's global "
            "generator, which no run could repeat; of random layers, nn.Dropout is made repeatable"
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
