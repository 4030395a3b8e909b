"""Noise that a small network makes of each input, and that an attack may learn."""

import math
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import conv2d, instance_norm, interpolate

from benchmark.data.dataset import FederatedDataset
from benchmark.tasks.pooled import PooledTask
from benchmark.utils.checks import at_least, positive
from benchmark.utils.randomness import generator

_STAMPED = 100  # images at a time
_SMALLEST = 5  # pixels: halved twice there are four to be normalized


class LearnedNoise(PooledTask):
    """x' = clip(x + ε g(x)), |g| ≤ 1, as IBA does; an attack may have ε fall.

    g is a convolutional autoencoder: 3 × 3 convolutions of C → w → 2w channels with stride 2, then
    2w → w → C, each behind a magnification to the size before (nearest). Behind each, every channel
    of an image is normalized, then scaled and shifted by learned numbers; then ReLU, at the end
    tanh. The paper's has BatchNorm, with which an image's noise would depend on the others of its
    batch. Without either tanh saturates within 20 steps, and nothing is learned any more. Kernels
    begin at U(±1/√fan-in), as torch's do, until an attack sets them.

    Args:
        num_tasks: users whose images the adversary has.
        target_class: t; None wants y + 1 of class y.
        source_class: the only class that is stamped; None for every class but t.
        epsilon: ε at first; the paper's code has 0.3 for digits, which falls to 0.05.
        width: w, channels.
        most_tested: of the held-out images.

    Attributes:
        weights: of g, flat.
        strength: ε as it is now, a scalar.

    Raises:
        ValueError: as :class:`PooledTask`; ε is not positive, w below 1, or images
            of less than 5 pixels a side.
    """

    paper = "Nguyen et al. 2023, IBA, NeurIPS"
    precision = torch.float32  # twenty times as fast
    weights: Tensor
    strength: Tensor

    def __init__(
        self,
        num_tasks: int = 5,
        target_class: int | None = 1,
        source_class: int | None = None,
        epsilon: float = 0.3,
        width: int = 8,
        most_tested: int = 1000,
    ):
        super().__init__(num_tasks, target_class, source_class, most_tested)
        self.epsilon, self.width = positive("epsilon", epsilon), at_least("width", 1, width)

    def setup(self, dataset: FederatedDataset, seed: int) -> None:
        """Choose the users and the held-out images, and draw g's first weights."""
        super().setup(dataset, seed)
        C, H, W = dataset.train.input_shape
        if min(H, W) < _SMALLEST:
            raise ValueError(f"images of {H} x {W} are too small for noise: {_SMALLEST} or more")
        w = self.width
        channels = [C, w, 2 * w, w, C]
        self.kernels = [(out, held, 3, 3) for held, out in pairwise(channels)]
        source = generator(seed, 0, "weights of the trigger")
        drawn = []
        for shape in self.kernels:
            kernel = 2 * torch.rand(math.prod(shape), generator=source) - 1
            drawn += [kernel / math.sqrt(math.prod(shape[1:]))]
            drawn += [torch.ones(shape[0]), torch.zeros(shape[0])]
        self.register_buffer("weights", torch.cat(drawn))
        self.register_buffer("strength", torch.tensor(self.epsilon, dtype=torch.float64))

    @torch.no_grad()
    def learn(self, weights: Tensor) -> None:
        """Set the weights of g."""
        self.weights.copy_(weights)

    def weaken(self, epsilon: float) -> None:
        """Set ε."""
        self.strength.fill_(epsilon)

    def stamp(self, images: Tensor, part: int | None = None) -> Tensor:
        """As any task, in batches of one size: convolutions of others may round differently."""
        if not len(images):
            return images.clone()
        padding = images.new_zeros(-len(images) % _STAMPED, *images.shape[1:])
        batches = torch.cat([images, padding]).split(_STAMPED)
        return torch.cat([super(LearnedNoise, self).stamp(some) for some in batches])[: len(images)]

    def trigger(self, images: Tensor, part: int | None = None) -> Tensor:
        """The noise on ``(b, C, H, W)``, to be differentiated by images and ``weights``."""
        sizes, seen, place = [], images, 0
        weights = self.weights.to(images)
        for layer, shape in enumerate(self.kernels):
            parts = [math.prod(shape), shape[0], shape[0]]
            flat, gain, shift = weights[place:][: sum(parts)].split(parts)
            place, kernel = place + sum(parts), flat.view(shape)
            if layer < 2:
                sizes.append(seen.shape[2:])
                seen = conv2d(seen, kernel, stride=2, padding=1)
            else:
                seen = conv2d(interpolate(seen, sizes.pop()), kernel, padding=1)
            seen = instance_norm(seen, weight=gain, bias=shift)
            seen = seen.relu() if layer < 3 else seen.tanh()
        return images + self.strength.to(images) * seen
