"""A backbone: a pretrained network seen as an ordered list of named stages. What may change in it is not decided here.

Running the stages in turn equals the network's own forward. Freezing to a depth, layer-wise learning rates,
per-stage probes and the store of activations all rest on this one idea.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from graftwork.core.errors import BackboneError

FRAMES = "frames"
"""Name of the last stage of a backbone that gives frames (batch, time, feature_dim) with lengths, not one vector."""

MAPS = "maps"
"""Name of the last stage of a backbone that gives maps (batch, feature_dim, *spatial), not one vector."""


@dataclass(frozen=True)
class Features:
    """What flows between stages.

    `values` is a batch: images (batch, channels, height, width), volumes (batch, channels, depth, height,
    width), token or frame sequences (batch, time, channels), waveforms (batch, time), vectors
    (batch, channels). `lengths` (batch,), int64, counts the valid steps along time; None where every
    example fills its row, as images do. A run leaves them on the CPU, where asking for one does not stop the GPU:
    `padding_mask` compares them with a device's steps. `skips` are
    maps (batch, channels, *spatial) of earlier stages, the first stage's first, that a later stage or a decoder takes
    up. `masks` (batch, *spatial), int64, is the true class of every pixel or voxel, beside images whose masks are
    learnt; stages need not pass it on.
    """

    values: Tensor
    lengths: Tensor | None = None
    skips: tuple[Tensor, ...] = ()
    masks: Tensor | None = None

    def __len__(self) -> int:
        return int(self.values.shape[0])

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Features:
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def rows(self, index: Sequence[int] | NDArray[np.int64]) -> Features:
        """The examples at these places of the batch."""
        chosen = torch.as_tensor(np.asarray(index))
        return self._each(lambda tensor: tensor[chosen.to(tensor.device)])

    def pin_memory(self) -> Features:
        """Called by torch's DataLoader, so that copies to a GPU can run beside the computation."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Features:
        lengths = None if self.lengths is None else change(self.lengths)
        masks = None if self.masks is None else change(self.masks)
        return Features(change(self.values), lengths, tuple(map(change, self.skips)), masks)


def padding_mask(lengths: Tensor, steps: int, device: torch.device) -> Tensor:
    """True, (batch, steps), at the steps beyond each row's own `lengths` (batch,), on the device."""
    return torch.arange(steps, device=device) >= lengths.to(device, non_blocking=True)[:, None]


class InputContract(Protocol):
    """How a file becomes what the network was trained on. Each domain has one frozen dataclass of this shape."""

    def read(self, path: str) -> Tensor:
        """One example, float32, without a batch axis. Raises UnreadableError or ContractError, naming the file."""

    def collate(self, examples: Sequence[Tensor]) -> Features:
        """A batch of what `read` returned; examples of unequal length are padded and their lengths kept."""

    def seconds(self, example: Tensor) -> float | None:
        """How long what `read` returned lasts; None for what has no duration, as images."""

    def blank(self) -> Tensor:
        """An example with nothing on it, shaped as `read` would give it: the shortest that the network takes well."""

    def to_json(self) -> dict[str, Any]:
        """Plain values that say everything about the contract; two equal contracts give equal values."""


class MaskContract(InputContract, Protocol):
    """The contract of a backbone whose masks are learnt: examples are images with their masks, of any size.

    `run` takes images (batch, channels, *spatial) of the size of a patch and gives logits (batch, classes, *spatial).
    """

    def is_patch(self, example: Tensor) -> bool:
        """Whether what `read` returned goes through the network as a whole."""

    def patch(self, example: Tensor, generator: np.random.Generator, *, changed: bool) -> Tensor:
        """A piece of what `read` returned that the network takes, drawn so that every class of its mask is as likely;
        `changed` at random, image and mask alike."""

    def scores(self, path: str, run: Callable[[Tensor], Tensor]) -> NDArray[np.float64]:
        """What the predicted mask of an image with a mask is worth, (classes without the background, measures)."""

    def draw(self, cases: Sequence[tuple[str, str]], run: Callable[[Tensor], Tensor], beside: Path) -> None:
        """A picture of true and predicted masks, for pairs of a title and the path of an image with a mask."""

    def mask_names(self, paths: Sequence[str]) -> list[str]:
        """What the files of predicted masks are called, no two alike."""

    def segment(self, path: str, run: Callable[[Tensor], Tensor], beside: Path) -> dict[str, float]:
        """Writes the predicted mask of an image beside the place it will have; returns the size of every class."""


@dataclass(frozen=True)
class Stage:
    """One step of a network.

    `run(network, features)` computes it with the modules of `network` as they are at that moment, so that
    copies of a network and modules replaced inside it need no new stages. `owns` names the modules or
    parameters of `network` that belong to this stage, as dotted paths; a tensor belongs to the stage whose
    path equals its name or is a prefix of it ending at a dot. `channel_axis` says where channels are in the images or
    volumes that come out: 1, or -1 for (batch, height, width, channels), or 2 for slices of volumes (batch, depth,
    channels, height, width).
    """

    name: str
    run: Callable[[nn.Module, Features], Features]
    owns: tuple[str, ...] = ()
    channel_axis: int = 1

    def holds(self, tensor_name: str) -> bool:
        return any(tensor_name == path or tensor_name.startswith(path + ".") for path in self.owns)


