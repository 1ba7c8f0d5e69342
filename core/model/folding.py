"""BatchNorm of frozen stages folded into the convolution before it: the same numbers with one operation less.

A frozen BatchNorm multiplies and shifts each channel by constants, which the convolution's weights can do as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from graftwork.core.model.backbone import Backbone
from graftwork.core.types import Features

TOLERANCE = 1e-4
"""Largest difference that folding may make to the output for noise, relative to the output's largest value."""


def folded(backbone: Backbone, stop: int) -> Backbone:
    """The backbone as it is to run its first `stop` stages for inference, in evaluation mode: a BatchNorm2d that works
    on the output of a convolution is part of it. Other parameters are those of the backbone that is given.

    Which these are is seen by running one example of noise on the CPU, in the network's own precision. Where there are
    none, or folding makes a difference to the output, as where weights are standardised on the way, this is the
    backbone that is given.
    """
    if not any(_is_norm(module) for module in backbone.network.modules()):
        return backbone
    with torch.inference_mode(False), torch.no_grad(), torch.autocast("cpu", enabled=False):
        trial = _own(backbone)
        trial.network.to("cpu")
        noise = _noise(trial)
        with _recording(trial, stop) as recorded:
            expected = trial.run(noise, 0, stop)
        pairs = recorded.pairs()
        _fold(trial.network, pairs)
        if not pairs or not _equal(expected, trial.run(noise, 0, stop)):
            return backbone
        if next(backbone.network.parameters()).device.type == "cpu":
            return trial
        result = _own(backbone)
        _fold(result.network, pairs)
        return result


def _own(backbone: Backbone) -> Backbone:
    """A copy with modules and buffers of its own, into which a network may write."""
    own = backbone.copy_sharing_tensors()
    for module in own.network.eval().modules():
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, buffer.clone())
    return own


@dataclass(frozen=True, eq=False)
class _Recorded:
    """Convolutions and norms by name in the order of their calls, with the tensor that a convolution has made or a norm
    has been given; these are kept, so that no two share an address."""

    made: list[tuple[str, Tensor]] = field(default_factory=list)
    given: list[tuple[str, Tensor]] = field(default_factory=list)

    def pairs(self) -> list[tuple[str, str]]:
        """A convolution and the norm behind it, each called once."""
        makers = {id(tensor): name for name, tensor in self.made}
        calls = [name for name, _ in (*self.made, *self.given)]
        found = [(makers[id(tensor)], name) for name, tensor in self.given if id(tensor) in makers]
        return [pair for pair in found if all(calls.count(name) == 1 for name in pair)]


@contextmanager
def _recording(backbone: Backbone, stop: int) -> Iterator[_Recorded]:
    """Notes what the convolutions and norms of the first stages compute while it is open."""
    recorded, handles = _Recorded(), []
    for name, module in backbone.network.named_modules():
        if _has_hooks_of_others(module) or not _belongs(backbone, stop, name, module):
            continue
        if isinstance(module, nn.Conv2d):
            handles.append(module.register_forward_hook(_noting(recorded.made, name)))
        elif _is_norm(module):
            handles.append(module.register_forward_pre_hook(_noting(recorded.given, name)))
    try:
        yield recorded
    finally:
        for handle in handles:
            handle.remove()


def _noting(notes: list[tuple[str, Tensor]], name: str) -> Any:
    """A hook that notes the last tensor it is told: of a forward hook the output, of the one before it the input."""

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor | None = None) -> None:
        notes.append((name, inputs[0] if output is None else output))

    return note


def _is_norm(module: nn.Module) -> bool:
    return isinstance(module, nn.BatchNorm2d) and module.running_mean is not None


def _has_hooks_of_others(module: nn.Module) -> bool:
    """Hooks of somebody else, or weights that are computed on the way, count on the module as it is."""
    return bool(module._forward_hooks or module._forward_pre_hooks or hasattr(module, "parametrizations"))


def _belongs(backbone: Backbone, stop: int, name: str, module: nn.Module) -> bool:
    tensors = [f"{name}.{tensor}" for tensor in module.state_dict(keep_vars=True)]
    return all(any(stage.holds(tensor) for stage in backbone.stages[:stop]) for tensor in tensors)


def _fold(network: nn.Module, pairs: Sequence[tuple[str, str]]) -> None:
    """What a norm has inside, such as timm's activation, stays in its place."""
    for convolution, norm in pairs:
        layer = cast(nn.Conv2d, network.get_submodule(convolution))
        scaling = cast(nn.BatchNorm2d, network.get_submodule(norm))
        weight, bias = fuse_conv_bn_weights(
            layer.weight, layer.bias, cast(Tensor, scaling.running_mean), cast(Tensor, scaling.running_var),
            scaling.eps, scaling.weight, scaling.bias,
        )  # fmt: skip
        layer.weight = nn.Parameter(weight.detach(), requires_grad=False)
        # No stage owns a bias that the network did not have; a buffer that is not persistent is nobody's.
        del layer.bias
        layer.register_buffer("bias", bias.detach(), persistent=False)
        parent, _, leaf = norm.rpartition(".")
        setattr(network.get_submodule(parent), leaf, nn.Sequential(*scaling.children()))


def _noise(backbone: Backbone) -> Features:
    blank = backbone.contract.collate([backbone.contract.blank()])
    noise = torch.randn(blank.values.shape, generator=torch.Generator().manual_seed(0))
    return replace(blank, values=noise.to(next(backbone.network.parameters()).dtype))


def _equal(expected: Features, found: Features) -> bool:
    pairs = zip((expected.values, *expected.skips), (found.values, *found.skips), strict=True)
    return all(float((one - other).abs().max()) <= TOLERANCE * float(one.abs().max()) for one, other in pairs)
