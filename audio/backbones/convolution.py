"""The convolutions of speech networks as matrix products, as a GPU computes them soonest at any length of clip.

cuDNN plans every shape of a convolution anew, and each batch of clips has another length: on an H100 the convolutions
of wav2vec 2.0 base took 33 to 77 ms for a new length and 6 ms for a known one, and its grouped convolution over
positions, for which it has no half-precision kernel of tensor cores, as long as three Transformer layers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

ROWS = 2**12
"""Windows of the grouped convolution that are laid out in memory at once: 0.8 GB in half precision for 768 channels."""


def strided_convolution(conv: nn.Module, x: Tensor) -> Tensor:
    """`conv(x)` of signals (batch, channels, time); on a GPU laid out in memory as (batch, time, channels)."""
    if x.is_cuda and isinstance(conv, nn.Conv1d):
        return strided_products(conv, x.transpose(1, 2)).transpose(1, 2)
    found: Tensor = conv(x)
    return found


def strided_products(conv: nn.Conv1d, x: Tensor) -> Tensor:
    """The convolution, which has neither padding nor groups, of x (batch, time, channels) to (batch, frames, channels),
    as one product for every `stride` samples of its kernel."""
    kernel, stride = conv.kernel_size[0], conv.stride[0]
    x, weight = x.to(_kind(x)), conv.weight.to(_kind(x))
    frames = (x.shape[1] - kernel) // stride + 1
    if x.shape[2] == 1:
        found = x[:, :, 0].unfold(1, kernel, stride) @ weight[:, 0].T
    else:
        found = torch.zeros((), device=x.device, dtype=x.dtype)
        for start in range(0, kernel, stride):
            width = min(stride, kernel - start)
            if width == stride:
                windows = x[:, start : start + stride * frames].reshape(x.shape[0], frames, -1)
            else:
                windows = x[:, start:].unfold(1, width, stride)[:, :frames].transpose(2, 3).flatten(2)
            product = windows @ weight[:, :, start : start + width].permute(2, 1, 0).flatten(0, 1)
            found = product if start == 0 else found + product
    return found if conv.bias is None else found + conv.bias.to(found.dtype)


def position_convolution(embedding: Any, x: Tensor) -> Tensor:
    """A `PositionalConvolution` of x (batch, frames, channels), to the same shape."""
    conv = embedding.conv
    if not x.is_cuda or not isinstance(conv, nn.Conv1d):
        found: Tensor = embedding(x)
        return found
    kind, bias = _kind(x), conv.bias
    found = GroupedConvolution.apply(
        x.to(kind), conv.weight.to(kind), None if bias is None else bias.to(kind), conv.groups
    )
    return nn.functional.gelu(found[:, : x.shape[1]])


def _kind(x: Tensor) -> torch.dtype:
    """What autocast computes a convolution of x in: each tensor is converted once, and not once a product."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


class GroupedConvolution(torch.autograd.Function):
    """A grouped convolution over time by steps of one, padded by half of its kernel on either side.

    Forward as one matrix product a group; backward is torch's own, whose kernels are good.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
        """x: (batch, time, channels); weight: (channels, channels / groups, kernel). Gives (batch, frames, channels),
        one frame more than time for an even kernel."""
        ctx.save_for_backward(x, weight)
        ctx.groups, ctx.biased = groups, bias is not None
        (batch, time, channels), kernel = x.shape, weight.shape[2]
        frames, own = time + 2 * (kernel // 2) - kernel + 1, channels // groups
        padded = nn.functional.pad(x, (0, 0, kernel // 2, kernel // 2)).view(batch, -1, groups, own)
        windows = padded.unfold(1, kernel, 1)  # (batch, frames, groups, own, kernel)
        filters = weight.view(groups, own, own, kernel).permute(0, 3, 2, 1).reshape(groups, kernel * own, own)
        found = x.new_empty(batch, frames, groups, own)
        step = max(1, ROWS // batch)
        for start in range(0, frames, step):
            laid_out = windows[:, start : start + step].permute(2, 0, 1, 4, 3).reshape(groups, -1, kernel * own)
            product = torch.bmm(laid_out, filters).view(groups, batch, -1, own)
            found[:, start : start + step] = product.permute(1, 2, 0, 3)
        found = found.view(batch, frames, channels)
        return found if bias is None else found + bias

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        wanted = [ctx.needs_input_grad[0], ctx.needs_input_grad[1], ctx.biased and ctx.needs_input_grad[2]]
        by_x, by_weight, by_bias = torch.ops.aten.convolution_backward(
            gradient.transpose(1, 2), x.transpose(1, 2), weight, [weight.shape[0]], [1], [weight.shape[2] // 2], [1],
            False, [0], ctx.groups, wanted,
        )  # fmt: skip
        return None if by_x is None else by_x.transpose(1, 2), by_weight, by_bias, None
