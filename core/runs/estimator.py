"""What the domains' scikit-learn estimators share: paths in, labels, numbers or features out.

The functions with `self` are methods: a domain's estimators take them one by one, and share no base class. Such a class
names its `domain` and its `load_backbone`, has the parameters `backbone`, `weights` and `recipe`, and any of that
function's options.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from inspect import signature
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from graftwork.core.activation_cache.activations import run_frozen_stages, vectors
from graftwork.core.compute.global_state import undisturbed
from graftwork.core.compute.runtime import seed_everything, start_runtime
from graftwork.core.data.examples import Examples, read_examples
from graftwork.core.data.manifest import Manifest
from graftwork.core.data.near_duplicates import with_near_duplicates
from graftwork.core.data.windows import cut_windows, join_windows
from graftwork.core.errors import SettingsError, TrainingError, UnreadableError
from graftwork.core.example import Example, absolute, as_example, example_exists
from graftwork.core.inference.adapter import Adapter
from graftwork.core.inference.predict import predict_examples
from graftwork.core.model.backbone import FRAMES, Backbone
from graftwork.core.model.graft import plan_run
from graftwork.core.model.stage_outputs import stage_outputs, with_every_stage
from graftwork.core.model.strategies import parse_strategy
from graftwork.core.recipe import Recipe
from graftwork.core.runs.estimator_targets import (
    Targets,
    chances_in_order,
    class_targets,
    labels_as_json,
    number_targets,
    predicted_labels,
    weighted,
)
from graftwork.core.tasks import REGRESSION
from graftwork.core.training.finetuning import finetune

Estimator = TypeVar("Estimator")


def fit_classifier(
    self: Estimator, X: Any, y: Any, groups: Sequence[Any] | None = None, sample_weight: Any = None
) -> Estimator:
    """Trains on paths X (rows,) and labels y (rows,), or columns of 0 and 1 (rows, labels). groups (rows,): patient or
    speaker; rows of one, and files that hold nearly the same, are never separated when some are set aside.
    sample_weight (rows,): how much each counts in the loss, and in the choice of a probe's strength; epochs are chosen
    on rows that all count alike. Returns self.

    Raises ValueError for unusable labels or weights, SettingsError for weights and the strategy knn, and what
    `load_backbone` and `graftwork.core.finetune` raise.
    """
    given: Any = self
    targets = class_targets(y, given.order)
    given.adapter_ = _fitted(given, X, targets, groups, sample_weight)
    given.classes_ = targets.labels
    return self


def fit_regressor(
    self: Estimator, X: Any, y: Any, groups: Sequence[Any] | None = None, sample_weight: Any = None
) -> Estimator:
    """Trains on paths X (rows,) and numbers y (rows,), whose unit is that of the predictions. groups (rows,): patient
    or speaker; rows of one, and files that hold nearly the same, are never separated when some are set aside.
    sample_weight (rows,): how much each counts in the loss, and in the choice of a probe's strength; epochs are chosen
    on rows that all count alike. Returns self.

    Raises ValueError for a y that is no finite numbers and unusable weights, SettingsError for weights and the strategy
    knn, and what `load_backbone` and `graftwork.core.finetune` raise.
    """
    given: Any = self
    given.adapter_ = _fitted(given, X, number_targets(y), groups, sample_weight)
    return self


def predict_proba(self: Any, X: Any) -> NDArray[np.float64]:
    """Probabilities for paths X (rows,): (rows, classes), or (rows, labels) of several labels, each by itself. Columns
    are in the order of `classes_`."""
    check_is_fitted(self)
    chances = predict_paths(self.adapter_, X, self.recipe or Recipe())
    return chances_in_order(self.adapter_, chances, self.classes_)


def predict_classes(self: Any, X: Any) -> NDArray[Any]:
    """Labels for paths X (rows,): the likeliest, of grades the median one; of several labels 0 and 1 (rows, labels)."""
    check_is_fitted(self)
    chances = predict_paths(self.adapter_, X, self.recipe or Recipe())
    return predicted_labels(self.adapter_, chances, self.classes_)


def predict_numbers(self: Any, X: Any) -> NDArray[np.float64]:
    """Numbers (rows,) for paths X (rows,), in the unit of y."""
    check_is_fitted(self)
    return predict_paths(self.adapter_, X, self.recipe or Recipe())


@undisturbed()
def fit_features(self: Estimator, X: Any = None, y: Any = None) -> Estimator:
    """Loads the backbone; X and y are not looked at, as nothing is learnt of them. Returns self.

    Raises SettingsError for a stage that the backbone has not, and for a pooling that has to be learnt, and what
    `load_backbone` raises.
    """
    given: Any = self
    backbone = _loaded(given)
    if backbone.new_parameters:
        raise SettingsError(
            f"{backbone.id}: {backbone.new_parameters[0]} has to be learnt; features are of frozen networks"
        )
    names = [stage.name for stage in backbone.stages]
    stage = names[-1] if given.stage is None else given.stage
    if stage not in names:
        raise SettingsError(f"stage: expected one of {', '.join(names)}, found {stage!r}")
    given.backbone_, given.stage_ = backbone, stage
    # Of other stages than the last a blank example has to tell.
    last = stage == names[-1]
    given._n_features_out = backbone.feature_dim if last else stage_outputs(backbone)[names.index(stage)].width
    return self


def transform(self: Any, X: Any) -> NDArray[np.float32]:
    """What the stage gives for paths X (rows,), pooled over space or time: (rows, features), float32. Of recordings
    that are cut into windows it is the mean over these."""
    check_is_fitted(self)
    return stage_features(self.backbone_, self.stage_, X, self.recipe or Recipe())


def takes_paths(tags: Any, *, multi_label: bool = False) -> Any:
    """scikit-learn's tags of what takes paths (rows,)."""
    tags.input_tags.one_d_array = True
    tags.input_tags.two_d_array = False
    tags.input_tags.string = True
    if tags.transformer_tags is not None:
        tags.transformer_tags.preserves_dtype = []  # paths have none
    if multi_label:
        tags.classifier_tags.multi_label = True
    return tags


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