@dataclass(frozen=True)
class FrameHead:
    """The linear layer that a checkpoint has on its frames, so that a head need not begin at random.

    classes: what it tells apart, the blank first. weight (classes, feature_dim), bias (classes,).
    """

    classes: tuple[str, ...]
    weight: Tensor
    bias: Tensor


@dataclass(frozen=True)
class Backbone:
    """A network, its stages and what it was made for.

    id: `source:name`, as the command line takes it.
    network: the pretrained network, in evaluation mode, on the CPU.
    stages: in order; the last one gives one vector an example, (batch, feature_dim), unless its name is `FRAMES` or
    `MAPS`.
    contract: how its input is read.
    feature_dim: length of that vector, or the channels of frames or maps.
    options: what the loader was told beside the id (image size, pooling, …): plain values, kept with adapters.
    weights: the local file the weights came from, None for the source's own.
    build: makes the same architecture with fresh random weights, for training from scratch; None where unknown.
    fresh: names of parameters that came without pretrained weights, such as an attention for pooling: every strategy
    that trains by gradients learns them.
    frames: how many frames the network makes of an example as the contract reads it; None where unknown.
    frame_head: what a head for text begins with, where the checkpoint's own was asked for.
    """

    id: str
    network: nn.Module
    stages: tuple[Stage, ...]
    contract: InputContract
    feature_dim: int
    options: dict[str, Any] = field(default_factory=dict)
    weights: str | None = None
    build: Callable[[], nn.Module] | None = None
    fresh: tuple[str, ...] = ()
    frames: Callable[[Tensor], int] | None = None
    frame_head: FrameHead | None = None

    def __post_init__(self) -> None:
        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names):
            raise BackboneError(f"{self.id}: stage names must differ, found {names}")
        for tensor in named_tensors(self.network):
            owners = [stage.name for stage in self.stages if stage.holds(tensor)]
            if len(owners) != 1:
                raise BackboneError(
                    f"{self.id}: every tensor must belong to exactly one stage; {tensor!r} belongs to "
                    f"{owners or 'none'} of {names}"
                )

    def run(self, features: Features, start: int = 0, stop: int | None = None) -> Features:
        """Features after stages `start` up to, but not including, `stop` (all remaining ones by default)."""
        for stage in self.stages[start:stop]:
            features = stage.run(self.network, features)
        return features

    def stage_of(self, tensor_name: str) -> int:
        """Index of the stage that a tensor of the network belongs to. Raises KeyError for an unknown name."""
        for index, stage in enumerate(self.stages):
            if stage.holds(tensor_name):
                return index
        raise KeyError(tensor_name)

    def digest(self, stages: int | None = None) -> str:
        """SHA-256 of the weights and buffers of the first `stages` stages (of all by default)."""
        kept = self.stages[:stages]
        tensors = named_tensors(self.network)
        return digest({name: value for name, value in tensors.items() if any(stage.holds(name) for stage in kept)})

    def copy(self) -> Backbone:
        """The same backbone with a network of its own, so that training one does not move the other."""
        return self.with_network(copy.deepcopy(self.network))

    def copy_sharing_tensors(self) -> Backbone:
        """The same backbone with modules of its own over the same memory: for what reads weights only."""
        shared: dict[int, Any] = {}
        for parameter in self.network.parameters():
            shared[id(parameter)] = nn.Parameter(parameter.detach(), requires_grad=parameter.requires_grad)
        for buffer in self.network.buffers():
            shared[id(buffer)] = buffer.detach()
        return self.with_network(copy.deepcopy(self.network, shared))

    def with_network(self, network: nn.Module) -> Backbone:
        """The same stages over another network of the same architecture."""
        return replace(self, network=network)


def named_tensors(network: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers by name: everything that a saved network consists of.

    A tensor that is shared under two names appears once, under the first.
    """
    kept = network.state_dict(keep_vars=True)
    seen: set[int] = set()
    unique = {}
    for name, value in kept.items():
        if isinstance(value, Tensor) and id(value) not in seen:
            seen.add(id(value))
            unique[name] = value
    return unique


def refuse_non_finite(tensors: Mapping[str, Tensor], where: str) -> None:
    """Raises BackboneError that names the tensors which hold NaN, or parameters infinity: what is computed with them
    would be NaN as well. Buffers may hold infinity, as masks of attention do."""
    wrong = [name for name, value in tensors.items() if value.is_floating_point() and bool(
        (~torch.isfinite(value) if isinstance(value, nn.Parameter) else torch.isnan(value)).any()
    )]  # fmt: skip
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        named = ", ".join(wrong[:3])
        raise BackboneError(f"{where}: {len(wrong)} of {len(tensors)} tensors hold NaN or infinity ({named}{more}): "
                            "the weights are damaged, or their training diverged; take others")  # fmt: skip


def digest(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes, in the order of the names."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        total.update(f"{name}|{value.dtype}|{tuple(value.shape)}|".encode())
        total.update(value.flatten().view(torch.uint8).numpy().data)
    return total.hexdigest()


def single_stage(forward: Callable[[nn.Module, Features], Features], tensor_names: Iterable[str]) -> tuple[Stage, ...]:
    """The stages of a network whose decomposition is unknown: one, which owns everything."""
    return (Stage("network", forward, tuple(tensor_names)),)
