"""Directed deviation: against the way that the model goes, as far as the rule lets it."""

from typing import Literal

import torch
from torch import Tensor

from benchmark.attacks.base import Attack, AttackContext, Knowledge
from benchmark.attacks.colluding import honest_rows, moments, total
from benchmark.attacks.krum_deviation import First, against_krum, against_krum_alone
from benchmark.utils.checks import one_of
from benchmark.utils.randomness import generator

Against = Literal["trim", "median", "krum"]
Known = Literal["full", "partial"]
Draw = Literal["deterministic", "code", "paper"]
Scaled = Literal["updates", "weights"]
Otherwise = Literal["last", "honest"]


class Fang(Attack):
    """Submits what turns the aggregate against s, the sign of the sum of all K trained updates.

    ``trim`` and ``median``, the same attack: in a coordinate with s > 0 x = min_k, with s < 0
    x = max_k, then x/b where s·x > 0 and x·b where s·x < 0; 0 where s is 0. b is 2
    (``deterministic``), 1 + U(0, 1) for each value (``code``), or the value is drawn between x and
    that of b = 2 (``paper``). ``partial`` knows the own updates: μ − c σ sign μ, c = 3.5, or
    3 + U(0, 1) (``paper``).

    ``krum``: all submit −λ s, λ halved from λ₀ until Krum, which the attack runs itself, picks one
    of theirs, or λ ≤ 10⁻⁵. λ₀ = √(S/((K − 2M − 1) P)) + max_k ‖x_k‖/√P (``derived``), S the least
    sum of K − M − 2 squared distances among the honest; or with S of distances over
    (K − 2M − 1) √P (``code``). ``partial``: from λ = 1, with the own updates and 1, 2, … M − 1
    copies beside them, down to 2·10⁻⁵; one alone submits what it trained.

    >>> from benchmark.testing import craft
    >>> rows = [[1.0, -2.0, 3.0], [2.0, -1.0, -1.0], [3.0, -3.0, 1.0]]
    >>> craft("fang", rows[:1], honest=rows[1:])
    tensor([[ 0.5000, -0.5000, -2.0000]])

    Args:
        rule: that it is against: ``trim``, ``median`` or ``krum``.
        known: ``full``, all updates, or ``partial``, those that the compromised trained.
        draw: ``deterministic``, ``code`` or ``paper``; for ``trim`` and ``median``.
        scaled: whether b scales ``updates`` (code) or model ``weights`` (text).
        first: λ₀ of full knowledge: ``derived`` for squared distances, or as in ``code``.
        otherwise: what is submitted where Krum picks none: the ``last`` λ, or ``honest`` updates.

    Raises:
        ValueError: an unknown choice.
    """

    paper = "Fang et al. 2020, USENIX Security, arXiv 1911.11815, and its group's code (FLDetector)"
    knowledge = Knowledge.UPDATES
    goal = "untargeted"

    def __init__(
        self,
        rule: Against = "trim",
        known: Known = "full",
        draw: Draw = "deterministic",
        scaled: Scaled = "updates",
        first: First = "derived",
        otherwise: Otherwise = "last",
    ):
        super().__init__()
        self.rule = one_of("rule", Against, rule)
        self.known = one_of("known", Known, known)
        self.draw = one_of("draw", Draw, draw)
        self.scaled = one_of("scaled", Scaled, scaled)
        self.first = one_of("first", First, first)
        self.otherwise = one_of("otherwise", Otherwise, otherwise)

    def craft(self, updates: Tensor, context: AttackContext) -> Tensor:
        """Against the rule."""
        own = updates[:, 0]
        if self.rule == "krum":
            return self._krum(own, context)
        found = self._full(own, context) if self.known == "full" else self._partial(own, context)
        return found.to(own).expand_as(own).contiguous()

    def _full(self, own: Tensor, context: AttackContext) -> Tensor:
        others = honest_rows(self, own, context)
        sign = (total(own) + total(others)).sign()
        least = torch.minimum(own.amin(dim=0), others.amin(dim=0)).double()
        most = torch.maximum(own.amax(dim=0), others.amax(dim=0)).double()
        base = context.start.double() if self.scaled == "weights" else torch.zeros_like(least)
        edge = base + least.where(sign > 0, most)
        drawn = 2.0 if self.draw != "code" else 1 + self._uniform(own, context)
        beyond = (edge / drawn).where(sign * edge > 0, edge * drawn)
        if self.draw == "paper":
            beyond = edge + self._uniform(own, context) * (beyond - edge)
        return torch.where(sign == 0, 0.0, beyond - base)

    def _partial(self, own: Tensor, context: AttackContext) -> Tensor:
        center, spread = moments(own)
        factor = 3 + self._uniform(own, context) if self.draw == "paper" else 3.5
        return center - factor * spread * center.sign()

    def _krum(self, own: Tensor, context: AttackContext) -> Tensor:
        if self.known == "partial":
            if len(own) == 1:
                return own.clone()
            found, is_picked = against_krum_alone(own)
        else:
            rows = honest_rows(self, own, context)
            found, is_picked = against_krum(rows, own, self.first)
        if not is_picked and self.otherwise == "honest":
            return own.clone()
        return found.to(own).repeat(len(own), 1)

    def _uniform(self, own: Tensor, context: AttackContext) -> Tensor:
        source = generator(context.seed, context.round, "fang")
        return torch.rand(own.shape, generator=source).to(own.device).double()
