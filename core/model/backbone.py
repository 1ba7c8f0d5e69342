"""A backbone: a pretrained network seen as an ordered list of named stages. What may change in it is not decided here.

Running the stages in turn equals the network's own forward. Freezing up to a stage, layer-wise learning rates,
per-stage probes and the store of activations all rest on this one idea.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from graftwork.core.domain import Domain
from graftwork.core.errors import BackboneError
from graftwork.core.tasks import Task
from graftwork.core.tensor_files import digest
from graftwork.core.types import Features, FrameHead, InputContract, Segmenter

FRAMES = "frames"
"""Name of the last stage of a backbone that gives frames (batch, time, feature_dim) with lengths, not one vector."""

MAPS = "maps"
"""Name of the last stage of a backbone that gives maps (batch, feature_dim, *spatial), not one vector."""


OWN = Domain(name="own", example="example", suffixes=())
"""The domain of a backbone that somebody has made of a network of their own: files, and nothing known of them."""


@dataclass(frozen=True)
class Stage:
    """One step of a network.

    `run(network, features)` computes it with the modules of `network` as they are at that moment, so that
    copies of a network and modules replaced inside it need no new stages. `owns` names the modules or
    parameters of `network` that belong to this stage, as dotted paths; a tensor belongs to the stage whose
    path equals its name or is a prefix of it ending at a dot. `channel_axis` says where channels are in the images or
    volumes that come out: 1, or -1 for (batch, height, width, channels), or 2 for slices of volumes (batch, depth,
    channels, height, width). `keeps_padding`: later stages read the steps beyond an example's `lengths` as well, which
    are then stored with it.
    """

    name: str
    run: Callable[[nn.Module, Features], Features]
    owns: tuple[str, ...] = ()
    channel_axis: int = 1
    keeps_padding: bool = False

    def holds(self, tensor_name: str) -> bool:
        return any(tensor_name == path or tensor_name.startswith(path + ".") for path in self.owns)


@dataclass(frozen=True, repr=False)
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
    new_parameters: names of parameters that came without pretrained weights, such as an attention for pooling: every
    strategy that trains by gradients learns them.
    frames: how many frames the network makes of an example as the contract reads it; None where unknown.
    frame_head: what a head for text begins with, where the checkpoint's own was asked for.
    segmenter: what makes masks of whole images with the network; None where none are learnt.
    domain: what is known of its examples: how they are named, cut, changed at random.
    for_text: makes the same backbone, over the same network, that gives frames, as a text needs them; None where it
    cannot, or was told what to give.
    """

    id: str
    network: nn.Module
    stages: tuple[Stage, ...]
    contract: InputContract
    feature_dim: int
    options: dict[str, Any] = field(default_factory=dict)
    weights: str | None = None
    build: Callable[[], nn.Module] | None = None
    new_parameters: tuple[str, ...] = ()
    frames: Callable[[Tensor], int] | None = None
    frame_head: FrameHead | None = None
    segmenter: Segmenter | None = None
    domain: Domain = OWN
    for_text: Callable[[], Backbone] | None = None

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

    def __repr__(self) -> str:
        """The id, the stages and the size; not the layers, which `network` shows."""
        names = [stage.name for stage in self.stages]
        shown = names if len(names) <= 8 else [*names[:4], "…", *names[-2:]]
        count = sum(parameter.numel() for parameter in self.network.parameters())
        weights = "" if self.weights is None else f", weights {self.weights}"
        return (f"Backbone({self.id}{weights}: {count / 1e6:.1f} M parameters in {len(names)} stages, "
                f"{', '.join(shown)}; {self.feature_dim} features)")  # fmt: skip

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
        return replace(self, network=network, for_text=None)  # which is over this one


def suited(backbone: Backbone, task: Task) -> Backbone:
    """The backbone that gives what the task's head takes: frames for texts, where it can. Any other is returned as it
    is, and a graft on one that does not fit is refused."""
    if task.output != "frames" or backbone.stages[-1].name == FRAMES or backbone.for_text is None:
        return backbone
    return replace(backbone.for_text(), frame_head=backbone.frame_head)


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


def single_stage(forward: Callable[[nn.Module, Features], Features], tensor_names: Iterable[str]) -> tuple[Stage, ...]:
    """The stages of a network whose decomposition is unknown: one, which owns everything."""
    return (Stage("network", forward, tuple(tensor_names)),)
