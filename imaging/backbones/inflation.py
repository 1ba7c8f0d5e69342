"""2D convolutional networks made to take volumes, with what they learnt: I3D's inflation and ACS convolutions.

I3D (Carreira and Zisserman 2017, arXiv 1705.07750) repeats every filter along depth and divides by its length: on a
volume that is constant in depth the network equals the 2D one. ACS (Yang et al. 2021, arXiv 1911.10477) keeps the 2D
filters and lets a third of them look at axial, coronal and sagittal planes each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graftwork.core.errors import BackboneError
from graftwork.core.model.backbone import Backbone
from graftwork.core.types import Features

Method = Literal["i3d", "acs"]

PROBED = 32
"""Voxels along each axis of the volume on which an inflated network is compared with the flat one."""

TOLERANCE = 1e-3
"""Largest difference there, relative to the largest feature."""


class InflatedConv3d(nn.Conv3d):
    """A convolution that continues the volume beyond its first and last slice as these are.

    Zeros there, as height and width have them, would be slices that the 2D network never saw.
    """

    linear_in_weight = True
    """What two such convolutions give adds up to what one with the sum of their weights gives: LoRA can be merged."""

    def forward(self, input: Tensor) -> Tensor:
        depth, height, width = (int(length) for length in self.padding)
        if depth:
            input = F.pad(input, (0, 0, 0, 0, depth, depth), mode="replicate")
        return F.conv3d(input, self.weight, self.bias, self.stride, (0, height, width), self.dilation, self.groups)


class ACSConv(nn.Module):
    """A 2D convolution's own weight (out, in / groups, k, k), of whose filters each third sees another plane.

    Volumes (batch, in, depth, height, width) as of a Conv3d with a cubic kernel. The first third of the filters lies in
    the plane of height and width, the second of depth and width, the third of depth and height.
    """

    def __init__(self, flat: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = flat.weight, flat.bias
        self.kernel_size, self.stride, self.dilation, self.groups = (
            flat.kernel_size, flat.stride, flat.dilation, flat.groups)  # fmt: skip
        self.padding = flat.padding

    def forward(self, volumes: Tensor) -> Tensor:
        pad = int(self.padding[0])
        apart = self.groups if self.groups > 1 else len(self.weight)
        thirds = [apart - 2 * (apart // 3), apart // 3, apart // 3]
        filters = torch.split(self.weight, [count * (len(self.weight) // apart) for count in thirds])
        inputs: Any = [volumes] * 3
        if self.groups > 1:
            inputs = torch.split(volumes, [count * (volumes.shape[1] // self.groups) for count in thirds], dim=1)
        found = []
        for plane, (own, seen, count) in enumerate(zip(filters, inputs, thirds, strict=True)):
            if count:
                padding = [0 if axis == plane else pad for axis in range(3)]
                groups = count if self.groups > 1 else 1
                found.append(F.conv3d(seen, own.unsqueeze(2 + plane), None, self.stride[0], padding, self.dilation[0],
                                      groups))  # fmt: skip
        result = torch.cat(found, dim=1)
        return result if self.bias is None else result + self.bias[:, None, None, None]


class NormAct3d(nn.BatchNorm3d):
    """Batch normalisation with the dropout and activation that timm puts into the same module."""

    def __init__(self, features: int, drop: nn.Module, act: nn.Module) -> None:
        super().__init__(features)
        self.drop, self.act = drop, act

    def forward(self, input: Tensor) -> Tensor:
        result: Tensor = self.act(self.drop(super().forward(input)))
        return result


def inflate(backbone: Backbone, method: Method, size: int) -> Backbone:
    """The backbone for volumes of `size` voxels along each axis, with the same stages and vectors as long.

    Raises BackboneError for networks that are not convolutional throughout, or that compute over two axes by name
    (squeeze-and-excitation): every one is compared with its 2D original on a volume that is constant in depth.
    """
    _compare(backbone)
    own = backbone.copy()
    network = inflate_network(own.network, method)
    build = None if backbone.build is None else partial(_afresh, backbone.build, method)
    if backbone.weights == "random" and build is not None:
        network = build()
    return replace(own, id=f"{method}:{backbone.id}", network=network, build=build,
                   contract=in_three(backbone, size))  # fmt: skip


def in_three(backbone: Backbone, size: int) -> Any:
    """The input contract of a 2D backbone, for volumes."""
    return replace(backbone.contract, spatial_dims=3, size=(size,) * 3)  # type: ignore[type-var]


def inflate_network(network: nn.Module, method: Method) -> nn.Module:
    """The same network with every two-dimensional module replaced; what it holds keeps its names."""
    replaced: list[str] = []
    for path, module in list(network.named_modules()):
        if any(path.startswith(f"{whole}.") for whole in replaced):
            continue
        made = _in_3d(module, method)
        if made is not None:
            replaced.append(path)
            owner, _, name = path.rpartition(".")
            setattr(network.get_submodule(owner), name, made.train(module.training))
    return network


def _in_3d(module: nn.Module, method: Method) -> nn.Module | None:
    """The module for volumes; None where it has no dimensions of its own. Raises BackboneError for an unknown one."""
    if type(module) is nn.Conv2d:
        return _convolution(module, method)
    if isinstance(module, nn.BatchNorm2d):
        return _normalisation(module)
    if type(module) is nn.MaxPool2d:
        return nn.MaxPool3d(module.kernel_size, module.stride, module.padding, module.dilation,
                            ceil_mode=module.ceil_mode)  # fmt: skip
    if type(module) is nn.AvgPool2d:
        window, step, pad = (_cube(length) for length in (module.kernel_size, module.stride, module.padding))
        return nn.AvgPool3d(window, step, pad, module.ceil_mode, module.count_include_pad)
    if type(module) is nn.AdaptiveAvgPool2d and module.output_size in (1, (1, 1)):
        return nn.AdaptiveAvgPool3d(1)
    name = type(module).__name__
    if name == "SelectAdaptivePool2d":
        if getattr(module, "pool_type", "") not in ("avg", "fast"):
            raise BackboneError(f"it pools by {getattr(module, 'pool_type', '')!r}; only averages can be inflated")
        return nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten(1))
    if "2d" in name.lower() or "Same" in name:
        raise BackboneError(f"it has a {name}, which has no form for volumes here")
    return None


def _convolution(flat: nn.Conv2d, method: Method) -> nn.Module:
    kernel, stride, padding, dilation = flat.kernel_size, flat.stride, flat.padding, flat.dilation
    if isinstance(padding, str) or any(len(set(pair)) > 1 for pair in (kernel, stride, padding, dilation)):
        raise BackboneError(f"it has a convolution of {kernel} with padding {padding!r}; square ones can be inflated")
    if method == "acs" and kernel[0] > 1:
        return ACSConv(flat)
    sides = [(pair[0],) * 3 for pair in (kernel, stride, padding, dilation)]
    kind = InflatedConv3d if padding[0] else nn.Conv3d
    made = kind(flat.in_channels, flat.out_channels, sides[0], sides[1], sides[2], sides[3],
                          groups=flat.groups, bias=flat.bias is not None)  # fmt: skip
    with torch.no_grad():
        made.weight.copy_(flat.weight[:, :, None] / kernel[0])
        if flat.bias is not None and made.bias is not None:
            made.bias.copy_(flat.bias)
    return made


def _cube(length: Any) -> int:
    """The length along every axis. Raises BackboneError where two differ."""
    lengths = set(length) if isinstance(length, tuple) else {length}
    if len(lengths) > 1:
        raise BackboneError(f"it pools over {length}; square windows can be inflated")
    return int(lengths.pop())


def _normalisation(flat: nn.BatchNorm2d) -> nn.Module:
    acts = hasattr(flat, "act")
    made = NormAct3d(flat.num_features, flat.drop, flat.act) if acts else nn.BatchNorm3d(flat.num_features)  # type: ignore[arg-type]
    made.eps, made.momentum, made.affine = flat.eps, flat.momentum, flat.affine
    made.track_running_stats = flat.track_running_stats
    made.weight, made.bias = flat.weight, flat.bias
    made.running_mean, made.running_var = flat.running_mean, flat.running_var
    made.num_batches_tracked = flat.num_batches_tracked
    return made


def _afresh(build: Callable[[], nn.Module], method: Method) -> nn.Module:
    """The architecture with random weights that differ along depth too, as He et al. 2015 draw them."""
    network = inflate_network(build(), method)
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network.eval()


def _compare(backbone: Backbone) -> None:
    """Whether the network is the 2D one on a volume constant in depth. Raises BackboneError where it is not."""
    flat = backbone.copy()
    pictures = torch.randn(1, backbone.contract.blank().shape[0], PROBED, PROBED, generator=torch.Generator())
    volumes = pictures[:, :, None].expand(-1, -1, PROBED, -1, -1)
    with torch.inference_mode():
        try:
            expected = flat.run(Features(pictures)).values
            found = flat.with_network(inflate_network(flat.network, "i3d")).run(Features(volumes)).values
        except (RuntimeError, ValueError, AssertionError, TypeError, BackboneError) as error:
            raise BackboneError(f"{backbone.id} cannot be inflated: {error}; take slices:{backbone.id}") from error
    scale = float(expected.abs().max())
    if found.shape != expected.shape or float((found - expected).abs().max()) > TOLERANCE * scale:
        raise BackboneError(f"{backbone.id} cannot be inflated: it computes over height and width by their place; "
                            f"take slices:{backbone.id}")  # fmt: skip
