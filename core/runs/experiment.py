"""How a `train` is judged: on a part that training never saw, or fold by fold, and what is kept at the end."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from graftwork.core.compute.global_state import undisturbed
from graftwork.core.compute.runtime import is_first
from graftwork.core.data.examples import Examples
from graftwork.core.data.manifest import PARTS, Manifest
from graftwork.core.data.sentences import apart_in_sentences
from graftwork.core.data.windows import has_windows
from graftwork.core.errors import OutputError, SettingsError
from graftwork.core.evaluation.evaluation import EvaluatedPart
from graftwork.core.evaluation.leakage import Leakage, find_leakage
from graftwork.core.files import plain_numbers, read_checked_json, write_checked_json
from graftwork.core.inference.predict import evaluate_part, predict
from graftwork.core.model.backbone import Backbone, named_tensors, refuse_non_finite
from graftwork.core.model.graft import plan_run
from graftwork.core.model.plan import Plan
from graftwork.core.model.strategies import Strategy
from graftwork.core.recipe import Recipe
from graftwork.core.training.finetuning import Run, augmented, finetune, frozen_features, run_settings
from graftwork.core.training.history import write_history
from graftwork.core.types import Augment

log = logging.getLogger(__name__)

RandomSplit = Literal["auto", "on", "off"]
MIXED = "random_split"
"""Folder of what is trained with groups on both sides."""


@dataclass(frozen=True)
class Experiment:
    """What is tried: a strategy on a backbone by a recipe. folder: where checkpoints and histories go. random_split:
    whether the model is also judged with groups on both sides; "auto" is where solving it again costs little."""

    backbone: Backbone
    strategy: Strategy
    recipe: Recipe
    augment: Augment
    folder: Path
    resume: bool
    random_split: RandomSplit = "off"


@dataclass(frozen=True)
class Outcome:
    """judged: the parts with their predictions, the test last. run: the one whose adapter is kept. leakage: what
    groups have to do with the score, where that was asked for. cautions: sentences that the numbers must not be read
    without."""

    judged: tuple[EvaluatedPart, ...]
    run: Run
    leakage: Leakage | None = None
    cautions: tuple[str, ...] = ()


def check_experiment(
    experiment: Experiment, manifest: Manifest, folds: int | None, val_fraction: float, test_fraction: float
) -> Plan:
    """The plan. Goes through it and the parts without training: what cannot work is known before a folder is made.

    Raises BackboneError for weights that are no numbers, SettingsError for a strategy that the backbone cannot carry,
    fractions or folds that leave a part empty, and a training part with one class only.
    """
    for name, fraction in (("--val-fraction", val_fraction), ("--test-fraction", test_fraction)):
        if not 0 <= fraction < 1:
            raise SettingsError(f"{name}: expected at least 0 and below 1, found {fraction}")
    recipe, backbone = experiment.recipe, experiment.backbone
    refuse_non_finite(named_tensors(backbone.network), backbone.id)
    plan = plan_run(backbone, experiment.strategy, recipe, manifest)
    augmented(plan, recipe)
    if folds is None:
        parts = _part_rows(manifest, recipe.seed, val_fraction, test_fraction)
        if not len(parts["test"]) and not len(parts["val"]):
            raise SettingsError("neither a test nor a validation part: give --test-fraction, --folds or a split column")
        _check_trainable(manifest.subset(parts["train"]), "the training part")
        return plan
    number = manifest.fold_numbers(folds, recipe.seed)
    for fold in range(folds):
        rows = manifest.subset(number != fold)
        if _sets_aside(plan, val_fraction):
            rows = rows.subset(_part_rows(replace(rows, parts=None), recipe.seed, val_fraction, 0.0)["train"])
        _check_trainable(rows, f"fold {fold + 1} of {folds}: the training part")
    return plan


def _check_trainable(rows: Manifest, what: str) -> None:
    if not rows.task.one_class:
        return
    found = np.unique(rows.values)
    if len(found) < 2:
        raise SettingsError(
            f"{what} has rows of one class only, {rows.classes[int(found[0])]!r} ({len(rows)} rows): rows of a group, "
            "and files with the same content, stay together, so every class needs more groups than there are parts"
        )


def _warn_of_absent_classes(parts: Sequence[Manifest]) -> None:
    """Names the classes of which some training parts have no row."""
    if not parts or not parts[0].task.one_class:
        return
    for place, name in enumerate(parts[0].classes):
        without = sum(not (np.asarray(part.values) == place).any() for part in parts)
        if without:
            log.warning("%d of %d training parts have no row of %r: nothing is learnt of it there", without, len(parts),
                        name)  # fmt: skip


def _sets_aside(plan: Plan, val_fraction: float) -> bool:
    """Whether training rows give up a validation part; what is solved has no epochs to choose from."""
    return val_fraction > 0 and plan.solver == "gradient"


@undisturbed()
def hold_out(experiment: Experiment, examples: Examples, val_fraction: float, test_fraction: float) -> Outcome:
    """Trains on the training part, with the validation part choosing the epoch; judges val and test.

    Raises SettingsError for what cannot work.
    """
    plan = check_experiment(experiment, examples.manifest, None, val_fraction, test_fraction)
    recipe, own = experiment.recipe, examples.manifest.parts
    tested = test_fraction > 0 if own is None else "test" in own
    if tested and plan.solver != "gradient":
        val_fraction = 0.0  # there is no epoch to choose: all rows but the test's are for training
    parts = _part_rows(examples.manifest, recipe.seed, val_fraction, test_fraction)
    _warn_of_absent_classes([examples.manifest.subset(parts["train"])])
    ready = _prepared(experiment, examples)
    run = _run(experiment, ready.subset(parts["train"]), ready.subset(parts["val"]), experiment.folder)
    judged = []
    for part in ("val", "test"):
        if len(parts[part]):
            rows = ready.subset(parts[part])
            judged.append(
                evaluate_part(
                    part,
                    rows.manifest,
                    predict(run.adapter, rows, batch_size=recipe.batch_size, device=recipe.device),
                )
            )
    leakage = None
    if _mixes(experiment, plan, examples.manifest) and own is None and len(parts["test"]):
        mixed = _without_groups(ready)
        drawn = _part_rows(mixed.manifest, recipe.seed, val_fraction, test_fraction)
        other = _run(experiment, mixed.subset(drawn["train"]), mixed.subset(drawn["val"]), experiment.folder / MIXED)
        rows = ready.subset(drawn["test"])
        found = predict(other.adapter, rows, batch_size=recipe.batch_size, device=recipe.device)
        leakage = find_leakage(judged[-1], evaluate_part("test", rows.manifest, found))
    return Outcome(tuple(judged), run, leakage)


@undisturbed()
def cross_validate(experiment: Experiment, examples: Examples, folds: int, val_fraction: float) -> Outcome:
    """Judges every row by a model that did not see its fold, then trains on everything.

    Within each fold a validation part is set aside from the training rows to choose the epoch; the final run
    has none and takes the median of the folds' best epochs. Raises SettingsError for what cannot work.
    """
    plan = check_experiment(experiment, examples.manifest, folds, val_fraction, 0.0)
    recipe, manifest = experiment.recipe, examples.manifest
    folded = manifest.fold_numbers(folds, recipe.seed)
    _warn_of_absent_classes([manifest.subset(folded != fold) for fold in range(folds)])
    ready = _prepared(experiment, examples)
    place = experiment.folder / "folds"
    number, predictions, best = _predict_folds(experiment, plan, ready, folds, val_fraction, place)
    judged = evaluate_part("test", manifest, predictions, number)
    leakage = None
    if _mixes(experiment, plan, manifest):
        log.info("the same folds with groups on both sides")
        mixed = experiment.folder / MIXED
        other, found, _ = _predict_folds(experiment, plan, _without_groups(ready), folds, val_fraction, mixed)
        leakage = find_leakage(judged, evaluate_part("test", manifest, found, other))
    final = experiment
    trained = [epoch for epoch in best if epoch is not None]
    if trained:
        epochs = max(1, round(float(np.median(trained))))
        final = replace(experiment, recipe=replace(recipe, epochs=epochs))
        log.info("training on all rows for %d epochs, the median of the folds' best", epochs)
    run = _run(final, ready, None, experiment.folder)
    return Outcome((judged,), run, leakage)


def _predict_folds(
    experiment: Experiment, plan: Plan, ready: Examples, folds: int, val_fraction: float, folder: Path
) -> tuple[NDArray[np.int64], NDArray[np.float64], list[int | None]]:
    """The fold of every row, its prediction by a model that did not see that fold, and the folds' best epochs."""
    number = ready.manifest.fold_numbers(folds, experiment.recipe.seed)
    found: dict[int, tuple[NDArray[np.int64], NDArray[np.float64]]] = {}
    best: list[int | None] = []
    weights = experiment.backbone.digest()
    for fold in range(folds):
        outside = np.flatnonzero(number == fold)
        inside = apart_in_sentences(ready.manifest, np.flatnonzero(number != fold), outside)
        result = _fold(experiment, plan, ready, inside, outside, val_fraction, folder / str(fold + 1), weights)
        log.info("fold %d of %d done", fold + 1, folds)
        values = np.asarray(result["predictions"], dtype=np.float64)
        found[fold] = (outside, values)
        best.append(result["best_epoch"])
    # Transcripts of different folds are rows of different length, zeros behind.
    shape = np.max([values.shape[1:] for _, values in found.values()], axis=0).astype(int)
    predictions = np.zeros((len(ready), *shape))
    for outside, values in found.values():
        width = [(0, 0), *((0, most - own) for most, own in zip(shape, values.shape[1:], strict=True))]
        predictions[outside] = np.pad(values, width)
    return number, predictions, best


