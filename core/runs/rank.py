"""Which of several backbones suits a data set: LogME and a cross-validated probe on the final vectors of each."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftwork.core.activation_cache.activations import run_frozen_stages, vectors
from graftwork.core.compute.global_state import undisturbed
from graftwork.core.compute.runtime import is_first, seed_everything, start_runtime
from graftwork.core.data.examples import Unreadable
from graftwork.core.data.manifest import Manifest
from graftwork.core.domain import Domain
from graftwork.core.errors import BackboneError, GraftworkError, SettingsError, TrainingError
from graftwork.core.evaluation.evaluation import Evaluation
from graftwork.core.evaluation.logme import logme
from graftwork.core.files import write_json
from graftwork.core.model.backbone import Backbone
from graftwork.core.recipe import Recipe
from graftwork.core.runs.probes import cross_validated_probe, in_folds, read_for_probes, remaining
from graftwork.core.runs.run_folder import claim_folder
from graftwork.core.runs.train import start_run
from graftwork.core.tasks import Task
from graftwork.core.types import NearDuplicatesMode

log = logging.getLogger(__name__)

RANKING = "ranking.json"


@dataclass(frozen=True)
class Ranked:
    """A backbone with the evaluation of its final vectors.

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
class Candidate:
    """A backbone that is loaded when its turn comes.

    name: what it is called where it cannot be loaded. domain: of its
    examples."""

    name: str
    load: Callable[[], Backbone]
    domain: Domain


@dataclass(frozen=True)
class Unusable:
    """A backbone that could not be evaluated, and why."""

    backbone: str
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
def rank(
    backbones: Sequence[Backbone | Candidate], manifest: Manifest, *, folds: int = 5, recipe: Recipe | None = None,
    near_duplicates: NearDuplicatesMode = "together", skip_unreadable: bool = False, out: str | Path | None = None,
) -> Ranking:  # fmt: skip
    """Compares backbones on the manifest's rows without training them: LogME, and a linear probe in the same folds for
    all. A split column is ignored.

    backbones: loaded ones, or candidates, of which one is in memory at a time. A backbone that cannot be loaded, or
    cannot take the examples, does not lose the others. near_duplicates, skip_unreadable: as of `RowOptions`. out:
    folder for `ranking.json`; by default nothing is written.

    Raises BackboneError where none could be evaluated, SettingsError for folds that cannot be made, OutputError for a
    folder that holds something.
    """
    recipe, place = recipe or Recipe(), None if out is None else Path(out)
    if place is not None:
        claim_folder(place)
    if not backbones:
        raise SettingsError("no backbone to rank")
    start_run(recipe)
    manifest, number = in_folds(manifest, folds, recipe.seed, backbones[0].domain, near_duplicates)
    ranked: list[Ranked] = []
    unusable: list[Unusable] = []
    for one in backbones:
        name = one.name if isinstance(one, Candidate) else one.id
        try:
            ranked.append(_evaluated(one, manifest, number, recipe, skip_unreadable=skip_unreadable))
        except GraftworkError as error:
            log.warning("%s: cannot be evaluated: %s", name, error)
            unusable.append(Unusable(name, str(error)))
    if not ranked:
        reasons = "".join(f"\n  {one.backbone}: {one.reason}" for one in unusable)
        raise BackboneError(f"none of {len(unusable)} backbones could be evaluated:{reasons}")
    metric = manifest.task.metric
    scores = np.nan_to_num([one.evaluation.metrics[metric].value for one in ranked], nan=-np.inf)
    order = np.argsort(-scores, kind="stable")
    found = Ranking(manifest.task, folds, tuple(ranked[i] for i in order), tuple(unusable))
    if place is not None and is_first():
        write_json(place / RANKING, found.to_json())
    return found


def _evaluated(
    given: Backbone | Candidate, manifest: Manifest, folds: NDArray[np.int64], recipe: Recipe, *, skip_unreadable: bool
) -> Ranked:
    began = time.monotonic()
    seed_everything(recipe.seed)  # weights may be asked for at random
    backbone = given.load() if isinstance(given, Candidate) else given
    examples = read_for_probes(backbone, manifest, skip_unreadable=skip_unreadable)
    done = run_frozen_stages(backbone, examples, len(backbone.stages), start_runtime(recipe), recipe)
    if done is None:
        raise TrainingError(f"the vectors of {len(examples)} examples cannot be kept")
    features = vectors(done)
    evaluation = cross_validated_probe(features, done.manifest, remaining(folds, manifest, examples), recipe)
    if evaluation.caution is not None:
        log.warning("%s: %s", given.name if isinstance(given, Candidate) else backbone.id, evaluation.caution)
    evidence = logme(features, done.manifest.values, manifest.task)
    return Ranked(backbone.id, backbone.weights, features.shape[1], evidence, evaluation, time.monotonic() - began,
                  examples.left_out)  # fmt: skip
