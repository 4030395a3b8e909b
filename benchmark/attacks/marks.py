"""Where 3DFed marks updates: coordinates that hardly matter."""

from collections.abc import Sequence

from torch import Tensor

from benchmark.attacks.base import AttackContext, workbench_of
from benchmark.attacks.poisoning import Poisoning
from benchmark.engine.client import Layer

_CANDIDATES = 10


def marked_layer(layers: Sequence[Layer]) -> Layer:
    """The last kernel, else the last matrix, before the output; the first layer where none is."""
    hidden = [layer for layer in layers if len(layer.shape) > 1 and not layer.is_output]
    kernels = [layer for layer in hidden if layer.is_convolution]
    return (kernels or hidden or list(layers))[-1]


def least_curved(activity: Tensor, curvature: Tensor, count: int) -> Tensor:
    """Of the 10 · ``count`` least active of n those of least |curvature|; equals by activity.

    >>> import torch
    >>> activity = torch.arange(30.0)
    >>> least_curved(activity, 20 - activity, 2).tolist()
    [19, 18]
    """
    candidates = activity.argsort(stable=True)[: _CANDIDATES * count]
    return candidates[curvature[candidates].abs().argsort(stable=True)[:count]]


def curvature(layer: Layer, attack: Poisoning, context: AttackContext) -> Tensor:
    """Σ over batches of ∂/∂w Σ_j ∂CE/∂w_j at w_t for a layer's weights ``(n,)``.

    Over the first attacker's data, once as they are and once as it poisons them.
    """
    bench, backdoor = workbench_of(context, attack)
    client, found = context.members[0], context.start.new_zeros(layer.of(context.start).numel())
    for examples in (client.local, client.poison(backdoor)):
        batches = zip(
            examples.indices.split(client.batch_size),
            examples.labels.split(client.batch_size),
            strict=True,
        )
        for indices, labels in batches:
            images = bench.pixels(indices, context.start.dtype)
            found += bench.curvature(context.start, images, labels.to(images.device), layer)
    return found
