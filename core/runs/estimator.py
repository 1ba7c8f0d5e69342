"""What the domains' scikit-learn classifiers share: paths and labels in, a trained adapter out."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftwork.core.data.examples import read_examples
from graftwork.core.data.manifest import Manifest
from graftwork.core.errors import SettingsError, UnreadableError
from graftwork.core.example import Example, absolute, as_example, example_exists
from graftwork.core.inference.predict import predict
from graftwork.core.model.adapter import Adapter
from graftwork.core.model.backbone import Backbone
from graftwork.core.model.graft import plan_run
from graftwork.core.model.strategies import parse_strategy
from graftwork.core.recipe import Recipe
from graftwork.core.tasks import SINGLE_LABEL
from graftwork.core.training.finetuning import finetune
from graftwork.core.types import Augment


def checked_examples(X: Any) -> tuple[Example, ...]:
    """Examples from a sequence of paths, or a single column of a table. Raises SettingsError for anything else,
    UnreadableError that lists files that are not there."""
    column = np.asarray(X, dtype=object)
    if column.ndim == 2 and column.shape[1] == 1:
        column = column[:, 0]
    if column.ndim != 1 or not all(isinstance(path, (str, os.PathLike)) for path in column):
        raise SettingsError(f"expected a sequence of paths, found an array of shape {column.shape}: pass file names")
    if not len(column):
        raise SettingsError(
            "expected at least one path, found 0 sample(s) (shape=(0,)) while a minimum of 1 is required."
        )
    examples = tuple(absolute(as_example(path)) for path in column)
    missing = [example for example in examples if not example_exists(example)]
    if missing:
        raise UnreadableError(f"{len(missing)} of {len(examples)} files are not there, the first is {missing[0]}")
    return examples


def fit_adapter(
    backbone: Backbone,
    X: Any,
    y: Any,
    groups: Sequence[Any] | None,
    *,
    strategy: str,
    recipe: Recipe,
    val_fraction: float,
    augment: Augment,
    digests: Callable[[Sequence[Example]], list[str]] | None = None,
) -> tuple[Adapter, NDArray[Any]]:
    """An adapter trained on paths `X` and labels `y`, and the classes as they stand in `y`, sorted.

    groups: patient or speaker of every path; rows of one are never separated. digests: see `Manifest`. For
    runs that train in epochs, `val_fraction` of the rows is set aside to choose the best. Raises ValueError for
    unequal lengths or fewer than two classes.
    """
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import column_or_1d

    examples = checked_examples(X)
    labels = column_or_1d(y, warn=True)
    check_classification_targets(labels)
    if len(labels) != len(examples):
        raise ValueError(f"X has {len(examples)} paths, y has {len(labels)} labels")
    if groups is not None and len(groups) != len(examples):
        raise ValueError(f"X has {len(examples)} paths, groups has {len(groups)} entries")
    classes, codes = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"a classifier needs at least two classes, y has {len(classes)} class")
    names = tuple(str(name) for name in classes)
    units = None if groups is None else tuple(str(group) for group in groups)
    manifest = Manifest("fit", examples, SINGLE_LABEL, "label", names, codes.astype(np.int64), units, digests=digests)
    whole = read_examples(manifest, backbone.contract)
    rows, val = whole, None
    plan = plan_run(backbone, parse_strategy(strategy), recipe, manifest)
    if plan.solver == "gradient" and val_fraction > 0:
        numbered = replace(manifest, rows=tuple(range(len(manifest))))
        inside, outside, _ = numbered.split(recipe.seed, val_fraction=val_fraction, test_fraction=0.0)
        rows, val = whole.subset(inside.rows), whole.subset(outside.rows)
    run = finetune(backbone, rows, val, strategy=strategy, recipe=recipe, augment=augment)
    return run.adapter, classes


def predict_paths(adapter: Adapter, X: Any, recipe: Recipe) -> NDArray[np.float64]:
    """Class probabilities (paths, classes), columns in the order of the fitted classes."""
    examples = checked_examples(X)
    values = np.zeros(len(examples), dtype=np.int64)
    manifest = Manifest("predict", examples, adapter.task, "label", adapter.classes, values)
    return predict(
        adapter, read_examples(manifest, adapter.backbone.contract), batch_size=recipe.batch_size, device=recipe.device
    )
