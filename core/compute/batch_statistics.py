"""BatchNorm over the whole batch of several processes, for any module that computes it through torch's function."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from graftwork.core.compute.communication import communicating


class SharedBatchStatistics(TorchFunctionMode):
    """Inside, `torch.nn.functional.batch_norm` in training takes mean and variance over all processes' examples.

    torch's own SyncBatchNorm works on GPUs alone, and replaces modules, whose names and subclasses (timm has its own)
    would then be others.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.nn.functional.batch_norm:
            return _batch_norm(func, *args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


class _Sum(torch.autograd.Function):
    """The sum over the processes. Each one's loss depends on every one's value, so gradients are summed as well."""

    @staticmethod
    def forward(context: Any, value: Tensor) -> Tensor:
        return _all_reduced(value)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        return _all_reduced(gradients[0])


def _all_reduced(value: Tensor) -> Tensor:
    summed = value.clone(memory_format=torch.contiguous_format)
    with communicating():
        torch.distributed.all_reduce(summed)
    return summed


def _summed(value: Tensor) -> Tensor:
    result: Tensor = _Sum.apply(value)
    return result


def _batch_norm(
    func: Any,
    values: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """values (batch, channels, …), as torch.nn.functional.batch_norm takes them (Ioffe and Szegedy 2015)."""
    if not training:
        result: Tensor = func(values, running_mean, running_var, weight, bias, False, momentum, eps)
        return result

    given = values.dtype
    values = values.float()
    axes = [axis for axis in range(values.dim()) if axis != 1]
    shape = [1, -1] + [1] * (values.dim() - 2)
    count = torch.tensor([values.numel() / values.shape[1]], device=values.device)
    totals = _summed(torch.cat([values.sum(axes), count]))
    number = totals[-1]
    mean = totals[:-1] / number
    centred = values - mean.view(shape)
    variance = _summed(centred.square().sum(axes)) / number
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.lerp_(mean.detach().to(running_mean.dtype), momentum)
            unbiased = variance.detach() * number / (number - 1).clamp_min(1)
            running_var.lerp_(unbiased.to(running_var.dtype), momentum)
    result = centred * torch.rsqrt(variance + eps).view(shape)
    if weight is not None:
        result = result * weight.view(shape)
    if bias is not None:
        result = result + bias.view(shape)
    return result.to(given)
