"""A round's work, made before any training: it fixes data, order, batches and seeds."""

from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from benchmark.data.augmentation import Augmentation
from benchmark.engine.rules import LocalLoss, LocalRule, PixelNoise
from benchmark.utils.randomness import derive, generator


@dataclass(frozen=True)
class Examples:
    """Training inputs with the labels to train them on.

    Attributes:
        indices: ``(n,)`` int64 into the training split.
        labels: ``(n,)`` int64; the true ones, or the adversary's.
    """

    indices: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.indices)

    def __add__(self, other: "Examples") -> "Examples":
        return Examples(
            torch.cat([self.indices, other.indices]), torch.cat([self.labels, other.labels])
        )


@dataclass(frozen=True)
class Lane:
    """One local training run: S steps over batches of at most B examples.

    Attributes:
        indices: ``(S, B)`` int64 into the training split; beyond ``sizes`` the value is 0.
        labels: ``(S, B)`` int64.
        sizes: the number of examples in each step, S integers from 1 to B.
        epoch_ends: for each step, whether the rule's ``after_epoch`` follows it.
        dropout_seed: seed of this lane's dropout masks.
        rule: what happens beside the gradient steps.
        views: ``(S, B, 3)`` int8, how each example is shifted down, right and mirrored, see
            :meth:`Split.pixels`; None where images are seen as they are.
        rates: of each step, S learning rates; None takes the protocol's.
        loss: what is minimized, by autograd, which compiled and vectorized code cannot; None is
            the client's own cross-entropy.
        noise: what is added to pixels, which these cannot either.
    """

    indices: Tensor
    labels: Tensor
    sizes: tuple[int, ...]
    epoch_ends: tuple[bool, ...]
    dropout_seed: int = 0
    rule: LocalRule = field(default_factory=LocalRule)
    views: Tensor | None = None
    rates: tuple[float, ...] | None = None
    loss: LocalLoss | None = None
    noise: PixelNoise | None = None

    @property
    def by_autograd(self) -> bool:
        """Whether compiled and vectorized code cannot train it."""
        return self.loss is not None or self.noise is not None

    @property
    def num_steps(self) -> int:
        """S."""
        return len(self.sizes)

    def seen(self, images: Tensor, step: int) -> Tensor:
        """What is made of the images ``(b, C, H, W)`` of a step before the model sees them."""
        return images if self.noise is None else self.noise.added(images, step)

    def views_of(self, step: int) -> Tensor | None:
        """How the examples of a step are seen, ``(b, 3)``."""
        return None if self.views is None else self.views[step, : self.sizes[step]]

    def then(self, other: "Lane") -> "Lane":
        """This lane's steps followed by another's; seed, rule and loss are this lane's.

        Raises:
            ValueError: only one of them has learning rates of its own, or one has noise.
        """
        if self.noise is not None or other.noise is not None:
            raise ValueError("noise is added to a lane that is whole")
        if (self.rates is None) != (other.rates is None):
            raise ValueError("of two lanes in a row, both or none must have rates of their own")
        width = max(self.indices.shape[1], other.indices.shape[1])
        return replace(
            self,
            indices=torch.cat([_widen(self.indices, width), _widen(other.indices, width)]),
            labels=torch.cat([_widen(self.labels, width), _widen(other.labels, width)]),
            sizes=self.sizes + other.sizes,
            epoch_ends=self.epoch_ends + other.epoch_ends,
            views=self._views_with(other, width),
            rates=self.rates and self.rates + (other.rates or ()),
        )

    def _views_with(self, other: "Lane", width: int) -> Tensor | None:
        if self.views is None and other.views is None:
            return None
        parts = [torch.zeros(lane.num_steps, width, 3, dtype=torch.int8) for lane in (self, other)]
        for part, lane in zip(parts, (self, other), strict=True):
            if lane.views is not None:
                part[:, : lane.views.shape[1]] = lane.views
        return torch.cat(parts)

    def first(self, steps: int) -> "Lane":
        """Its first steps alone."""
        return self.between(0, steps)

    def between(self, start: int, end: int) -> "Lane":
        """Its steps from ``start`` to before ``end`` alone."""
        part = slice(start, end)
        return replace(
            self,
            indices=self.indices[part],
            labels=self.labels[part],
            sizes=self.sizes[part],
            epoch_ends=self.epoch_ends[part],
            views=None if self.views is None else self.views[part],
            rates=self.rates and self.rates[part],
            noise=self.noise and self.noise.between(start, end),
        )

    def ending_epoch(self) -> "Lane":
        """The same steps with ``after_epoch`` following the last one only."""
        return replace(self, epoch_ends=(False,) * (self.num_steps - 1) + (True,))


