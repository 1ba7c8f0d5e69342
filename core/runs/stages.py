"""Where in a backbone the targets can be read off best: a linear probe at every stage, all from one pass."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from graftwork.core.activation_cache.activations import run_frozen_stages
from graftwork.core.compute.global_state import undisturbed
from graftwork.core.compute.runtime import is_first, start_runtime
from graftwork.core.data.examples import Examples, Unreadable
from graftwork.core.data.manifest import Manifest
from graftwork.core.errors import TrainingError
from graftwork.core.evaluation.evaluation import Evaluation
from graftwork.core.files import whole_file, write_json
from graftwork.core.model.backbone import Backbone, Stage, named_tensors
from graftwork.core.recipe import Recipe
from graftwork.core.runs.probes import cross_validated_probe, in_folds, read_for_probes, remaining
from graftwork.core.runs.run_folder import claim_folder
from graftwork.core.runs.train import start_run
from graftwork.core.tasks import Task
from graftwork.core.types import Features, NearDuplicatesMode, padding_mask

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StageScore:
    """width: channels of the stage's output, pooled. evaluation: of a cross-validated probe on them."""

    name: str
    width: int
    evaluation: Evaluation


@dataclass(frozen=True)
class StageScores:
    """The stages of a backbone in order, each with the evaluation of a probe on it."""

    backbone: str
    weights: str | None
    digest: str
    task: Task
    folds: int
    stages: tuple[StageScore, ...]
    left_out: tuple[Unreadable, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values; an undefined number is None."""
        return {
            "backbone": {"id": self.backbone, "weights": self.weights, "digest": self.digest},
            "folds": self.folds,
            "score": self.task.metric,
            "stages": [
                {"name": stage.name, "width": stage.width, "metrics": stage.evaluation.to_json()}
                for stage in self.stages
            ],
            "left_out": [vars(one) for one in self.left_out],
        }


@undisturbed()
def stages(
    backbone: Backbone, manifest: Manifest, *, folds: int = 5, recipe: Recipe | None = None,
    near_duplicates: NearDuplicatesMode = "together", skip_unreadable: bool = False, out: str | Path | None = None,
) -> StageScores:  # fmt: skip
    """A linear probe at every stage of a backbone, pooled to one vector, evaluated by cross-validation: how deep to
    graft. Every example runs through the network once; a split column is ignored.

    near_duplicates, skip_unreadable: as of `RowOptions`. out: folder for `stages.json` and `stages.png`; by default
    nothing is written. Raises SettingsError for folds that
    cannot be made and a backbone with something to learn, OutputError for a folder that holds something.
    """
    recipe, place = recipe or Recipe(), None if out is None else Path(out)
    if place is not None:
        claim_folder(place, resume=False)
    start_run(recipe)
    manifest, number = in_folds(manifest, folds, recipe.seed, backbone.domain, near_duplicates)
    examples = read_for_probes(backbone, manifest, skip_unreadable=skip_unreadable)
    scores = probe_stages(backbone, examples, remaining(number, manifest, examples), recipe)
    doubtful = [stage for stage in scores if stage.evaluation.caution is not None]
    if doubtful:
        log.warning("%s: %s", ", ".join(stage.name for stage in doubtful), doubtful[0].evaluation.caution)
    found = StageScores(backbone.id, backbone.weights, backbone.digest(), manifest.task, folds, scores,
                        examples.left_out)  # fmt: skip
    if place is not None and is_first():
        write_json(place / "stages.json", found.to_json())
        draw_stages(place / "stages.png", found)
    return found


@undisturbed()
def probe_stages(
    backbone: Backbone, examples: Examples, folds: NDArray[np.int64], recipe: Recipe
) -> tuple[StageScore, ...]:
    """One score a stage. examples: as read from files. folds: (rows,). Every example runs through the network once."""
    derived, widths = with_every_stage(backbone)
    done = run_frozen_stages(derived, examples, 1, start_runtime(recipe), recipe)
    if done is None or done.tensors is None:
        raise TrainingError(f"the vectors of {len(examples)} examples cannot be kept")
    scores = []
    for index, (stage, width) in enumerate(zip(backbone.stages, widths, strict=True)):
        vectors = torch.stack([tensor[index, :width] for tensor in done.tensors]).float().numpy()
        scores.append(StageScore(stage.name, width, cross_validated_probe(vectors, done.manifest, folds, recipe)))
    return tuple(scores)


def with_every_stage(backbone: Backbone) -> tuple[Backbone, tuple[int, ...]]:
    """The backbone as one stage that gives the pooled output of every stage, (batch, stages, widest), padded with
    zeros behind each stage's own width; and these widths."""
    features, widths = backbone.contract.collate([backbone.contract.blank()]), []
    with torch.no_grad():
        for stage in backbone.stages:
            features = stage.run(backbone.network, features)
            widths.append(pooled(features, stage.channel_axis).shape[1])
    # The store tells runs apart by what a partial has bound: each stage by itself, under a name that has its place.
    run = partial(
        run_every_stage,
        widest=max(widths),
        channel_axes=tuple(stage.channel_axis for stage in backbone.stages),
        **{f"stage_{place}": stage for place, stage in enumerate(backbone.stages)},
    )
    every = Stage("every stage", run, tuple(named_tensors(backbone.network)))
    derived = Backbone(backbone.id, backbone.network, (every,), backbone.contract, max(widths), backbone.options,
                       backbone.weights, backbone.build)  # fmt: skip
    return derived, tuple(widths)


def run_every_stage(
    network: nn.Module, features: Features, /, *, widest: int, channel_axes: tuple[int, ...], **stages: Stage
) -> Features:
    """Runs the stages in the order given: (batch, …) -> (batch, stages, widest), float32."""
    vectors = []
    for stage, axis in zip(stages.values(), channel_axes, strict=True):
        features = stage.run(network, features)
        vector = pooled(features, axis)
        vectors.append(nn.functional.pad(vector, (0, widest - vector.shape[1])))
    return Features(torch.stack(vectors, dim=1))


def pooled(features: Features, channel_axis: int = 1) -> Tensor:
    """The mean over space or time, (batch, channels), float32; of sequences over their valid steps only.

    Channels are the axis `channel_axis` of images and volumes, and the last one of sequences (batch, time, channels);
    vectors (batch, channels) stay as they are.
    """
    values = features.values.float()
    if values.dim() == 2:
        return values
    sequence = values.dim() == 3
    if not sequence:
        return values.movedim(channel_axis, 1).flatten(2).mean(dim=2)
    if features.lengths is None:
        return values.mean(dim=1)
    padding = padding_mask(features.lengths, values.shape[1], values.device)
    return values.masked_fill(padding[..., None], 0.0).sum(dim=1) / features.lengths[:, None].to(values.device)


def draw_stages(path: Path, found: StageScores) -> None:
    """Score with its interval over the stages; one that is undefined leaves a gap."""
    from matplotlib.figure import Figure

    name = found.task.metric
    intervals = [stage.evaluation.metrics[name] for stage in found.stages]
    value, low, high = (np.array([getattr(one, part) for one in intervals]) for part in ("value", "low", "high"))
    figure = Figure(figsize=(max(5.0, 1.5 + 0.5 * len(intervals)), 4), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(intervals))
    ends = np.nan_to_num(np.stack([value - low, high - value]))  # none where there is no interval
    axes.errorbar(places, value, yerr=ends, marker="o", capsize=3)
    axes.set(ylabel=name, title=f"{found.backbone}: probe at every stage")
    axes.set_xticks(places, [stage.name for stage in found.stages], rotation=60, ha="right")
    with whole_file(path) as beside:
        # Without metadata the same numbers are the same bytes.
        figure.savefig(beside, format="png", dpi=110, metadata={"Software": None})
