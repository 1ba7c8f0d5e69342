"""2.5D: a 2D network sees every slice of a volume, and the volume's vector is the mean of theirs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from torch import Tensor, nn

from graftwork.core.backbone import Backbone, Features, Stage
from graftwork.imaging.inflation import in_three

Run = Callable[[nn.Module, Features], Features]


def slicewise(backbone: Backbone, size: int) -> Backbone:
    """The backbone for volumes of `size` slices of `size` x `size` pixels; stages, weights and vectors stay.

    Between stages, features are (batch, slices, …) as the 2D network has them.
    """
    last = len(backbone.stages) - 1
    stages = [replace(stage, run=partial(_on_slices, stage.run, number == 0, number == last))
              for number, stage in enumerate(backbone.stages)]  # fmt: skip
    return replace(backbone, id=f"slices:{backbone.id}", stages=tuple(stages), contract=in_three(backbone, size))


def is_slicewise(stage: Stage) -> bool:
    """Whether the stage is one that `slicewise` made: its maps are (batch, slices, …)."""
    return isinstance(stage.run, partial) and stage.run.func is _on_slices


def _on_slices(run: Run, first: bool, last: bool, network: nn.Module, features: Features) -> Features:
    values = features.values.movedim(2, 1) if first else features.values
    found: Tensor = run(network, Features(values.flatten(0, 1))).values
    found = found.reshape(*values.shape[:2], *found.shape[1:])
    return Features(found.mean(1) if last else found, features.lengths)
