"""What `stages` and `rank` share: a manifest in folds, backbones with their examples, a probe judged fold by fold."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from graftwork.core.compute.global_state import undisturbed
from graftwork.core.compute.runtime import seed_everything
from graftwork.core.data.examples import Examples, read_examples
from graftwork.core.data.manifest import Manifest
from graftwork.core.data.near_duplicates import with_near_duplicates
from graftwork.core.data.people import read_domain_manifest
from graftwork.core.domain import Domain
from graftwork.core.errors import SettingsError, TrainingError
from graftwork.core.evaluation.evaluation import Evaluation, evaluate_predictions
from graftwork.core.model.backbone import Backbone
from graftwork.core.model.heads import Head
from graftwork.core.recipe import Recipe
from graftwork.core.training.linear_probe import fit_probe
from graftwork.core.types import NearDuplicatesMode, TaskName

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Inspection:
    """What is looked at, and how.

    folds: parts of the cross-validation. target, group, group_from, task, order, near_duplicates,
    skip_unreadable: of the manifest, as `train` takes them.
    input: the domain's own options by name; those that are None are the backbone's to choose.
    """

    domain: Domain
    manifest: str
    folds: int
    target: str | None
    group: str | None
    task: TaskName | None
    skip_unreadable: bool
    input: dict[str, Any]
    recipe: Recipe
    order: tuple[str, ...] | None = None
    group_from: str | None = None
    near_duplicates: NearDuplicatesMode = "together"


def read_folds(inspection: Inspection) -> tuple[Manifest, NDArray[np.int64]]:
    """The manifest, whose split column is ignored, and the fold (rows,) of every row.

    Raises ManifestError, and SettingsError for folds that are fewer than two, more than there are groups, or that
    leave one class only to train on.
    """
    if inspection.folds < 2:
        raise SettingsError(f"--folds: expected at least 2, found {inspection.folds}")
    manifest = read_domain_manifest(inspection.domain, inspection.manifest, target=inspection.target,
                                    group=inspection.group, group_from=inspection.group_from, task=inspection.task,
                                    order=inspection.order, split=None)  # fmt: skip
    manifest, found = with_near_duplicates(inspection.domain, manifest, inspection.near_duplicates)
    if found is not None and found.sets:
        log.info("%s", found)
    if manifest.task.linear_problems is None:
        raise SettingsError(f"{manifest.target!r} is a {manifest.task}, and a probe judges vectors: name labels with "
                            "--target")  # fmt: skip
    folds = manifest.fold_numbers(inspection.folds, inspection.recipe.seed)
    for fold in range(inspection.folds):
        if manifest.task.one_class and len(np.unique(manifest.values[folds != fold])) < 2:
            raise SettingsError(
                f"fold {fold + 1} of {inspection.folds}: the training part has rows of one class only; rows of a "
                "group, and files with the same content, stay together, so every class needs more groups than one"
            )
    return manifest, folds


@undisturbed()
def open_backbone(
    inspection: Inspection, id: str, weights: str | None, manifest: Manifest
) -> tuple[Backbone, Examples]:
    """A backbone, and the manifest's examples read by its contract; random weights come from the seed."""
    given = {name: value for name, value in inspection.input.items() if value is not None}
    seed_everything(inspection.recipe.seed)
    backbone = inspection.domain.load_backbone(id, weights=weights, **given)
    unreadable = "skip" if inspection.skip_unreadable else "stop"
    if backbone.fresh:
        raise SettingsError(
            f"{id}: {backbone.fresh[0]} has to be learnt; inspect it without, as with --pooling mean+std"
        )
    return backbone, read_examples(manifest, backbone.contract, unreadable=unreadable)  # type: ignore[arg-type]


def remaining(folds: NDArray[np.int64], manifest: Manifest, examples: Examples) -> NDArray[np.int64]:
    """Folds of the examples that could be read, out of those of all rows of the manifest."""
    lost = {one.path for one in examples.left_out}
    kept: NDArray[np.int64] = folds[np.array([path not in lost for path in manifest.paths])]
    return kept


def cross_validated_probe(
    vectors: NDArray[np.float32], manifest: Manifest, folds: NDArray[np.int64], recipe: Recipe
) -> Evaluation:
    """What a linear probe on vectors (rows, dim) is worth when every row is predicted by one that did not see its
    fold; folds (rows,). Intervals are by group where the manifest has groups.

    Equals `train --strategy probe --folds`. Raises TrainingError for vectors that are not finite.
    """
    wrong = np.flatnonzero(~np.isfinite(vectors).all(1))
    if len(wrong):
        raise TrainingError(f"features are not finite for {len(wrong)} of {len(vectors)} examples, the first is "
                            f"{manifest.examples[wrong[0]]}: try --precision fp32")  # fmt: skip
    outputs = torch.zeros(len(vectors), manifest.task.output_count(manifest.classes))
    for fold in np.unique(folds):
        inside, outside = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        head = Head(vectors.shape[1], outputs.shape[1], last_layer=manifest.task.last_layer).eval()
        fit_probe(head, vectors[inside], manifest.subset(inside), balanced=recipe.class_weights == "balanced",
                  seed=recipe.seed)  # fmt: skip
        with torch.no_grad():
            outputs[outside] = head(torch.from_numpy(vectors[outside]))
    predictions = manifest.task.predictions(outputs)
    return evaluate_predictions(manifest.task, manifest.classes, manifest.values, predictions, manifest.groups)