def _widen(matrix: Tensor, width: int) -> Tensor:
    return torch.nn.functional.pad(matrix, (0, width - matrix.shape[1]))


def batches(examples: Examples, epochs: int, batch_size: int, generator: torch.Generator) -> Lane:
    """Local data in batches that run across epoch borders: ``repeat(epochs)``, then ``batch(B)``.

    So only the last one can be short: S = ⌈n · epochs / batch_size⌉. The paper's code batches in
    this way too, but does not shuffle; here every epoch is shuffled anew.

    Args:
        examples: n examples, at least one.
        epochs: passes over them.
        batch_size: B; n or more gives full-batch steps when ``epochs`` is 1.
        generator: source of the shuffles.
    """
    n = len(examples)
    order = torch.cat([torch.randperm(n, generator=generator) for _ in range(epochs)])
    width = min(batch_size, len(order))
    steps = -(-len(order) // width)
    sizes = [width] * (steps - 1) + [len(order) - width * (steps - 1)]
    padding = steps * width - len(order)
    indices = torch.nn.functional.pad(examples.indices[order], (0, padding))
    labels = torch.nn.functional.pad(examples.labels[order], (0, padding))
    return Lane(
        indices=indices.view(steps, width),
        labels=labels.view(steps, width),
        sizes=tuple(sizes),
        epoch_ends=(False,) * steps,
    )


@dataclass(frozen=True)
class LocalClient:
    """A client in a round, with the protocol that it trains by.

    Attributes:
        local: its data, correctly labelled.
        epochs, batch_size: local training.
        seed, round, slot: what its randomness derives from; ``slot`` is its place in the cohort.
        augmentation: how training sees images, an attack's own among them.
        lr: learning rate of local training.
    """

    local: Examples
    epochs: int
    batch_size: int
    seed: int
    round: int
    slot: int
    augmentation: Augmentation = field(default_factory=Augmentation)
    lr: float = 0.1

    def batches(self, examples: Examples, epochs: int, batch_size: int, purpose: str) -> Lane:
        """A lane over shuffled batches; ``purpose`` keeps the draws of one client apart."""
        source = generator(self.seed, self.round, f"batches/{purpose}/{self.slot}")
        lane = batches(examples, epochs, batch_size, source)
        seed = derive(self.seed, self.round, f"dropout/{purpose}/{self.slot}")
        source = generator(self.seed, self.round, f"augmentation/{purpose}/{self.slot}")
        views = self.augmentation.draw(lane.num_steps, lane.indices.shape[1], source)
        return replace(lane, dropout_seed=seed, views=views)

    def honest_lane(self) -> Lane:
        """Local training as the protocol wants it."""
        return self.batches(self.local, self.epochs, self.batch_size, "local")


@dataclass(frozen=True)
class Plan:
    """All lanes of a round. The first K belong to the cohort's clients, in their order.

    Args:
        round: its number.
        clients: lanes of the cohort, and what attacks train besides.
        server: the server's own lane, trained as the last one.
    """

    round: int
    clients: list[Lane]
    server: Lane | None = None

    @cached_property
    def lanes(self) -> list[Lane]:
        """All of them."""
        return self.clients if self.server is None else [*self.clients, self.server]

    def parted(self, updates: Tensor) -> tuple[Tensor, Tensor | None]:
        """Updates of all lanes ``(L, P)`` as those of the clients' and the server's ``(P,)``."""
        return (updates, None) if self.server is None else (updates[:-1], updates[-1])
