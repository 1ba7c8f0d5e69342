"""A backbone with a head on it: the module that is trained. It knows what is frozen: `.train()` cannot undo it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from graftwork.core.backbone import Backbone, Features, digest, named_tensors
from graftwork.core.errors import AdapterError
from graftwork.core.heads import Head
from graftwork.core.strategies import Plan


class Graft(nn.Module):
    """`head(backbone(features))`, frozen as the plan says, from the moment it is made.

    Tensors are named `backbone.…` and `head.…`. Frozen parameters ask for no gradient, stages below the
    frontier run without a graph, and modules outside the plan's live stages stay in evaluation mode
    whatever mode is asked for: their running statistics do not move and their dropout is off.
    """

    def __init__(self, backbone: Backbone, head: Head, plan: Plan) -> None:
        super().__init__()
        self.stages = backbone
        self.backbone = backbone.network
        self.head = head
        self.plan = plan
        trainable = set(plan.trainable)
        for name, parameter in self.backbone.named_parameters():
            parameter.requires_grad_(name in trainable)
        self.train(False)

    def forward(self, features: Features, start: int = 0) -> Tensor:
        """Head outputs (batch, outputs) from features that stages before `start` have been through."""
        frontier = max(start, self.plan.frontier)
        if frontier > start:
            with torch.no_grad():
                features = self.stages.run(features, start, frontier)
        features = self.stages.run(features, frontier)
        return cast(Tensor, self.head(features.values))

    def train(self, mode: bool = True) -> Graft:
        """Training mode for the head and the live stages only."""
        live = [self.stages.stages[index] for index in self.plan.live]
        everything = len(live) == len(self.stages.stages)
        for name, module in self.backbone.named_modules():
            module.training = mode and (everything or any(stage.holds(name) for stage in live))
        for module in self.head.modules():
            module.training = mode
        self.training = mode
        return self

    def learnt(self) -> dict[str, Tensor]:
        """What training may change, by name: trainable tensors, buffers of live stages, the whole head."""
        trainable = set(self.plan.trainable)
        parameters = {name for name, _ in self.backbone.named_parameters()}
        kept = {
            f"backbone.{name}": value
            for name, value in named_tensors(self.backbone).items()
            if name in trainable or (name not in parameters and self.stages.stage_of(name) in self.plan.live)
        }
        return kept | {f"head.{name}": value for name, value in named_tensors(self.head).items()}

    def frozen(self) -> dict[str, Tensor]:
        """What training must not change, by name: everything that is not `learnt`."""
        learnt = self.learnt().keys()
        return {
            f"backbone.{name}": value
            for name, value in named_tensors(self.backbone).items()
            if f"backbone.{name}" not in learnt
        }

    def frozen_digests(self) -> dict[str, str]:
        """SHA-256 of every frozen tensor by name."""
        return {name: digest({name: value}) for name, value in self.frozen().items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Copies learnt tensors back in. Raises AdapterError if names or shapes differ from what this graft learns."""
        own = self.learnt()
        if own.keys() != tensors.keys():
            missing, extra = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
            raise AdapterError(f"learnt tensors do not match: missing {missing[:5]}, unexpected {extra[:5]}")
        for name, value in own.items():
            if value.shape != tensors[name].shape:
                raise AdapterError(f"{name}: expected shape {tuple(value.shape)}, found {tuple(tensors[name].shape)}")
        with torch.no_grad():
            for name, value in own.items():
                value.copy_(tensors[name])
