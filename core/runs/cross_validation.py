"""A model evaluated fold by fold: every row is predicted by a model that did not see its fold."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graftwork.core.compute.global_state import undisturbed
from graftwork.core.compute.runtime import is_first, start_runtime
from graftwork.core.data.examples import Examples, Unreadable
from graftwork.core.data.folds import Folds
from graftwork.core.data.manifest import Manifest
from graftwork.core.data.patches import with_batch_size
from graftwork.core.data.sentences import apart_in_sentences, sentence_caution, shared_sentences
from graftwork.core.errors import OutputError
from graftwork.core.evaluation.evaluation import EvaluatedPart, Evaluation, Repeat
from graftwork.core.evaluation.leakage import Leakage, find_leakage
from graftwork.core.files import plain_numbers, read_checked_json, write_checked_json
from graftwork.core.inference.adapter_record import RECORD
from graftwork.core.inference.predict import evaluate_part
from graftwork.core.model.backbone import Backbone, suited
from graftwork.core.model.plan import Plan
from graftwork.core.model.strategies import Strategy, parse_strategy
from graftwork.core.recipe import Recipe
from graftwork.core.runs.rows import RowOptions, read_rows
from graftwork.core.runs.run_folder import prediction_table
from graftwork.core.runs.setup import (
    MIXED,
    RandomSplit,
    Setup,
    after_frozen_stages,
    check_setup,
    evaluated_with_groups_mixed,
    part_rows,
    predict_with,
    run_setup,
    sets_aside,
    warn_of_absent_classes,
    without_groups,
)
from graftwork.core.training.finetuning import run_settings
from graftwork.core.types import NearDuplicatesMode

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

OnFold = Callable[[int, NDArray[np.int64], NDArray[np.float64]], None]
"""`on_fold(fold, rows, predictions)`, with the numbers of the fold's rows (rows,) and their predictions (rows, …)."""

OUT_OF_FOLD = "out-of-fold"
"""What the rows are called that a model predicted which did not see their fold."""


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """part: every row with its out-of-fold prediction and fold, and their evaluation. best_epochs: of every fold; None
    where nothing is trained in epochs. leakage: what groups have to do with the score, where that was asked for.
    still_improving: number of folds whose last epoch was the best. left_out: examples that could not be read. ready:
    all examples after the frozen stages, from which a run on every row may go on. cautions: sentences that the metrics
    must not be read without."""

    part: EvaluatedPart
    best_epochs: tuple[int | None, ...]
    still_improving: int = 0
    leakage: Leakage | None = None
    left_out: tuple[Unreadable, ...] = ()
    ready: Examples | None = field(default=None, repr=False)
    cautions: tuple[str, ...] = ()

    @property
    def evaluation(self) -> Evaluation:
        return self.part.evaluation

    def to_frame(self) -> pd.DataFrame:
        """One row for every example, as in `predictions.csv`: path, row, part, fold, group, target, predictions."""
        return prediction_table([self.part])

    def __repr__(self) -> str:
        return f"CrossValidation({len(self.evaluation.folds)} folds)\n{self.evaluation}"


