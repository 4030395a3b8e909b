"""Two forms of the same convolution; which is faster for many lanes depends on the device."""

import copy
from typing import Literal, get_args

from torch import Tensor, nn
from torch.nn.functional import unfold

Form = Literal["grouped", "matmul"]
"""``grouped``: one convolution with a group for each lane, as ``torch.func.vmap`` makes it.
``matmul``: patches as columns, then a batched matrix product."""
FORMS: tuple[Form, ...] = get_args(Form)


class MatmulConv2d(nn.Module):
    """``nn.Conv2d`` as a matrix product: y = W · unfold(x) + b, Chellapilla et al. 2006.

    Takes the parameters of ``convolution``; no groups, zero padding given as numbers.
    """

    def __init__(self, convolution: nn.Conv2d):
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias
        self.window = {
            name: getattr(convolution, name)
            for name in ("kernel_size", "dilation", "padding", "stride")
        }

    def forward(self, x: Tensor) -> Tensor:
        """The convolution of ``(b, c, h, w)``."""
        size, dilation, padding, stride = self.window.values()
        # The images as channels of one: CUDA launches a kernel for every image.
        columns = unfold(x.flatten(0, 1)[None], size, dilation, padding, stride)[0]
        columns = columns.unflatten(0, (len(x), -1))
        rows = (x.shape[2] + 2 * padding[0] - dilation[0] * (size[0] - 1) - 1) // stride[0] + 1
        y = self.weight.flatten(1) @ columns
        if self.bias is not None:
            y = y + self.bias[:, None]
        return y.unflatten(2, (rows, -1))


def in_form(model: nn.Module, form: str) -> nn.Module:
    """A copy of ``model`` with its convolutions in one of :data:`FORMS`, where they can be."""
    model = copy.deepcopy(model)
    if form == "matmul":
        for parent in list(model.modules()):
            for name, child in parent.named_children():
                if isinstance(child, nn.Conv2d) and _is_plain(child):
                    setattr(parent, name, MatmulConv2d(child))
    return model


def _is_plain(module: nn.Conv2d) -> bool:
    return (
        type(module) is nn.Conv2d
        and module.groups == 1
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
    )