def _loaded(given: Any) -> Backbone:
    """The backbone that an estimator's parameters ask for."""
    own = given.get_params(deep=False)
    options = signature(given.load_backbone).parameters.keys() - {"id", "weights"}
    names = sorted(name for name in options if own.get(name) is not None)
    seed_everything((given.recipe or Recipe()).seed)  # weights may be asked for at random
    loaded: Backbone = given.load_backbone(given.backbone, weights=given.weights, **{name: own[name] for name in names})
    return loaded


@undisturbed()
def _fitted(given: Any, X: Any, targets: Targets, groups: Sequence[Any] | None, sample_weight: Any) -> Adapter:
    """The adapter that an estimator's parameters give on these rows."""
    paths = checked_examples(X)
    weights = None if sample_weight is None else np.atleast_1d(np.asarray(sample_weight))
    for name, column in (("y", targets.values), ("groups", groups), ("sample_weight", weights)):
        if column is not None and len(column) != len(paths):
            raise ValueError(f"X has {len(paths)} paths, {name} has {len(column)} entries")
    units = None if groups is None else tuple(str(group) for group in groups)
    manifest = Manifest("fit", paths, targets.task, "y", targets.classes, targets.values, units,
                        digests=given.domain.decoded_digests)  # fmt: skip
    if weights is not None:
        manifest = weighted(manifest, weights)
    adapter = fit_adapter(_loaded(given), manifest, strategy=given.strategy,
                          recipe=given.recipe or Recipe(), val_fraction=given.val_fraction)  # fmt: skip
    return replace(adapter, record=adapter.record | labels_as_json(targets.labels))


