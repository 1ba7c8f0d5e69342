"""Several grafts on one backbone: what they share of it is run once for every example."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graftwork.core.compute.pieces import in_pieces
from graftwork.core.compute.runtime import Runtime, joined
from graftwork.core.data.batches import pass_batches
from graftwork.core.data.examples import Examples, load_batches
from graftwork.core.evaluation.decisions import Decisions
from graftwork.core.inference.outputs import answer, finite_outputs
from graftwork.core.model.backbone import Backbone
from graftwork.core.model.folding import folded
from graftwork.core.model.graft import Graft
from graftwork.core.progress import progress
from graftwork.core.recipe import Recipe
from graftwork.core.types import Features, InputMonitor, OutsideMode


@dataclass(frozen=True, eq=False)
class GraftGroup:
    """Grafts over the same weights of one backbone, all on the runtime's device, where they share what is frozen.

    names: what their columns are called. summaries: what the examples of their training were like, {} where that is not
    known. decisions: what each does with probabilities.
    """

    backbone: Backbone
    runtime: Runtime
    names: tuple[str, ...]
    grafts: tuple[Graft, ...]
    summaries: tuple[dict[str, Any], ...]
    decisions: tuple[Decisions, ...]

    def for_many(self) -> GraftGroup:
        """The same, to predict many examples: the backbone is made faster, which costs a few passes of an example."""
        deepest = max(shared_stages(self.backbone, graft) for graft in self.grafts)
        return replace(self, backbone=folded(self.backbone, deepest))

    def monitor(self, outside: OutsideMode, *, named: bool) -> InputMonitor | None:
        """What compares new examples with those of the training; None where that is not known. named: whether reasons
        begin with the graft's name."""
        summaries = {name if named else "": own for name, own in zip(self.names, self.summaries, strict=True) if own}
        domain = self.backbone.domain
        if domain.monitor is None or not summaries:
            return None
        return domain.monitor(self.backbone.contract, summaries, outside)


def group_grafts(
    backbone: Backbone, runtime: Runtime, members: Sequence[tuple[str, Graft, dict[str, Any], Decisions]]
) -> GraftGroup:
    """The group of grafts, each with its name, the summary of its training examples and its decisions, over this
    backbone, which none of them changed."""
    names, grafts, summaries, decisions = zip(*members, strict=True)
    return GraftGroup(backbone, runtime, names, grafts, summaries, decisions)


def predict_together(group: GraftGroup, examples: Examples, recipe: Recipe) -> list[NDArray[np.float64]]:
    """Each graft's predictions for every example, in the order of the group.

    The frozen stages run up to the shallowest frontier for all, then on to the next one for those that go deeper.
    With several processes each computes its share and all get everything.
    """
    runtime, base, grafts = group.runtime, group.backbone, group.grafts
    depths = [shared_stages(base, graft) for graft in grafts]
    found = [[torch.empty((0, graft.head.outputs))] for graft in grafts]

    def all_answers(batch: Features) -> list[Tensor]:
        features, reached, answers = runtime.send(batch), 0, dict[int, Tensor]()
        for place in sorted(range(len(grafts)), key=lambda place: depths[place]):
            features, reached = base.run(features, reached, depths[place]), depths[place]
            answers[place] = answer(grafts[place].task, grafts[place], features, reached).cpu()
        return [answers[place] for place in range(len(grafts))]

    rows = runtime.share(range(len(examples)))
    batches = pass_batches(examples, rows, recipe)
    loaded = load_batches(examples, batches, workers=runtime.workers, pin=runtime.pins)
    with progress("predicting", len(rows)) as advance:
        for batch in loaded:
            with torch.inference_mode(), runtime.autocast():
                for answers in in_pieces(all_answers, batch):
                    for place, one in enumerate(answers):
                        found[place].append(one)
            advance(len(batch), "")
    computed = [row for batch in batches for row in batch]
    outputs = [runtime.gather(computed, joined(parts), len(examples)) for parts in found]
    return [
        graft.task.predictions(finite_outputs(values, examples)) for graft, values in zip(grafts, outputs, strict=True)
    ]


def shared_stages(base: Backbone, graft: Graft) -> int:
    """How many of the first stages the graft leaves as they are in the backbone."""
    count = 0
    for own, stage in zip(graft.backbone.stages[: graft.plan.frontier], base.stages, strict=False):
        if own.run is not stage.run:
            break
        count += 1
    return count
