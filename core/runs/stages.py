"""Where in a backbone the targets can be read off best: a linear probe at every stage, all from one pass."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftwork.core.activation_cache.activations import run_frozen_stages, vectors
from graftwork.core.compute.global_state import undisturbed
from graftwork.core.compute.runtime import is_first, start_runtime
from graftwork.core.data.examples import Examples, Unreadable
from graftwork.core.data.manifest import Manifest
from graftwork.core.errors import TrainingError
from graftwork.core.evaluation.evaluation import Evaluation
from graftwork.core.files import atomic_write, write_json
from graftwork.core.model.backbone import Backbone
from graftwork.core.model.stage_outputs import Part, with_every_stage
from graftwork.core.recipe import Recipe
from graftwork.core.runs.probes import cross_validated_probe, in_folds, read_for_probes, remaining
from graftwork.core.runs.run_folder import claim_folder
from graftwork.core.runs.train import start_run
from graftwork.core.tasks import Task
from graftwork.core.types import NearDuplicatesMode

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StageScore:
    """name: of the stage, or STAGE:mean+std for a sequence pooled to both. width: features of its output, pooled.
    evaluation: of a cross-validated probe on them."""

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
    """A linear probe at every stage of a backbone, pooled to one vector, of sequences also to mean and deviation,
    evaluated by cross-validation: how deep to graft, and what `Recipe.features` may name. Every example runs through
    the network once; a split column is ignored.

    near_duplicates, skip_unreadable: as of `RowOptions`. out: folder for `stages.json` and `stages.png`; by default
    nothing is written. Raises SettingsError for folds that cannot be made and a backbone with something to learn,
    OutputError for a folder that holds something.
    """
    recipe, place = recipe or Recipe(), None if out is None else Path(out)
    if place is not None:
        claim_folder(place)
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
    """One score a stage, and a second one of sequences with their deviation. examples: as read from files. folds:
    (rows,). Every example runs through the network once."""
    derived, outputs = with_every_stage(backbone)
    done = run_frozen_stages(derived, examples, len(derived.stages), start_runtime(recipe), recipe)
    if done is None:
        raise TrainingError(f"the vectors of {len(examples)} examples cannot be kept")
    every, scores = vectors(done), []
    for output in outputs:
        for pooling in output.poolings:
            own = np.ascontiguousarray(every[:, output.columns(pooling)])
            scores.append(StageScore(str(Part(output.stage, pooling)), own.shape[1],
                                     cross_validated_probe(own, done.manifest, folds, recipe)))  # fmt: skip
    return tuple(scores)


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
    with atomic_write(path) as temporary:
        # Without metadata the same numbers are the same bytes.
        figure.savefig(temporary, format="png", dpi=110, metadata={"Software": None})
