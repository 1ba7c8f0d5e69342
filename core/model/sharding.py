"""A graft whose weights are divided among processes (FSDP2): each keeps a part, and has a whole stage only while that
stage is computed. What is kept, evaluated and saved is whole again."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from graftwork.core.compute.communication import agreement
from graftwork.core.compute.memory import free_bytes
from graftwork.core.compute.runtime import Runtime
from graftwork.core.compute.shards import is_sharded, whole
from graftwork.core.errors import SettingsError
from graftwork.core.model.backbone import Stage
from graftwork.core.model.graft import Graft
from graftwork.core.recipe import Recipe
from graftwork.core.types import Features

log = logging.getLogger(__name__)

OPTIMISER_COPIES = 3
"""What a learning tensor needs beside itself: its gradient, and the two moments of AdamW."""


def wants_shards(graft: Graft, recipe: Recipe, runtime: Runtime) -> bool:
    """Whether this training divides its weights: as asked, or by itself where they do not fit whole on every process.

    The same on all processes. Raises SettingsError where they are asked to be divided and cannot be.
    """
    reason = _why_not(graft, recipe, runtime)
    if recipe.fsdp == "on" and reason is not None:
        raise SettingsError(f"--fsdp on: {reason}")
    if recipe.fsdp != "auto" or runtime.processes == 1:
        return recipe.fsdp == "on"
    needed, free = training_bytes(graft), free_bytes(runtime.device)
    (short,) = agreement(runtime.processes)([needed > free])
    if not short:
        return False
    said = f"weights, gradients and optimiser need {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free for a process"
    if reason is not None:
        log.warning("%s, and they are not divided (--fsdp): %s", said, reason)
        return False
    log.warning("%s: they are divided among %d processes (--fsdp on)", said, runtime.processes)
    return True


def training_bytes(graft: Graft) -> int:
    """What training takes of a device beside activations: all tensors, and gradients and moments of what learns."""
    return sum(value.nbytes * (1 + OPTIMISER_COPIES * value.requires_grad) for value in graft.tensors().values())


def _why_not(graft: Graft, recipe: Recipe, runtime: Runtime) -> str | None:
    """Why this training cannot divide its weights; None where it can."""
    if runtime.processes == 1:
        return "weights are divided among several processes, and this is one: begin it with torchrun --nproc-per-node N"
    if graft.task.output == "maps":
        return "masks are not supported"
    if graft.plan.frontier > 0 or len(graft.plan.phases) > 1:
        return (f"{graft.plan.strategy} does not learn in all stages at once, as full and lora do; what is frozen "
                "takes little memory")  # fmt: skip
    if recipe.compile == "on":
        return "--compile on needs whole weights"
    if runtime.precision == "fp16":
        return "--precision fp16 scales losses by whole gradients: use bf16 or fp32"
    return None


class _Unit(nn.Module):
    """One stage with the modules that are its own, for FSDP to make whole when it is called."""

    def __init__(self, stage: Stage, network: nn.Module, owned: dict[str, nn.Module]) -> None:
        super().__init__()
        self.owned = nn.ModuleList(owned.values())
        self.compute: Callable[[Features], Features] = lambda features: stage.run(network, features)

    def forward(self, values: Tensor, skips: tuple[Tensor, ...], beside: _Beside) -> Any:
        """Tensors stand apart, where FSDP finds them; what stays on the CPU goes past it."""
        # A stage may change its input in place, which what FSDP has put around it cannot bear.
        values, skips = _copied(values), tuple(map(_copied, skips))
        found = self.compute(Features(values, beside.lengths, skips, beside.masks))
        return _own(found.values), tuple(map(_own, found.skips)), _Beside(found.lengths, found.masks)


def _copied(tensor: Tensor) -> Tensor:
    return tensor.clone() if tensor.requires_grad else tensor


def _own(tensor: Tensor) -> Tensor:
    """The tensor, and of a view a copy: FSDP would not see the gradient of one that the next stage changes in place."""
    return tensor.clone() if tensor._is_view() else tensor


class _Beside:
    """Lengths and masks of a batch, which FSDP is not to move to the device."""

    def __init__(self, lengths: Tensor | None, masks: Tensor | None) -> None:
        self.lengths, self.masks = lengths, masks


def sharded(graft: Graft, runtime: Runtime) -> Graft:
    """A copy of the graft on the device, its stages' weights and its head's divided among the processes.

    A tensor that is not in a module of one stage alone stays whole in all of them. The graft is left as it is.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(runtime.device.type, (runtime.processes,))
    own = Graft(graft.backbone.copy(), copy.deepcopy(graft.head), graft.plan, graft.task, graft.classes,
                recompute=graft.recompute)  # fmt: skip

    def divide(module: nn.Module) -> None:
        unit: Any = fully_shard(module, mesh=mesh, reshard_after_forward=True)
        unit.set_gradient_divide_factor(1.0)  # every process has its part of a sum, not a mean
        unit.set_force_sum_reduction_for_comms(True)  # gloo has no other

    network, stages, taken = own.network, [], set[nn.Module]()
    modules = dict(network.named_modules())
    for stage in own.backbone.stages:
        owned = {path: modules[path] for path in stage.owns
                 if path in modules and next(modules[path].parameters(), None) is not None}  # fmt: skip
        inside = {inner for module in owned.values() for inner in module.modules()}
        if not owned or inside & taken:
            stages.append(stage)
            continue
        taken |= inside
        unit = _Unit(stage, network, owned)
        divide(unit)
        stages.append(replace(stage, run=_runner(unit)))
    if next(own.head.parameters(), None) is not None:
        divide(own.head)
    own.backbone = replace(own.backbone, stages=tuple(stages))
    own.network.to(runtime.device)  # what is divided is there already
    own.head.to(runtime.device)
    own.sharded = True
    tensors = own.tensors()
    kept = sum(value.nbytes for value in tensors.values() if not is_sharded(value))
    log.info("weights of %.1f MB are divided among %d processes, %.1f MB are whole in each",
             (sum(value.nbytes for value in tensors.values()) - kept) / 1e6, runtime.processes, kept / 1e6)  # fmt: skip
    return own


def _runner(unit: _Unit) -> Callable[[nn.Module, Features], Features]:
    def run(network: nn.Module, features: Features) -> Features:
        values, skips, beside = unit(features.values, features.skips, _Beside(features.lengths, features.masks))
        return Features(cast(Tensor, values), beside.lengths, skips, beside.masks)

    return run


def copy_whole(source: Graft, target: Graft) -> None:
    """Copies all tensors of a sharded graft, frozen ones too, into a whole one; all processes call it."""
    own = target.tensors()
    with torch.no_grad():
        for name, value in source.tensors().items():
            own[name].copy_(whole(value))
