"""A backbone with a head on it: the module that is trained. It knows what is frozen: `.train()` cannot undo it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from graftwork.core.compute.shards import fill
from graftwork.core.data.manifest import Manifest
from graftwork.core.errors import AdapterError, SettingsError
from graftwork.core.model.backbone import FRAMES, MAPS, Backbone, named_tensors
from graftwork.core.model.decoder import Decoder, make_decoder
from graftwork.core.model.folding import folded
from graftwork.core.model.head_records import DEFAULT_HEAD, find_head
from graftwork.core.model.heads import Head
from graftwork.core.model.neighbour_head import NeighbourHead
from graftwork.core.model.plan import Phase, Plan, make_plan
from graftwork.core.model.strategies import Strategy
from graftwork.core.recipe import Recipe
from graftwork.core.tasks import Task, find_task
from graftwork.core.tensor_files import digest
from graftwork.core.types import Features

AnyHead = Head | NeighbourHead | Decoder


class Graft(nn.Module):
    """`head(backbone(features))`, frozen as the plan says, from the moment it is made.

    `network` is the backbone's own. `tensors` names all of them `backbone.…` and `head.…`, as files do.
    Frozen parameters ask for no gradient, stages below the frontier run without a graph, and modules outside the
    plan's training stages stay in evaluation mode whatever mode is asked for: their running statistics do not move and
    their dropout is off. `task` and `classes` say what its outputs mean.
    """

    def __init__(
        self, backbone: Backbone, head: AnyHead, plan: Plan, task: Task, classes: tuple[str, ...], *,
        recompute: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.task, self.classes = task, classes
        self.backbone = backbone
        self.network = backbone.network
        self.head = head
        self.plan = plan
        self.recompute = recompute
        batch_norms = [name for name, module in self.network.named_modules() if isinstance(module, _BatchNorm)]
        # Running a BatchNorm again would move its statistics twice.
        self.batch_norm_stages = {stage.name for stage in backbone.stages if any(map(stage.holds, batch_norms))}
        self.frontier = plan.phases[0].frontier
        self.sharded = False  # whether every process has a part of its tensors only
        self._folded: Backbone | None = None
        trainable = set(plan.trainable)
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(name in trainable)
        self.train(False)

    def forward(self, features: Features, start: int = 0) -> Tensor:
        """Head outputs (batch, outputs) from features that stages before `start` have been through."""
        return self.outputs(features, start).values

    def outputs(self, features: Features, start: int = 0) -> Features:
        """The same with lengths: where the backbone gives frames, (batch, frames, outputs); where it gives maps,
        (batch, outputs, *spatial) beside the true masks."""
        frontier, masks = max(start, self.frontier), features.masks
        if frontier > start:
            with torch.no_grad():
                frozen = min(frontier, self.plan.frontier)  # what lies above waits for its turn to learn
                features = self.frozen_part().run(features, start, frozen) if frozen > start else features
                features = self.backbone.run(features, max(start, frozen), frontier)
        if self.recompute and self.training and torch.is_grad_enabled():
            for stage in self.backbone.stages[frontier:]:
                run = partial(stage.run, self.network)
                if stage.name in self.batch_norm_stages:
                    features = run(features)
                else:
                    features = checkpoint(run, features, use_reentrant=False)
        else:
            features = self.backbone.run(features, frontier)
        if isinstance(self.head, Decoder):
            return Features(self.head(features), masks=masks)
        return Features(cast(Tensor, self.head(features.values)), features.lengths)

    def frozen_part(self) -> Backbone:
        """The stages that no phase trains, as they run fastest; made when they run for the first time. Not to be made
        while the computation is traced: whoever compiles it asks for them before."""
        if self._folded is None:
            self._folded = folded(self.backbone, self.plan.frontier)
        return self._folded

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Graft:
        """Called by torch where tensors change their place or format; what was made of the old ones is forgotten."""
        self._folded = None
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def enter(self, phase: Phase) -> None:
        """What waits in this phase is frozen like the rest: it runs without a graph, in evaluation mode."""
        if phase.frontier != self.frontier:
            self.frontier = phase.frontier
            self.train(self.training)

    def train(self, mode: bool = True) -> Graft:
        """Training mode for the head and the plan's training stages only."""
        trained = [self.backbone.stages[index] for index in self.plan.training_stages if index >= self.frontier]
        everything = len(trained) == len(self.backbone.stages)
        for name, module in self.network.named_modules():
            module.training = mode and (everything or any(stage.holds(name) for stage in trained))
        for module in self.head.modules():
            module.training = mode
        self.training = mode
        return self

    def moving_buffers(self) -> list[Tensor]:
        """Buffers of the training stages: what training moves without a gradient."""
        return [value for name, value in self.learnt().items()
                if name.startswith("backbone.") and not isinstance(value, nn.Parameter)]  # fmt: skip

    def tensors(self) -> dict[str, Tensor]:
        """Parameters and persistent buffers by name: `backbone.` and the name in `network`, or `head.` and its own."""
        parts = {"backbone": self.network, "head": self.head}
        return {f"{part}.{name}": value for part, module in parts.items()
                for name, value in named_tensors(module).items()}  # fmt: skip

    def learnt(self) -> dict[str, Tensor]:
        """What training may change: trainable tensors, buffers of the training stages, the whole head."""
        trainable = set(self.plan.trainable)

        def learns(name: str, value: Tensor) -> bool:
            part, own = name.split(".", 1)
            if part == "head" or own in trainable:
                return True
            return not isinstance(value, nn.Parameter) and self.backbone.stage_of(own) in self.plan.training_stages

        return {name: value for name, value in self.tensors().items() if learns(name, value)}

    def frozen(self) -> dict[str, Tensor]:
        """What training must not change: everything that is not `learnt`."""
        learnt = self.learnt().keys()
        return {name: value for name, value in self.tensors().items() if name not in learnt}

    def frozen_digests(self) -> dict[str, str]:
        """SHA-256 of every frozen tensor by name."""
        return {name: digest({name: value}) for name, value in self.frozen().items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Copies learnt tensors back in. Raises AdapterError if names or shapes differ from what this graft learns."""
        _copy(tensors, self.learnt(), "learnt tensors")

    def restore_all(self, tensors: Mapping[str, Tensor]) -> None:
        """Copies all tensors in, frozen and learnt. Raises AdapterError if names or shapes differ."""
        _copy(tensors, self.tensors(), "tensors")


def _copy(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor], said: str) -> None:
    if own.keys() != tensors.keys():
        missing, extra = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
        raise AdapterError(f"{said} do not match: missing {missing[:5]}, unexpected {extra[:5]}")
    for name, value in own.items():
        if value.shape != tensors[name].shape:
            raise AdapterError(f"{name}: expected shape {tuple(value.shape)}, found {tuple(tensors[name].shape)}")
    with torch.no_grad():
        for name, value in own.items():
            fill(value, tensors[name])


WANTED = {"vector": "one vector an example", "frames": "frames (speech backbones: --pooling none)",
          "maps": "maps (load_backbone with mask_values)"}  # fmt: skip
"""What a target asks of the backbone's last stage."""


def plan_run(backbone: Backbone, strategy: Strategy, recipe: Recipe, manifest: Manifest) -> Plan:
    """How a run on these rows would learn; the backbone is left as it is. Raises what `make_graft` raises."""
    light = backbone.copy_sharing_tensors()
    return make_graft(light, strategy, recipe, manifest.task, manifest.classes, len(manifest)).plan


def make_graft(
    backbone: Backbone, strategy: Strategy, recipe: Recipe, task: Task | str, classes: tuple[str, ...], rows: int
) -> Graft:
    """The backbone, which is changed and kept, under a new head for the task, frozen as the strategy says.

    What a strategy inserts is drawn from torch's generator, after the head. rows: how many training examples
    a head of neighbours will hold. Raises SettingsError for a strategy that the backbone cannot carry.
    """
    task, record = find_task(task), strategy.record
    outputs = task.output_count(classes)
    last = backbone.stages[-1].name
    frames, maps = last == FRAMES, last == MAPS
    if task.output != ("frames" if frames else "maps" if maps else "vector"):
        raise SettingsError(f"a {task} target needs {WANTED[task.output]}; {backbone.id} ends in stage {last!r}")
    if maps and backbone.segmenter is None:
        raise SettingsError(f"a {task} target needs {WANTED[task.output]}; {backbone.id} has maps, but no segmenter")
    if maps and recipe.head != DEFAULT_HEAD:
        raise SettingsError(f"head {recipe.head}: masks have a decoder of their own; leave --head out")
    asked = find_head(recipe.head)
    if asked.single_labels and (task.ordered or not task.one_class):
        raise SettingsError(f"head {asked.name} {asked.reason}, the task is {task}")
    head: AnyHead
    if maps:
        head = make_decoder(backbone, outputs, recipe.decoder_convolutions)
    else:
        head = Head(backbone.feature_dim, outputs, recipe.head, recipe.dropout, recipe.margin_scale, task.last_layer)
    if frames and backbone.frame_head is not None and isinstance(head, Head) and not record.random_weights:
        head.begin_with(backbone.frame_head, classes)
    if record.solver == "neighbours" and task.vote is not None:
        head = NeighbourHead(backbone.feature_dim, outputs, task.vote, rows)
    inserted: tuple[str, ...] = ()
    if record.insert is not None:
        backbone, inserted = record.insert(backbone, recipe, strategy.number)
    plan = make_plan(strategy, backbone, head, inserted=inserted, stage_decay=recipe.stage_decay,
                     solvable=task.linear_problems is not None, head_start=recipe.head_start)  # fmt: skip
    return Graft(backbone, head, plan, task, classes, recompute=recipe.recompute == "on")
