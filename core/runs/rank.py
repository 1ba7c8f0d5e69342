"""Which of several backbones suits a data set: LogME and a cross-validated probe on the final vectors of each."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftwork.core.activation_cache.activations import run_frozen_stages, vectors
from graftwork.core.compute.global_state import undisturbed
from graftwork.core.compute.runtime import start_runtime
from graftwork.core.data.examples import Unreadable
from graftwork.core.data.manifest import Manifest
from graftwork.core.errors import BackboneError, GraftworkError, TrainingError
from graftwork.core.evaluation.evaluation import Evaluation
from graftwork.core.evaluation.logme import logme
from graftwork.core.files import write_json
from graftwork.core.runs.inspection import Inspection, cross_validated_probe, open_backbone, read_folds, remaining
from graftwork.core.tasks import Task

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ranked:
    """A backbone with what its final vectors are worth.

    logme: log evidence per row, NaN where no target varies. evaluation: of a cross-validated probe. seconds: for
    loading, reading, the pass through the network and the probe; short where the store has the vectors.
    """

    backbone: str
    weights: str | None
    feature_dim: int
    logme: float
    evaluation: Evaluation
    seconds: float
    left_out: tuple[Unreadable, ...]

    def to_json(self, score: str) -> dict[str, Any]:
        """Plain values; score: the metric by which it was ranked."""
        return {
            "backbone": self.backbone,
            "weights": self.weights,
            "feature_dim": self.feature_dim,
            "logme": None if math.isnan(self.logme) else self.logme,
            "score": self.evaluation.to_json()[score],
            "metrics": self.evaluation.to_json(),
            "seconds": round(self.seconds, 2),
            "left_out": [vars(one) for one in self.left_out],
        }


@dataclass(frozen=True)
class Unusable:
    """A backbone that could not be judged, and why."""

    backbone: str
    weights: str | None
    reason: str


@dataclass(frozen=True)
class Ranking:
    """ranked: by the probe's score, the best first. unusable: in the order they were asked for."""

    task: Task
    folds: int
    ranked: tuple[Ranked, ...]
    unusable: tuple[Unusable, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        score = self.task.metric
        return {
            "folds": self.folds,
            "score": score,
            "ranked": [one.to_json(score) for one in self.ranked],
            "unusable": [vars(one) for one in self.unusable],
        }


@undisturbed()
def rank_backbones(inspection: Inspection, backbones: Sequence[tuple[str, str | None]]) -> Ranking:
    """Judges (id, weights) one after another on the same folds of the manifest.

    A backbone that cannot be loaded, or cannot take the examples, does not lose the others; raises BackboneError
    where none could be judged.
    """
    start_runtime(inspection.recipe)  # a device that is not there is known before files are read
    manifest, folds = read_folds(inspection)
    ranked: list[Ranked] = []
    unusable: list[Unusable] = []
    for id, weights in backbones:
        try:
            ranked.append(_judge(inspection, id, weights, manifest, folds))
        except GraftworkError as error:
            log.warning("%s: cannot be judged: %s", id, error)
            unusable.append(Unusable(id, weights, str(error)))
    if not ranked:
        reasons = "".join(f"\n  {one.backbone}: {one.reason}" for one in unusable)
        raise BackboneError(f"none of {len(unusable)} backbones could be judged:{reasons}")
    name = manifest.task.metric
    scores = np.nan_to_num([one.evaluation.metrics[name].value for one in ranked], nan=-np.inf)
    order = np.argsort(-scores, kind="stable")
    return Ranking(manifest.task, inspection.folds, tuple(ranked[i] for i in order), tuple(unusable))


def split_weights(text: str) -> tuple[str, str | None]:
    """`ID` or `ID=WEIGHTS` as id and weights."""
    id, _, weights = text.partition("=")
    return id, weights or None


def write_ranking(folder: Path, ranking: Ranking) -> None:
    """Writes `ranking.json`."""
    write_json(folder / "ranking.json", ranking.to_json())


def _judge(
    inspection: Inspection, id: str, weights: str | None, manifest: Manifest, folds: NDArray[np.int64]
) -> Ranked:
    began, recipe = time.monotonic(), inspection.recipe
    backbone, examples = open_backbone(inspection, id, weights, manifest)
    done = run_frozen_stages(backbone, examples, len(backbone.stages), start_runtime(recipe), recipe)
    if done is None:
        raise TrainingError(f"the vectors of {len(examples)} examples cannot be kept")
    features = vectors(done)
    evaluation = cross_validated_probe(features, done.manifest, remaining(folds, manifest, examples), recipe)
    if evaluation.caution is not None:
        log.warning("%s: %s", id if weights is None else f"{id}={weights}", evaluation.caution)
    evidence = logme(features, done.manifest.values, manifest.task)
    return Ranked(id, weights, features.shape[1], evidence, evaluation, time.monotonic() - began, examples.left_out)
