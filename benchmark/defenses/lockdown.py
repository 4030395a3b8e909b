"""Lockdown: every client trains inside a mask of its own, and what few hold is not deployed."""

import math
from collections.abc import Sequence
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor

from benchmark.defenses.adaptive_clip import share
from benchmark.defenses.base import Aggregation, DefenseContext, DefenseSetting
from benchmark.defenses.blocks import over_columns
from benchmark.defenses.masks import Masked
from benchmark.defenses.rule import Rule
from benchmark.defenses.submissions import Submissions, seen
from benchmark.engine.client import Layer
from benchmark.engine.plan import Lane, LocalClient
from benchmark.utils.checks import one_of
from benchmark.utils.randomness import generator

Regrow = Literal["gradient", "random"]
LIMIT = 2**31
"""Bytes of masks: 2 GiB."""


class Lockdown(Rule):
    """The weighted mean of m_k ⊙ Δ_k; deployed are weights that enough of all N clients hold.

    All begin with one random mask of ERK density. An honest client starts at m_k ⊙ θ and trains
    inside m_k; then, in each tensor, it drops a share α_t of its weights, the smallest, and picks
    as many others, those of the largest gradient on its own images. α_t falls as a cosine and is 0
    from the middle of the training on. θ keeps what no mask holds; what is deployed is 0 there.

    Not as in its code: no L1 penalty in the local loss, which a rule cannot add; a mask binds
    whoever has it, as the server multiplies by it; compromised clients drop and pick by what they
    submitted and by their place's own images. What clients would do to their masks the simulation
    does for them; on arrays, where there are no clients' images, masks stay. An honest update has
    −θ outside of its mask, which the norms that are recorded count.
    State: N P bytes, at most 2 GiB. Cost: KP, a second (K, P); a gradient for each client.

    >>> from benchmark.testing import aggregate
    >>> aggregate("lockdown", [[1.0] * 8] * 2, density=0.5, seed=3).update.sum()
    tensor(4.)

    Args:
        density: share of the parameters that a mask holds; 0.05 to 0.9, 0.25 in the paper.
        churn: α_0; 1e-4 in its code, which moves one weight of most tensors a round; to 0.5.
        consensus: share of all clients that must hold a weight; 0.5 in its code.
        regrow: by ``gradient`` (the paper), or ``random``, an option of its code.

    Raises:
        ValueError: a number out of its range, or too many users times parameters.
    """

    paper = "Huang et al. 2023, NeurIPS"
    is_weighted = True
    exempt = MappingProxyType(
        {"a_cohort_that_agrees_gets_its_update": "an update counts inside of a mask alone"}
    )
    masks: Tensor
    drawn: Tensor

    def __init__(
        self,
        density: float = 0.25,
        churn: float = 1e-4,
        consensus: float = 0.5,
        regrow: Regrow = "gradient",
    ):
        super().__init__()
        self.density, self.consensus = share("density", density), share("consensus", consensus)
        if not 0 <= churn < 1:
            raise ValueError(f"churn must be at least 0 and below 1, got {churn}")
        self.churn = churn
        self.regrow = one_of("regrow", Regrow, regrow)
        self.submitted: dict[int, Tensor] = {}

    def setup(self, setting: DefenseSetting) -> None:
        """Room for the masks.

        Raises:
            ValueError: there are too many.
        """
        super().setup(setting)
        users, width = setting.num_users, setting.num_parameters
        if users * width > LIMIT:
            raise ValueError(
                f"Lockdown holds a mask for each user, at most {LIMIT} bytes in all; {users} users "
                f"of {width} parameters are too many"
            )
        self.register_buffer("masks", torch.zeros(users, width, dtype=torch.bool))
        self.register_buffer("drawn", torch.tensor(False))

    def before_round(self, theta: Tensor, context: DefenseContext) -> Tensor:
        """Tell the lanes, which were made ahead, who they are."""
        self._draw(context)
        self.cohort = context.clients.tolist()
        return theta

    def honest_lane(self, client: LocalClient) -> Lane:
        """Training inside of the mask; of the step put in front, only that it ends in it stays."""
        lane = client.honest_lane()
        rule = Masked(lambda: self.masks[self.cohort[client.slot]])
        one = (lane.indices[:1, :1], lane.labels[:1, :1])
        return Lane(*one, (1,), (True,), lane.dropout_seed, rule).then(lane)

    def combine(self, received: Submissions) -> Aggregation:
        """The weighted mean inside of the masks."""
        self._draw(received.context)
        masks = self.masks[received.clients]
        self.submitted = dict(zip(received.clients.tolist(), received.rows, strict=True))
        update, shares = torch.empty_like(received.rows[0]), received.weights.to(received.rows)

        def average(place: slice) -> None:
            update[place] = shares @ (received.rows[:, place] * masks[:, place])

        over_columns(received.rows, average, received.workers)
        return seen(update)

    def after_round(self, theta: Tensor, context: DefenseContext) -> Tensor:
        """Who holds what now; then clients that were there move their masks."""
        holders = self.masks.sum(dim=0, dtype=torch.int32)
        self.agreed = holders >= self.consensus * len(self.masks)
        for client, update in self.submitted.items():
            local = (context.theta + update) * self.masks[client]
            self.masks[client] = self._moved(self.masks[client], local, client, context)
        self.submitted = {}
        return theta

    def deployed(self, theta: Tensor, context: DefenseContext) -> Tensor:
        """Weights that enough clients held while they trained."""
        return theta * self.agreed

    def _draw(self, context: DefenseContext) -> None:
        if self.drawn:
            return
        source, mask = generator(context.seed, 0, "mask"), torch.zeros_like(self.masks[0])
        for layer, part in zip(context.layers, erk(context.layers, self.density), strict=True):
            size = layer.place.stop - layer.place.start
            chosen = torch.randperm(size, generator=source)[: int(part * size + 1e-9)]
            mask[layer.place][chosen] = True
        self.masks = mask.repeat(len(self.masks), 1)
        self.drawn = torch.ones_like(self.drawn)

    def _moved(self, mask: Tensor, local: Tensor, client: int, context: DefenseContext) -> Tensor:
        assert self.setting
        done = (context.round + 1) / (self.setting.rounds / 2)
        rate = self.churn / 2 * (1 + math.cos(math.pi * done)) if done < 1 else 0.0
        if rate == 0:
            return mask
        mask, counts = mask.clone(), []
        for layer in context.layers:
            own = mask[layer.place]
            counts.append(math.ceil(rate * int(own.sum())))
            sizes = torch.where(own, local[layer.place].abs(), torch.inf)
            own[sizes.topk(counts[-1], largest=False).indices] = False
        wanted = self._wanted(local * mask, client, context)
        for layer, count in zip(context.layers, counts, strict=True):
            own = mask[layer.place]
            own[torch.where(own, -1, wanted[layer.place]).topk(count).indices] = True
        return mask

    def _wanted(self, local: Tensor, client: int, context: DefenseContext) -> Tensor:
        """How much a client wants each weight ``(P,)``, at least 0."""
        if self.regrow == "random":
            source = generator(context.seed, context.round, f"regrowth/{client}")
            return torch.rand(len(local), generator=source).to(local)
        bench = context.workbench
        assert bench
        own = bench.data.user(client)
        labels = bench.data.labels[own]
        return bench.gradient(local, bench.pixels(own, local.dtype), labels)[1].abs()


def erk(layers: Sequence[Layer], density: float) -> list[float]:
    """Density of each tensor, in proportion to (Σ shape)/(Π shape), 1 where that is more.

    In all it is ``density``: Erdős-Rényi-Kernel, Evci et al. 2020, arXiv 1911.11134.

    >>> layers = [Layer("weight", slice(0, 32), (4, 8)), Layer("bias", slice(32, 40), (8,))]
    >>> erk(layers, 0.5)
    [0.375, 1.0]
    """
    sizes = [math.prod(layer.shape) for layer in layers]
    raw = [sum(layer.shape) / size for layer, size in zip(layers, sizes, strict=True)]
    dense: set[int] = set()
    while True:
        rest = [i for i in range(len(layers)) if i not in dense]
        room = density * sum(sizes) - sum(sizes[i] for i in dense)
        scale = max(room, 0) / sum(raw[i] * sizes[i] for i in rest) if rest else 0.0
        full = {i for i in rest if scale * raw[i] > 1 and raw[i] == max(raw[j] for j in rest)}
        if not full:
            return [1.0 if i in dense else scale * raw[i] for i in range(len(layers))]
        dense |= full