@undisturbed()
def cross_validate(
    backbone: Backbone, data: Manifest | Examples, *, strategy: str | Strategy = "probe", folds: int | None = None,
    leave_out: str | None = None, repeats: int = 1, recipe: Recipe | None = None, val_fraction: float = 0.2,
    random_split: RandomSplit = "auto", near_duplicates: NearDuplicatesMode = "together", allow_leaks: bool = False,
    skip_unreadable: bool = False,
) -> CrossValidation:  # fmt: skip
    """Evaluates a strategy on this backbone: every row is predicted by a model that did not see its fold.

    Groups are never separated, and a split column is ignored. Nothing is written, and no adapter is kept: `train` with
    `folds` does both. folds: how many are drawn, 5 by default; leave_out: instead, a column that the manifest was read
    with, whose every value is a fold. repeats: how often folds are drawn anew; metrics are means over them, and their
    intervals include how much they differ. val_fraction: share of the training rows that chooses the best epoch in each
    fold; what is solved needs none. random_split: evaluate a second time with rows of a group on both sides, "auto"
    where it costs little. near_duplicates, allow_leaks: as of `RowOptions`.

    Raises SettingsError for what cannot work, ManifestError for a group in several sites, UnreadableError that lists
    all files that cannot be read unless they are skipped, and what `finetune` raises.

    >>> backbone = imaging.load_backbone("tiny:cnn2d", image_size=32)
    >>> found = core.cross_validate(backbone, imaging.read_manifest("scans.csv"), strategy="knn", folds=3)
    >>> len(found.to_frame()), len(found.evaluation.folds)
    (24, 3)
    """
    recipe = recipe or Recipe()
    drawn = Folds(5 if folds is None and leave_out is None else folds, leave_out, repeats)
    runtime = start_runtime(recipe)
    given = data if isinstance(data, Manifest) else data.manifest
    backbone = suited(backbone, given.task)
    recipe = with_batch_size(recipe, given.task, backbone.contract)
    asked = parse_strategy(strategy) if isinstance(strategy, str) else strategy
    if isinstance(data, Manifest):
        options = RowOptions(skip_unreadable, near_duplicates, allow_leaks, leave_out)
        examples = read_rows(backbone, replace(data, parts=None), runtime, options).examples
    else:
        examples = replace(data, manifest=replace(given, parts=None))
    setup = Setup(backbone, asked, recipe, random_split=random_split)
    return replace(cross_validate_setup(setup, examples, drawn, val_fraction), ready=None)


def cross_validate_setup(
    setup: Setup, examples: Examples, folds: Folds, val_fraction: float, on_fold: OnFold | None = None
) -> CrossValidation:
    """Evaluates every row by a model that did not see its fold.

    Within each fold a validation part is set aside from the training rows to choose the epoch. on_fold: is told of
    every fold of the first repeat; what it raises ends the evaluation. Raises SettingsError for what cannot work.
    """
    plan = check_setup(setup, examples.manifest, folds, val_fraction, 0.0)
    manifest = examples.manifest
    numbers = [folds.numbers(manifest, setup.recipe.seed, repeat) for repeat in range(folds.repeats)]
    apart = [(np.flatnonzero(number != fold), np.flatnonzero(number == fold)) for number in numbers
             for fold in np.unique(number)]  # fmt: skip
    cautions = warn_of_absent_classes([manifest.subset(inside) for inside, _ in apart])
    cautions += sentence_caution([shared_sentences(manifest, inside, outside) for inside, outside in apart])
    ready = after_frozen_stages(setup, examples)
    predicted, best, improving = [], list[int | None](), 0
    for repeat, number in enumerate(numbers):
        if len(numbers) > 1:
            log.info("repeat %d of %d", repeat + 1, len(numbers))
        below = setup.below("folds") if repeat == 0 else setup.below(f"folds-{repeat + 1}")
        recipe = replace(below.recipe, seed=setup.recipe.seed + repeat)
        again = replace(below, recipe=recipe, keep_folds=setup.keep_folds and repeat == 0)
        predictions, epochs, unfinished = predict_folds(again, plan, ready, number, folds.names(manifest), val_fraction,
                                                        on_fold if repeat == 0 else None)  # fmt: skip
        predicted.append(predictions)
        best += epochs
        improving += unfinished
    others = [Repeat(own, number) for own, number in zip(predicted[1:], numbers[1:], strict=True)]
    part = evaluate_part(OUT_OF_FOLD, manifest, predicted[0], numbers[0], others)
    leakage = None
    if folds.leave_out is None and evaluated_with_groups_mixed(setup, plan, manifest):
        log.info("the same folds with groups on both sides")
        mixed = without_groups(ready)
        number = folds.numbers(mixed.manifest, setup.recipe.seed)
        below = replace(setup.below(MIXED), keep_folds=False)
        found, _, _ = predict_folds(below, plan, mixed, number, folds.names(manifest), val_fraction)
        once = evaluate_part(OUT_OF_FOLD, manifest, predicted[0], numbers[0]) if others else part
        leakage = find_leakage(once, evaluate_part(OUT_OF_FOLD, manifest, found, number))
    return CrossValidation(part, tuple(best), improving, leakage, examples.left_out, ready, cautions)


def with_epochs_of_folds(recipe: Recipe, best_epochs: tuple[int | None, ...]) -> Recipe:
    """The recipe for all rows, which have no validation part: the median of the folds' best epochs."""
    trained = [epoch for epoch in best_epochs if epoch is not None]
    if not trained:
        return recipe
    epochs = round(float(np.median(trained)))
    log.info("training on all rows for %d epochs, the median of the folds' best", epochs)
    return replace(recipe, epochs=epochs, updates=None)


