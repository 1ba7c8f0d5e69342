"""Tensors of which every process has a part (DTensor, as FSDP2 makes them): whole again, filled, counted, clipped.

All functions take ordinary tensors too. With parts among them, all processes have to call them in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


def is_sharded(tensor: Tensor) -> bool:
    """Whether a process has a part of it only."""
    return hasattr(tensor, "full_tensor")


def whole(tensor: Tensor) -> Tensor:
    """The tensor with all its parts, on the CPU where it was in parts; others as they are."""
    if not is_sharded(tensor):
        return tensor
    parts: Any = tensor.detach()
    result: Tensor = parts.full_tensor().cpu()
    return result


def fill(target: Tensor, source: Tensor) -> None:
    """Copies the source, whole or in the same parts, into the target. The source is the same in all processes."""
    if is_sharded(target) and not is_sharded(source):
        from torch.distributed.tensor import distribute_tensor

        layout: Any = target
        source = distribute_tensor(source.to(target.device), layout.device_mesh, layout.placements, src_data_rank=None)
    target.copy_(source)


def nonzero_counts(tensors: Sequence[Tensor]) -> Tensor:
    """How many elements of each are not zero (tensors,), of all parts together."""
    from graftwork.core.compute.communication import communicating

    parts: list[Any] = list(tensors)
    counts = torch.stack([torch.count_nonzero(one.to_local() if is_sharded(one) else one) for one in parts])
    if any(map(is_sharded, parts)):
        with communicating():
            torch.distributed.all_reduce(counts)
    return counts


def clip_norm(parameters: Sequence[nn.Parameter], norm: float) -> None:
    """Scales the gradients of all parameters together to this norm, where theirs is larger."""
    groups = [[one for one in parameters if is_sharded(one) == divided] for divided in (False, True)]
    if not groups[1]:
        nn.utils.clip_grad_norm_(parameters, norm)
        return
    gradients = [[one.grad for one in group if one.grad is not None] for group in groups]
    norms = [whole(nn.utils.get_total_norm(own)).cpu() for own in gradients if own]
    total = torch.stack(norms).square().sum().sqrt()
    for group in groups:
        device = next((one.device for one in group), total.device)
        nn.utils.clip_grads_with_norm_(group, norm, total.to(device))
