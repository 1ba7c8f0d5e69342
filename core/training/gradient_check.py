"""The proof that what should learn did: every trainable tensor got a gradient within the first updates."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from graftwork.core.compute.shards import nonzero_counts
from graftwork.core.errors import TrainingError
from graftwork.core.model.graft import Graft

UPDATES = 5
"""A fresh LoRA A has a gradient of zero in its first update, before B has moved; after a few none should."""


class GradientCheck:
    """Watches gradients until every tensor has had one that is not zero.

    A tensor without one is not reached by the computation: an adapted layer that its network reads past, or a part
    that no stage uses. Training on would look like learning.
    """

    def __init__(self, graft: Graft) -> None:
        self.where = graft.backbone.id
        self.strategy = str(graft.plan.strategy)
        self.waiting: dict[str, int] = {}
        self.proven: set[str] = set()

    def look(self, learning: Sequence[tuple[str, nn.Parameter]]) -> None:
        """Called at every update with the tensors that learn in it, before their gradients are clipped.

        Raises TrainingError that names the tensors which had no gradient in `UPDATES` updates.
        """
        if len(self.proven) == len(learning):
            return
        counts = [own.grad for _, own in learning if own.grad is not None]
        counted = iter(nonzero_counts(counts).tolist() if counts else [])  # at once: the CPU waits for the device once
        found = {name: own.grad is not None and bool(next(counted)) for name, own in learning}
        if counts and not any(found.values()):
            return  # a loss of nothing, as of rows that a solved head tells without doubt, says nothing of the network
        for name, has in found.items():
            if has:
                self.proven.add(name)
                self.waiting.pop(name, None)
            elif name not in self.proven:
                self.waiting[name] = self.waiting.get(name, 0) + 1
        self._refuse([name for name, updates in self.waiting.items() if updates >= UPDATES])

    def close(self) -> None:
        """At the end: a short run is checked by the updates that it had, if they were at least two."""
        self._refuse([name for name, updates in self.waiting.items() if updates >= 2])

    def _refuse(self, without: Sequence[str]) -> None:
        if without:
            more = f", … and {len(without) - 5} more" if len(without) > 5 else ""
            raise TrainingError(
                f"{self.strategy} on {self.where}: {len(without)} tensors that should learn got no gradient: "
                f"{', '.join(without[:5])}{more}. The network computes without them; choose other --lora-targets or "
                "another strategy"
            )