def predict_folds(
    setup: Setup, plan: Plan, ready: Examples, number: NDArray[np.int64], names: Sequence[str], val_fraction: float,
    on_fold: OnFold | None = None,
) -> tuple[NDArray[np.float64], list[int | None], int]:  # fmt: skip
    """The prediction of every row by a model that did not see its fold, the folds' best epochs, and in how many folds
    the last one was the best. number: the fold of every row (rows,). names: of the folds. on_fold: is told of each."""
    found: dict[int, tuple[NDArray[np.int64], NDArray[np.float64]]] = {}
    best: list[int | None] = []
    improving = 0
    weights = setup.backbone.digest()
    for fold, name in enumerate(names):
        outside = np.flatnonzero(number == fold)
        inside = apart_in_sentences(ready.manifest, np.flatnonzero(number != fold), outside)
        result = _fold(setup.below(str(fold + 1)), plan, ready, inside, outside, val_fraction, weights)
        log.info("fold %s of %d done", name, len(names))
        values = np.asarray(result["predictions"], dtype=np.float64)
        found[fold] = (outside, values)
        if on_fold is not None:
            on_fold(fold, outside, values)
        best.append(result["best_epoch"])
        improving += bool(result.get("still_improving"))
    # Transcripts of different folds are rows of different length, zeros behind.
    shape = np.max([values.shape[1:] for _, values in found.values()], axis=0).astype(int)
    predictions = np.zeros((len(ready), *shape))
    for outside, values in found.values():
        width = [(0, 0), *((0, most - own) for most, own in zip(shape, values.shape[1:], strict=True))]
        predictions[outside] = np.pad(values, width)
    return predictions, best, improving


def _fold(
    setup: Setup,
    plan: Plan,
    ready: Examples,
    inside: NDArray[np.int64],
    outside: NDArray[np.int64],
    val_fraction: float,
    weights: str,
) -> dict[str, Any]:
    """Best epoch, freezing proof and predictions of one fold; read from its file where a resumed run has it."""
    path, recipe = None if setup.folder is None else setup.folder / "fold.json", setup.recipe
    rows, val = ready.subset(inside), None
    if sets_aside(plan, val_fraction):
        parts = part_rows(replace(rows.manifest, parts=None), recipe.seed, val_fraction, 0.0)
        rows, val = rows.subset(parts["train"]), rows.subset(parts["val"])
    evaluated = ready.subset(outside)
    made_from = json.loads(json.dumps(
        run_settings(setup.backbone, rows, val, setup.strategy, recipe, setup.backbone.domain.augment, weights)
        | {"test data": evaluated.manifest.fingerprints()}
    ))  # fmt: skip
    kept = setup.folder is None or not setup.keep_folds or (setup.folder / RECORD).is_file()
    if setup.resume and path is not None and path.exists() and kept:
        return _finished_fold(path, made_from)
    run = run_setup(setup, rows, val)
    found = predict_with(run, evaluated, recipe)
    result = {
        "made_from": made_from,
        "best_epoch": run.best_epoch,
        "still_improving": run.still_improving,
        "frozen": dataclasses.asdict(run.proof),
        "predictions": plain_numbers(found),
    }
    if path is not None and is_first():
        if setup.keep_folds:
            run.adapter.save(path.parent)
        write_checked_json(path, result)
    return result


def _finished_fold(path: Path, made_from: dict[str, Any]) -> dict[str, Any]:
    """What a fold's file says. Raises OutputError where it is damaged, or was made from something else."""
    try:
        done = read_checked_json(path)
        if "made_from" not in done:
            raise ValueError("it does not say what it was made from, as of an earlier version")
        missing = {"best_epoch", "predictions"} - done.keys()
        if missing:
            raise ValueError(f"there is no {', '.join(sorted(missing))}")
        known = done["made_from"]
        changed = sorted(name for name in made_from if known.get(name) != made_from[name])
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise OutputError(f"{path}: cannot be read ({error}); delete it, and the fold is trained anew") from error
    if changed:
        raise OutputError(f"{path}: the finished fold had another {', '.join(changed)}; resume with the same, or "
                          "delete it")  # fmt: skip
    return done
