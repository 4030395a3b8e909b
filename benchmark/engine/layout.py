"""A model that is a chain of common layers, laid out for compiled code.

``native.c`` knows convolutions (no padding, dilation or groups), dense layers, ReLU, max-pooling
with disjoint windows and keyed dropout. This module finds out whether a model is a chain of those,
and says where each layer's packed parameters and workspace lie.
"""

import ctypes
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from benchmark.engine.client import ClientModule
from benchmark.engine.rules import Order
from benchmark.models.dropout import KeyedDropout
from benchmark.models.normalize import Normalize

_CONVOLUTION, _DENSE, _POOLING, _DROPOUT, _RECTIFIER = range(5)
_FIRST_CACHE = 24 * 1024  # of 32 KiB, which weights and lists share
_TILES, _FEW = 24, 8
_INTS = "kind relu first h w c cs oh ow oc os kh kw sh sw strip tiles threshold slot"
_OFFSETS = "weight bias in out in_gradient gradient extra"


class NativeLayer(ctypes.Structure):
    """``Layer`` of native.c, which says what the fields mean."""

    _fields_ = [
        *((name, ctypes.c_int32) for name in _INTS.split()),
        *((name, ctypes.c_int64) for name in _OFFSETS.split()),
        ("keep", ctypes.c_double),
    ]


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        own = isinstance(m, KeyedDropout | Normalize)
        return own or super().is_leaf_module(m, module_qualified_name)


def layers_of(model: nn.Module) -> list[tuple[str, nn.Module]] | None:
    """The named layers of a model that is nothing but a chain of them, else None.

    Not to be called while another thread uses a module: tracing patches ``nn.Module`` itself.
    """
    try:
        source, *nodes, output = _Tracer().trace(model).nodes
    except Exception:  # tracing raises whatever the model's own code does with a proxy
        return None
    previous, layers = source, []
    for node in nodes:
        if node.op != "call_module" or node.args != (previous,) or node.kwargs:
            return None
        layers.append((str(node.target), model.get_submodule(str(node.target))))
        previous = node
    return layers if output.args == (previous,) and layers else None


@dataclass
class Shape:
    """Of an example's activations: rows, columns, channels, and channels with padding."""

    h: int
    w: int
    c: int
    cs: int

    @property
    def size(self) -> int:
        """Values, padding included."""
        return self.h * self.w * self.cs


