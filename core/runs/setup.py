"""What training runs share, whether they are evaluated on a part or fold by fold: the checks, the parts, one run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from graftwork.core.compute.runtime import is_first
from graftwork.core.data.examples import Examples
from graftwork.core.data.folds import Folds
from graftwork.core.data.manifest import PARTS, Manifest
from graftwork.core.data.sentences import apart_in_sentences
from graftwork.core.data.windows import has_windows
from graftwork.core.errors import SettingsError
from graftwork.core.inference.predict import predict_examples
from graftwork.core.model.backbone import Backbone, named_tensors, refuse_non_finite
from graftwork.core.model.graft import plan_run
from graftwork.core.model.plan import Plan
from graftwork.core.model.stage_outputs import stage_outputs
from graftwork.core.model.strategies import Strategy
from graftwork.core.recipe import Recipe
from graftwork.core.runs.tracking import Tracking
from graftwork.core.training.checkpoint import has_checkpoint
from graftwork.core.training.feature_choice import check_features, reads_stages
from graftwork.core.training.finetuning import Run, augmented, finetune, frozen_features, log_epoch
from graftwork.core.training.history import HistoryRow, write_history

log = logging.getLogger(__name__)

RandomSplit = Literal["auto", "on", "off"]
MIXED = "random_split"
"""Folder of what is trained with groups on both sides."""


@dataclass(frozen=True)
class Setup:
    """How models are trained: a strategy on a backbone by a recipe.

    folder: where checkpoints and histories go; None for nowhere. resume: go on with what is kept there. restart: remove
    what is kept there. random_split: whether the model is also evaluated with groups on both sides; "auto" is where
    solving it again costs little. keep_folds: the model of every fold is kept in its folder, as an adapter. tracked: is
    told how the run in this folder goes; those below it tell nobody.
    """

    backbone: Backbone
    strategy: Strategy
    recipe: Recipe
    folder: Path | None = None
    resume: bool = False
    restart: bool = False
    random_split: RandomSplit = "off"
    tracked: Tracking | None = None
    keep_folds: bool = False

    def below(self, *names: str) -> Setup:
        """The same in a folder further down."""
        return self if self.folder is None else replace(self, folder=self.folder.joinpath(*names), tracked=None)


def check_setup(
    setup: Setup, manifest: Manifest, folds: Folds | None, val_fraction: float, test_fraction: float
) -> Plan:
    """The plan. Goes through it and the parts without training: what cannot work is known before a folder is made.

    Raises BackboneError for weights that are no numbers, SettingsError for a strategy that the backbone cannot carry,
    features that it has not, fractions or folds that leave a part empty, and a training part with one class only.
    """
    for name, fraction in (("--val-fraction", val_fraction), ("--test-fraction", test_fraction)):
        if not 0 <= fraction < 1:
            raise SettingsError(f"{name}: expected at least 0 and below 1, found {fraction}")
    recipe, backbone = setup.recipe, setup.backbone
    refuse_non_finite(named_tensors(backbone.network), backbone.id)
    plan = plan_run(backbone, setup.strategy, recipe, manifest)
    augmented(plan, recipe)
    if reads_stages(plan, recipe.features):
        check_features(stage_outputs(backbone), recipe.features)
    if folds is None:
        parts = part_rows(manifest, recipe.seed, val_fraction, test_fraction)
        if not len(parts["test"]) and not len(parts["val"]):
            raise SettingsError("neither a test nor a validation part: give --test-fraction, --folds or a split column")
        _check_trainable(manifest.subset(parts["train"]), "the training part")
        return plan
    names = folds.names(manifest)
    for repeat in range(folds.repeats):
        number = folds.numbers(manifest, recipe.seed, repeat)
        for fold, name in enumerate(names):
            rows = manifest.subset(number != fold)
            if sets_aside(plan, val_fraction):
                rows = rows.subset(part_rows(replace(rows, parts=None), recipe.seed, val_fraction, 0.0)["train"])
            _check_trainable(rows, f"fold {name} of {len(names)}: the training part")
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


def warn_of_absent_classes(parts: Sequence[Manifest]) -> tuple[str, ...]:
    """A caution for every class of which some training parts have no row; each is said."""
    found: list[str] = []
    if not parts or not parts[0].task.one_class:
        return ()
    for place, name in enumerate(parts[0].classes):
        without = sum(not (np.asarray(part.values) == place).any() for part in parts)
        if without:
            where = "the training part has" if len(parts) == 1 else f"{without} of {len(parts)} training parts have"
            found.append(f"{where} no row of {name!r}: nothing is learnt of it there")
            log.warning("%s", found[-1])
    return tuple(found)


def sets_aside(plan: Plan, val_fraction: float) -> bool:
    """Whether training rows give up a validation part; what is solved has no epochs to choose from."""
    return val_fraction > 0 and plan.solver == "gradient"


def evaluated_with_groups_mixed(setup: Setup, plan: Plan, manifest: Manifest) -> bool:
    """Whether the model is evaluated a second time, with groups on both sides."""
    if manifest.groups is None or len(set(manifest.groups)) == len(manifest) or has_windows(manifest):
        return False
    return setup.random_split == "on" or (setup.random_split == "auto" and plan.solver != "gradient")


def without_groups(examples: Examples) -> Examples:
    return replace(examples, manifest=replace(examples.manifest, groups=None))


def run_setup(setup: Setup, rows: Examples, val: Examples | None) -> Run:
    """One training run; its history is written where the setup has a folder."""
    folder = setup.folder
    resume = setup.resume and folder is not None and has_checkpoint(folder)
    learn = finetune if setup.tracked is None else partial(finetune, on_epoch=_told(setup.tracked))
    run = learn(setup.backbone, rows, val, strategy=setup.strategy, recipe=setup.recipe, checkpoints=folder,
                resume=resume)  # fmt: skip
    if folder is not None and is_first():
        write_history(folder, run.history)
    return run


def _told(tracked: Tracking) -> Callable[[HistoryRow], None]:
    """What tells a tracker of an epoch, beside the log."""

    def tell(row: HistoryRow) -> None:
        log_epoch(row)
        tracked.epoch(row)

    return tell


def predict_with(run: Run, rows: Examples, recipe: Recipe) -> NDArray[np.float64]:
    """The run's predictions (rows, …), on the device of the recipe."""
    return predict_examples(run.adapter, rows, batch_size=recipe.rows_together, device=recipe.device)


def after_frozen_stages(setup: Setup, examples: Examples) -> Examples:
    """The examples after the frozen stages, computed once for all folds and parts."""
    return frozen_features(setup.backbone, examples, setup.strategy, setup.recipe)


def part_rows(manifest: Manifest, seed: int, val_fraction: float, test_fraction: float) -> dict[str, NDArray[np.int64]]:
    """The rows of "train", "val" and "test", apart in sentences where texts are learnt."""
    numbered = replace(manifest, rows=tuple(range(len(manifest))))
    parts = numbered.split(seed, val_fraction=val_fraction, test_fraction=test_fraction)
    found = {name: np.asarray(part.rows, dtype=np.int64) for name, part in zip(PARTS, parts, strict=True)}
    for name in ("train", "val"):
        found[name] = apart_in_sentences(manifest, found[name], found["test"])
    return found
