"""Dropout whose mask is a pure function of a key: the same on every engine and device."""

import torch
from torch import Tensor, nn

_MASK = 0xFFFFFFFF


def mix(value: int) -> int:
    """A bijection on 32 bits that scatters neighboring integers ("lowbias32", C. Wellons)."""
    value &= _MASK
    value ^= value >> 16
    value = value * 0x7FEB352D & _MASK
    value ^= value >> 15
    value = value * 0x846CA68B & _MASK
    return value ^ value >> 16


def _mixed(values: Tensor) -> Tensor:
    """:func:`mix` of int64 values, element by element."""
    values = values & _MASK
    values = (values ^ (values >> 16)) * 0x7FEB352D & _MASK
    values = (values ^ (values >> 15)) * 0x846CA68B & _MASK
    return values ^ (values >> 16)


def random_bits(key: Tensor, count: int) -> Tensor:
    """``count`` uniform 24-bit integers (int64) from a scalar int64 ``key``.

    The hash of :func:`mix` over ``index ^ key``: counter-based, so no state, no order, and the
    same integers on any device.
    """
    return _mixed(torch.arange(count, device=key.device, dtype=torch.int64) ^ key) >> 8


class KeyedDropout(nn.Module):
    """Inverted dropout, mask drawn from the buffer ``key``: y = x · [u ≥ p] / (1 − p).

    Srivastava et al. 2014. u is uniform on multiples of 2⁻²⁴ in [0, 1). Evaluation mode and
    p = 0 pass x on.

    Args:
        p: probability that a value is dropped, 0 ≤ p < 1.
    """

    key: Tensor

    def __init__(self, p: float):
        super().__init__()
        self.p = p
        self.register_buffer("key", torch.zeros((), dtype=torch.int64), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Drop values of ``x`` with probability p."""
        if not self.training or self.p == 0:
            return x
        return x * self.kept(x.numel()).view(x.shape) / (1 - self.p)

    def kept(self, count: int) -> Tensor:
        """The mask for ``count`` values, bool, by the key as it is now."""
        return random_bits(self.key, count) >= int(self.p * 2**24)


def key_dropouts(model: nn.Module) -> list[KeyedDropout]:
    """Replace every ``nn.Dropout`` inside ``model`` by :class:`KeyedDropout`; return them all."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Dropout:
                setattr(parent, name, KeyedDropout(child.p))
    return [module for module in model.modules() if isinstance(module, KeyedDropout)]


def set_keys(dropouts: list[KeyedDropout], seed: int, step: int) -> None:
    """Give every layer the key of one local step; layers and steps draw independent masks."""
    for layer, dropout in enumerate(dropouts):
        # A new one: on a GPU, what was enqueued before may still have to read the last.
        dropout.key = torch.full_like(dropout.key, layer_key(seed, step, layer))


def layer_key(seed: int, step: int, layer: int) -> int:
    """The key of one dropout layer in one local step, 32 bits."""
    return mix(mix(mix(seed) + step) + layer)


def layer_keys(seeds: Tensor, steps: int, layers: int) -> Tensor:
    """:func:`layer_key` for seeds ``(C,)`` int64, all steps and layers: ``(steps, C, layers)``."""
    per_step = _mixed(_mixed(seeds) + torch.arange(steps)[:, None])
    return _mixed(per_step[..., None] + torch.arange(layers))
