"""Convolutions, norms and means over the frames that a clip has itself, so that the padding of a batch changes nothing.

`lengths` (batch,) counts each clip's own steps along `axis`; None where no clip of the batch is padded.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from graftwork.core.types import padding_mask


def own_frames(x: Tensor, lengths: Tensor | None, axis: int = -1) -> Tensor:
    """x with zeros beyond each clip's own steps, as a convolution that pads with zeros sees a clip alone."""
    return x if lengths is None else x.masked_fill(_padding(x, lengths, axis), 0.0)


def after_stride(lengths: Tensor | None, stride: int) -> Tensor | None:
    """Own steps after a convolution that keeps every `stride`-th one: those at 0, stride, 2 * stride, …"""
    return None if lengths is None else torch.div(lengths - 1, stride, rounding_mode="floor") + 1


def mirrored(x: Tensor, lengths: Tensor | None, margin: int) -> Tensor:
    """x (batch, channels, time) with `margin` more steps at either end, mirrored at each clip's own first and last one
    (torch's padding mode "reflect"), for which it needs more than `margin` steps."""
    if margin == 0:
        return x
    if lengths is None:
        return nn.functional.pad(x, (margin, margin), mode="reflect")
    steps = torch.arange(-margin, x.shape[2] + margin, device=x.device).abs()[None]
    last = lengths.to(x.device)[:, None] - 1
    steps = torch.where(steps > last, 2 * last - steps, steps).clamp(min=0)  # far beyond a clip's end nothing is used
    return x.gather(2, steps[:, None].expand(-1, x.shape[1], -1))


def normalised(norm: nn.Module, x: Tensor, lengths: Tensor | None, axis: int = -1) -> Tensor:
    """BatchNorm of x (batch, channels, …); while it learns its statistics, from the clips' own steps alone."""
    if lengths is None or not norm.training:
        found: Tensor = norm(x)
        return found
    own = ~padding_mask(lengths, x.shape[axis], x.device)
    steps = x.movedim(axis, 1)
    normed = norm(steps[own].unsqueeze(-1)).squeeze(-1)  # (own steps, channels, …)
    return torch.zeros_like(steps, dtype=normed.dtype).index_put((own,), normed).movedim(1, axis)


def time_mean(x: Tensor, lengths: Tensor | None, axis: int = -1) -> Tensor:
    """Mean of x over each clip's own steps in float32; the axis stays, with length 1."""
    x = x.float()
    if lengths is None:
        return x.mean(dim=axis, keepdim=True)
    count = lengths.to(x.device).reshape(-1, *[1] * (x.ndim - 1))
    return own_frames(x, lengths, axis).sum(dim=axis, keepdim=True) / count


def squared_deviation_mean(x: Tensor, mean: Tensor, lengths: Tensor | None, *, freedom: int = 0) -> Tensor:
    """Variance of x (batch, channels, time) over each clip's own steps, (batch, channels, 1): the sum of squared
    deviations divided by the number of steps less `freedom`."""
    squares = own_frames((x.float() - mean).square(), lengths).sum(dim=-1, keepdim=True)
    steps = squares.new_tensor(x.shape[-1]) if lengths is None else lengths.to(x.device)[:, None, None]
    return squares / (steps - freedom)


def time_softmax(scores: Tensor, lengths: Tensor | None) -> Tensor:
    """Weights (batch, channels, time) in float32 that sum to 1 over each clip's own steps, and are 0 beyond."""
    scores = scores.float()
    if lengths is not None:
        scores = scores.masked_fill(_padding(scores, lengths, -1), float("-inf"))
    return scores.softmax(dim=-1)


def _padding(x: Tensor, lengths: Tensor, axis: int) -> Tensor:
    """True beyond each clip's own steps, in a shape that broadcasts with x."""
    shape = [1] * x.ndim
    shape[0], shape[axis] = x.shape[0], x.shape[axis]
    return padding_mask(lengths, x.shape[axis], x.device).reshape(shape)