def _mixes(experiment: Experiment, plan: Plan, manifest: Manifest) -> bool:
    """Whether the model is judged a second time, with groups on both sides."""
    if manifest.groups is None or len(set(manifest.groups)) == len(manifest) or has_windows(manifest):
        return False
    return experiment.random_split == "on" or (experiment.random_split == "auto" and plan.solver != "gradient")


def _without_groups(examples: Examples) -> Examples:
    return replace(examples, manifest=replace(examples.manifest, groups=None))


def _fold(
    experiment: Experiment,
    plan: Plan,
    ready: Examples,
    inside: NDArray[np.int64],
    outside: NDArray[np.int64],
    val_fraction: float,
    folder: Path,
    weights: str,
) -> dict[str, Any]:
    """Best epoch, freezing proof and predictions of one fold; read from its file where a resumed run has it."""
    path = folder / "fold.json"
    recipe = experiment.recipe
    rows, val = ready.subset(inside), None
    if _sets_aside(plan, val_fraction):
        parts = _part_rows(replace(rows.manifest, parts=None), recipe.seed, val_fraction, 0.0)
        rows, val = rows.subset(parts["train"]), rows.subset(parts["val"])
    judged = ready.subset(outside)
    made_from = json.loads(json.dumps(
        run_settings(experiment.backbone, rows, val, experiment.strategy, recipe, experiment.augment, weights)
        | {"test data": judged.manifest.fingerprints()}
    ))  # fmt: skip
    if experiment.resume and path.exists():
        return _finished_fold(path, made_from)
    run = _run(experiment, rows, val, folder)
    found = predict(run.adapter, judged, batch_size=recipe.batch_size, device=recipe.device)
    result = {
        "made_from": made_from,
        "best_epoch": run.best_epoch,
        "frozen": dataclasses.asdict(run.proof),
        "predictions": plain_numbers(found),
    }
    if is_first():
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


def _run(experiment: Experiment, rows: Examples, val: Examples | None, folder: Path) -> Run:
    from graftwork.core.training.checkpoint import NAME

    run = finetune(
        experiment.backbone, rows, val, strategy=experiment.strategy, recipe=experiment.recipe,
        augment=experiment.augment, checkpoints=folder, resume=experiment.resume and (folder / NAME).exists(),
    )  # fmt: skip
    if is_first():
        write_history(folder, run.history)
    return run


def _prepared(experiment: Experiment, examples: Examples) -> Examples:
    """The examples after the frozen stages, computed once for all folds and parts."""
    return frozen_features(experiment.backbone, examples, experiment.strategy, experiment.recipe)


def _part_rows(
    manifest: Manifest, seed: int, val_fraction: float, test_fraction: float
) -> dict[str, NDArray[np.int64]]:
    numbered = replace(manifest, rows=tuple(range(len(manifest))))
    parts = numbered.split(seed, val_fraction=val_fraction, test_fraction=test_fraction)
    found = {name: np.asarray(part.rows, dtype=np.int64) for name, part in zip(PARTS, parts, strict=True)}
    for name in ("train", "val"):
        found[name] = apart_in_sentences(manifest, found[name], found["test"])
    return found
