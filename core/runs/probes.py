"""What `stages` and `rank` share: rows in folds, and a probe evaluated fold by fold on vectors."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from graftwork.core.data.examples import Examples, read_examples
from graftwork.core.data.manifest import Manifest
from graftwork.core.data.near_duplicates import with_near_duplicates
from graftwork.core.domain import Domain
from graftwork.core.errors import SettingsError, TrainingError
from graftwork.core.evaluation.evaluation import Evaluation, evaluate_predictions
from graftwork.core.model.backbone import Backbone
from graftwork.core.model.heads import Head
from graftwork.core.recipe import Recipe
from graftwork.core.training.linear_probe import fit_probe
from graftwork.core.types import NearDuplicatesMode

log = logging.getLogger(__name__)


def in_folds(
    manifest: Manifest, folds: int, seed: int, domain: Domain, near_duplicates: NearDuplicatesMode
) -> tuple[Manifest, NDArray[np.int64]]:
    """The manifest without its split, and the fold (rows,) of every row. near_duplicates: as of `RowOptions`.

    Raises SettingsError for a target that no probe learns, and for folds that are fewer than two, more than there are
    groups, or that leave one class only to train on.
    """
    if folds < 2:
        raise SettingsError(f"--folds: expected at least 2, found {folds}")
    if manifest.task.linear_problems is None:
        raise SettingsError(f"{manifest.target!r} is a {manifest.task}, and a probe takes vectors: name labels with "
                            "--target")  # fmt: skip
    manifest, alike = with_near_duplicates(domain, replace(manifest, parts=None), near_duplicates)
    if alike is not None and alike.sets:
        log.info("%s", alike)
    number = manifest.fold_numbers(folds, seed)
    for fold in range(folds):
        if manifest.task.one_class and len(np.unique(manifest.values[number != fold])) < 2:
            raise SettingsError(
                f"fold {fold + 1} of {folds}: the training part has rows of one class only; rows of a "
                "group, and files with the same content, stay together, so every class needs more groups than one"
            )
    return manifest, number


def read_for_probes(backbone: Backbone, manifest: Manifest, *, skip_unreadable: bool) -> Examples:
    """The manifest's examples read by the backbone's contract. Raises SettingsError for a backbone with something to
    learn, which a probe of frozen vectors does not, and UnreadableError unless files are skipped."""
    if backbone.new_parameters:
        raise SettingsError(
            f"{backbone.id}: {backbone.new_parameters[0]} has to be learnt; inspect it without, as with "
            "--pooling mean+std"
        )
    return read_examples(manifest, backbone.contract, unreadable="skip" if skip_unreadable else "stop")


def remaining(folds: NDArray[np.int64], manifest: Manifest, examples: Examples) -> NDArray[np.int64]:
    """Folds of the examples that could be read, out of those of all rows of the manifest."""
    lost = {one.path for one in examples.left_out}
    kept: NDArray[np.int64] = folds[np.array([path not in lost for path in manifest.paths])]
    return kept


def cross_validated_probe(
    vectors: NDArray[np.float32], manifest: Manifest, folds: NDArray[np.int64], recipe: Recipe
) -> Evaluation:
    """The evaluation of a linear probe on vectors (rows, dim) when every row is predicted by one that did not see its
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
    return evaluate_predictions(manifest.task, manifest.classes, manifest.values, predictions, manifest.groups, folds)
