"""Whether a model can be trained many lanes at a time, found out by trying."""

import copy
from collections.abc import Sequence

import torch
from torch.func import functional_call

from benchmark.data.dataset import Split
from benchmark.engine.client import ClientModule
from benchmark.engine.vectorized import VectorizedStep
from benchmark.models.dropout import set_keys

_SIZES = (3, 2)
_TOLERANCE = 1e-8
_INSTEAD = "engine=cpu and engine=reference train it"


def probe(client: ClientModule, image: Sequence[int]) -> None:
    """Train two lanes side by side, one with a padded batch, and compare with autograd.

    Args:
        client: the model and how a client trains it.
        image: ``(C, H, W)``.

    Raises:
        ValueError: the model does what ``torch.func.vmap`` cannot map, or an example's result
            depends on the others in its batch; says what.
    """
    if type(client).loss is not ClientModule.loss:
        raise ValueError(f"it pads batches, and so knows plain cross-entropy only; {_INSTEAD}")
    client = copy.deepcopy(client).cpu().double()
    source = torch.Generator().manual_seed(0)
    images = torch.randint(256, (6, *image), generator=source).to(torch.uint8)
    try:
        classes = client.model(images[:2].double() / 255).shape[1]
        data = Split(images, torch.randint(classes, (6,), generator=source), torch.tensor([0, 6]))
        start = client.flat()
        step = VectorizedStep(client, data, "grouped", "strict", len(_SIZES), max(_SIZES))
        step.theta.copy_(start)
        step.active.fill_(True)
        for lane, size in enumerate(_SIZES):
            step.indices[lane] = torch.arange(3) + 3 * lane
            step.shares[lane, :size] = 1 / size
        step.labels.copy_(data.labels[step.indices])
        step.run(len(_SIZES), max(_SIZES))
    except (RuntimeError, TypeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"it cannot train this model lanes at a time ({reason}); {_INSTEAD}"
        ) from error
    client.model.train()
    set_keys(client.dropouts, 0, 0)
    for dropout in client.dropouts:
        dropout.key.zero_()
    for lane, size in enumerate(_SIZES):
        theta = start.clone().requires_grad_()
        own = step.indices[lane, :size]
        logits = functional_call(
            client.model, client.split(theta), (data.pixels(own, theta.dtype),)
        )
        (gradient,) = torch.autograd.grad(client.loss(logits, data.labels[own]), theta)
        expected = start - client.lr * gradient
        if not torch.allclose(step.theta[lane], expected, rtol=_TOLERANCE, atol=_TOLERANCE):
            raise ValueError(
                "an example's result depends on the others in its batch (BatchNorm in training "
                f"mode?), which padding would change; {_INSTEAD}"
            )