def fit_adapter(
    backbone: Backbone, manifest: Manifest, *, strategy: str, recipe: Recipe, val_fraction: float
) -> Adapter:
    """An adapter trained on the manifest's rows. For runs that train in epochs, `val_fraction` of them is set aside to
    choose the best, near-duplicates on one side. Raises the errors of `graftwork.core.finetune`."""
    examples = _read(manifest, backbone)
    rows, val = examples, None
    plan = plan_run(backbone, parse_strategy(strategy), recipe, examples.manifest)
    if plan.solver == "gradient" and val_fraction > 0:
        numbered = replace(examples.manifest, rows=tuple(range(len(examples))))
        numbered, _ = with_near_duplicates(backbone.domain, numbered, "together")
        inside, outside, _ = numbered.split(recipe.seed, val_fraction=val_fraction, test_fraction=0.0)
        rows, val = examples.subset(inside.rows), examples.subset(outside.rows)
    return finetune(backbone, rows, val, strategy=strategy, recipe=recipe).adapter


@undisturbed()
def predict_paths(adapter: Adapter, X: Any, recipe: Recipe) -> NDArray[np.float64]:
    """The task's predictions (rows, …) for paths X (rows,), columns in the order of the adapter's classes.

    Frozen stages run once for every file, whichever estimator asks: what they give is kept in the cache. That of a
    single path is only looked up there: examples that come one by one would each leave a file behind.
    """
    paths = checked_examples(X)
    asked = Manifest("X", paths, adapter.task, "y", adapter.classes, np.zeros(len(paths)))
    examples = _read(asked, adapter.backbone)
    if recipe.views != 0:
        frontier = adapter.graft.plan.frontier
        ready = run_frozen_stages(
            adapter.backbone, examples, frontier, start_runtime(recipe), recipe, add=len(paths) > 1
        )
        examples = examples if ready is None else ready
    found = predict_examples(adapter, examples, batch_size=recipe.rows_together, device=recipe.device)
    return _a_row_a_path(examples.manifest, found, paths)


@undisturbed()
def stage_features(backbone: Backbone, stage: str, X: Any, recipe: Recipe) -> NDArray[np.float32]:
    """The output of a backbone's stage for paths X (rows,), pooled as `stages` does it: (rows, features), float32.

    One pass keeps the outputs of all stages in the cache, where a search over stages, and `stages` itself, find them;
    those of the last one are what a probe learns from. Those of a single path are only looked up.
    """
    paths = checked_examples(X)
    # No target is known; a number is what asks least of a backbone.
    examples = _read(Manifest("X", paths, REGRESSION, "y", (), np.zeros(len(paths))), backbone)
    names, runtime, add = [one.name for one in backbone.stages], start_runtime(recipe), len(paths) > 1
    if stage == names[-1] != FRAMES:
        ready = run_frozen_stages(backbone, examples, len(names), runtime, recipe, add=add)
        found = None if ready is None else vectors(ready)
    else:
        derived, outputs = with_every_stage(backbone)
        ready = run_frozen_stages(derived, examples, len(derived.stages), runtime, recipe, add=add)
        found = None if ready is None else vectors(ready)[:, outputs[names.index(stage)].columns("mean")]
    if found is None:
        raise TrainingError(f"the vectors of {len(examples)} examples cannot be kept")
    return _a_row_a_path(examples.manifest, found, paths)


def _read(manifest: Manifest, backbone: Backbone) -> Examples:
    """The examples, or their windows where the backbone asks for these."""
    return read_examples(cut_windows(backbone.domain, manifest, backbone.contract), backbone.contract)


def _a_row_a_path(manifest: Manifest, values: NDArray[Any], asked: Sequence[Example]) -> NDArray[Any]:
    """Values (rows of the manifest, …) as (paths, …): the mean over windows; a path may occur several times."""
    joined, means, _ = join_windows(manifest, values)
    place = {example: number for number, example in enumerate(joined.examples)}
    found: NDArray[Any] = means[[place[example] for example in asked]]
    return found