class Layout:
    """Where everything lies, for batches of up to B examples.

    Args:
        chain: the model's layers, see :func:`layers_of`.
        image: shape of an input.
        batch: B.
        width: bytes in a vector register; channels are padded to a multiple.
        itemsize: bytes of a value.

    Attributes:
        layers: of native.c.
        slots: parameter name → index of each of its values among the packed ones.
        packed, work: length of the packed parameters and of the workspace.
        dropouts: number of dropout layers.
    """

    def __init__(
        self,
        chain: list[tuple[str, nn.Module]],
        image: Shape,
        batch: int,
        width: int,
        itemsize: int,
    ):
        self.batch, self.lanes, self.itemsize = batch, width // itemsize, itemsize
        self.layers: list[NativeLayer] = []
        self.slots: dict[str, Tensor] = {}
        self.packed = self.work = self.dropouts = 0
        self.shape = image
        self.input = self.activations = self._take("work", batch * image.size)
        self.gradients = 0
        for name, layer in chain:
            self._add(name, layer)

    def _take(self, what: str, count: int) -> int:
        start = getattr(self, what)
        setattr(self, what, start + -(-count // self.lanes) * self.lanes)
        return start

    def _add(self, name: str, layer: nn.Module) -> None:
        match layer:
            case nn.Flatten():
                pass
            case nn.ReLU() if self.layers and self.layers[-1].kind in (_CONVOLUTION, _DENSE):
                self.layers[-1].relu = 1
            case nn.ReLU():
                self._push(_RECTIFIER, self.shape, 0)
            case KeyedDropout():
                dropout = self._push(_DROPOUT, self.shape, self.batch * self.shape.size)
                dropout.threshold, dropout.keep = int(layer.p * 2**24), 1 - layer.p
                dropout.slot = self.dropouts
                self.dropouts += 1
            case nn.MaxPool2d():
                (kh, kw), s = _pair(layer.kernel_size), self.shape
                out = Shape(s.h // kh, s.w // kw, s.c, s.cs)
                pool = self._push(_POOLING, out, self.batch * out.size)
                pool.kh, pool.kw = kh, kw
            case nn.Conv2d():
                self._add_convolution(name, layer)
            case nn.Linear():
                self._add_dense(name, layer)

    def _add_convolution(self, name: str, layer: nn.Conv2d) -> None:
        (kh, kw), (sh, sw), s, o = layer.kernel_size, layer.stride, self.shape, layer.out_channels
        out = Shape((s.h - kh) // sh + 1, (s.w - kw) // sw + 1, o, self._padded(o))
        fitting = _FIRST_CACHE // (s.w * s.cs * self.itemsize)
        strip = min(max((fitting - kh) // sh + 1, 1), out.h)
        backward = (2 * kh * kw * s.cs + 2 + 2 * strip * out.w) * out.cs
        # With few channels, what Winograd's algorithm adds is more than what it saves.
        fits = (kh, kw, sh, sw) == (3, 3, 1, 1) and min(out.h, out.w) > 1 and s.c >= _FEW
        tiles = _TILES if fits and self.layers else 0
        winograd = 16 * (s.c * out.cs + tiles * (s.cs + out.cs) + 2 * self.lanes) if tiles else 0
        conv = self._push(_CONVOLUTION, out, max(backward, winograd))
        conv.tiles = tiles
        conv.kh, conv.kw, conv.sh, conv.sw, conv.strip = kh, kw, sh, sw, strip
        rows = torch.arange(kh * kw * s.c).view(kh, kw, s.c).permute(2, 0, 1)
        self._parameters(name, conv, rows, kh * kw * s.c)

    def _add_dense(self, name: str, layer: nn.Linear) -> None:
        s, o = self.shape, layer.out_features
        out = Shape(1, 1, o, self._padded(o))
        dense = self._push(_DENSE, out, out.cs * self._padded(self.batch))
        dense.cs = s.size
        rows = torch.arange(s.size).view(s.h, s.w, s.cs)[:, :, : s.c].permute(2, 0, 1)
        self._parameters(name, dense, rows.flatten(), s.size)

    def _padded(self, channels: int) -> int:
        return -(-channels // self.lanes) * self.lanes

    def _push(self, kind: int, out: Shape, extra: int) -> NativeLayer:
        s = self.shape
        layer = NativeLayer(kind=kind, first=not self.layers, h=s.h, w=s.w, c=s.c, cs=s.cs)
        layer.oh, layer.ow, layer.oc, layer.os = out.h, out.w, out.c, out.cs
        setattr(layer, "in", self.activations)
        layer.in_gradient = self.gradients
        layer.out = self.activations = self._take("work", self.batch * out.size)
        layer.gradient = self.gradients = self._take("work", self.batch * out.size)
        layer.extra = self._take("work", extra)
        self.layers.append(layer)
        self.shape = out
        return layer

    def _parameters(self, name: str, layer: NativeLayer, rows: Tensor, count: int) -> None:
        """Packed, a parameter of output o and input row r lies at r · os + o."""
        outputs = torch.arange(layer.oc)
        layer.weight = self._take("packed", count * layer.os)
        layer.bias = self._take("packed", layer.os)
        weight = rows.unsqueeze(0) * layer.os + outputs.view(-1, *[1] * rows.dim())
        self.slots[f"{name}.weight"] = layer.weight + weight.flatten()
        self.slots[f"{name}.bias"] = layer.bias + outputs


class Packed(Order):
    """As compiled code has them, among zeros: value i of a flat vector is at ``slots[i]``."""

    def __init__(self, slots: Tensor, length: int):
        self.slots, self.length = slots, length

    def place(self, vector: Tensor) -> Tensor:
        """Among zeros."""
        packed = vector.new_zeros(self.length)
        packed[self.slots] = vector
        return packed

    def flat(self, placed: Tensor) -> Tensor:
        """Without them."""
        return placed.index_select(0, self.slots)


def _pair(size: int | tuple[int, ...]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def supported(client: ClientModule) -> bool:
    """Whether the model is a chain of known layers, and its loss the plain cross-entropy."""
    layers = layers_of(client.model)
    if type(client).loss is not ClientModule.loss or layers is None:
        return False
    # A parameter used twice, or not at all, has no place of its own among the packed ones.
    used = [f"{name}.{key}" for name, layer in layers for key, _ in layer.named_parameters()]
    if sorted(used) != sorted(name for name, _ in client.shapes):
        return False
    if isinstance(layers[0][1], Normalize):
        layers = layers[1:]
    # The image has no channel padding, which every convolution but the first reads.
    if not layers or not isinstance(layers[0][1], nn.Conv2d | nn.Flatten):
        return False
    flat = False
    for _, layer in layers:
        match layer:
            case nn.Conv2d(padding=(0, 0), dilation=(1, 1), groups=1):
                known = not flat and layer.bias is not None
            case nn.MaxPool2d(padding=0, dilation=1, ceil_mode=False, return_indices=False):
                known = not flat and _pair(layer.stride) == _pair(layer.kernel_size)
            case nn.Flatten(start_dim=1, end_dim=-1):
                known, flat = not flat, True
            case nn.Linear():
                known = flat and layer.bias is not None
            case nn.ReLU() | KeyedDropout():
                known = True
            case _:
                known = False
        if not known:
            return False
    return isinstance(layers[-1][1], nn.Linear)
