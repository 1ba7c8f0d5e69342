"""From a backbone and a manifest to what was learnt: the way through plan, frozen stages, training and proof."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graftwork.core.activation_cache.activations import cached_inputs, run_frozen_stages, same_on_all_processes
from graftwork.core.activation_cache.compiled_stages import UNCOMPILED
from graftwork.core.compute.global_state import undisturbed
from graftwork.core.compute.runtime import Runtime, seed_everything, start_runtime
from graftwork.core.data.batches import with_epochs_for_updates
from graftwork.core.data.examples import Examples, read_examples
from graftwork.core.data.manifest import Manifest
from graftwork.core.data.patches import (
    fixed_patches,
    in_patches,
    patches_per_case,
    repeated,
    whole,
    with_batch_size,
)
from graftwork.core.data.views import all_views, view_count
from graftwork.core.data.windows import cut_windows
from graftwork.core.errors import SettingsError
from graftwork.core.inference.adapter import Adapter, make_adapter
from graftwork.core.model.backbone import Backbone, named_tensors, refuse_non_finite, suited
from graftwork.core.model.freezing_proof import FreezingProof, prove_frozen
from graftwork.core.model.graft import Graft, make_graft, plan_run
from graftwork.core.model.plan import Plan
from graftwork.core.model.stage_outputs import with_every_stage
from graftwork.core.model.strategies import Strategy, parse_strategy
from graftwork.core.recipe import EXECUTION_FIELDS, Recipe
from graftwork.core.training.checkpoint import remove_checkpoint
from graftwork.core.training.feature_choice import reads_stages
from graftwork.core.training.history import HistoryRow
from graftwork.core.training.loop import Checkpoints, OnEpoch, train
from graftwork.core.training.solved_heads import solve_head, start_head_at_probe, with_chosen_features
from graftwork.core.types import Augment

log = logging.getLogger(__name__)


@dataclass(frozen=True, repr=False)
class Run:
    """A finished training run: what was learnt, its history, and the proof that the rest did not move.

    best_epoch: counted from 1, 0 for a head that was solved and that no epoch has bettered; None for a probe, which has
    no epochs. rows: what it learnt from; val: what its epoch
    was chosen by, if anything.
    """

    adapter: Adapter
    history: tuple[HistoryRow, ...]
    proof: FreezingProof
    best_epoch: int | None
    rows: Manifest
    val: Manifest | None

    @property
    def still_improving(self) -> bool:
        """Whether the last epoch was the best of those that a validation part chose from."""
        last = self.history[-1]["epoch"] if self.history else None
        return self.val is not None and self.best_epoch is not None and self.best_epoch == last != 0

    def __repr__(self) -> str:
        learnt = f"{len(self.rows)} rows, solved" if self.best_epoch is None else (
            f"{len(self.rows)} rows, best epoch {self.best_epoch} of {int(self.history[-1]['epoch'] or 0)}"
            if self.history else f"{len(self.rows)} rows, no epoch"
        )  # fmt: skip
        return f"Run({learnt}; {self.adapter!r})"


@undisturbed()
def finetune(
    backbone: Backbone,
    train_rows: Manifest | Examples,
    val_rows: Manifest | Examples | None = None,
    *,
    strategy: str | Strategy = "probe",
    recipe: Recipe | None = None,
    augment: Augment | None = None,
    checkpoints: Path | None = None,
    resume: bool = False,
    on_epoch: OnEpoch | None = None,
) -> Run:
    """Adapts a copy of the backbone to the training rows; the backbone itself is left as it is.

    val_rows: choose the best epoch and stop the run early; without them the last epoch is kept. A probe
    needs none. augment: the random change used where the recipe turns augmentation on, by default that of the
    backbone's domain. checkpoints: a folder where the unfinished run is kept; `resume` takes up what is kept there.
    on_epoch: is told every finished epoch, in place of the log.

    Raises BackboneError for weights that are no numbers, SettingsError for a strategy that the backbone cannot carry
    and features that it has not, UnreadableError for files, TrainingError if the loss stops being finite, OutputError
    for a checkpoint that is damaged or of another run, FreezingError if a frozen tensor moved.

    >>> backbone = imaging.load_backbone("tiny:cnn2d", image_size=32)
    >>> train, val, test = imaging.read_manifest("scans.csv").split(seed=0)
    >>> run = core.finetune(backbone, train, val, strategy="probe")
    >>> run.adapter.save("runs/probe")
    >>> list(run.adapter.predict(test).columns)
    ['path', 'prediction', 'probability_healthy', 'probability_tumour']
    """
    asked = parse_strategy(strategy) if isinstance(strategy, str) else strategy
    task = (train_rows if isinstance(train_rows, Manifest) else train_rows.manifest).task
    backbone = suited(backbone, task)
    recipe = with_batch_size(recipe or Recipe(), task, backbone.contract)
    runtime = start_runtime(recipe)
    rows = same_on_all_processes(_examples(train_rows, backbone), runtime)
    val = (
        None if val_rows is None or not len(val_rows) else same_on_all_processes(_examples(val_rows, backbone), runtime)
    )
    plan = plan_run(backbone, asked, recipe, rows.manifest)
    if not recipe.epochs and plan.solver == "gradient" and plan.head_start != "probe":
        raise SettingsError(f"--epochs 0: {plan.strategy} learns nothing without epochs unless its head starts at the "
                            "probe")  # fmt: skip
    augment = (augment or backbone.domain.augment) if augmented(plan, recipe) else None
    features = None
    if reads_stages(plan, recipe.features):
        backbone, rows, features = with_chosen_features(backbone, rows, plan, recipe, runtime, augment)
    graft = new_graft(backbone, rows.manifest, asked, recipe)
    chosen = None if val is None or graft.plan.solver != "gradient" else val.manifest
    before = graft.frozen_digests()
    history: tuple[HistoryRow, ...] = ()
    best_epoch = None
    drawn_val, each = None, 1
    if rows.manifest.task.output == "maps":
        augment = in_patches(rows, changed=augment is not None)
        drawn_val = None if val is None else in_patches(val, changed=False)
        each = 1 if augment is None else patches_per_case(rows, recipe)
    if graft.plan.solver != "gradient":
        if recipe.head_start != "auto":
            log.warning("--head-start %s is not used: %s has no training that could start there", recipe.head_start,
                        graft.plan.strategy)  # fmt: skip
        if recipe.fsdp == "on":
            log.warning("--fsdp on is not used: %s has no training whose weights could be divided", graft.plan.strategy)
        solve_head(graft, rows, recipe, runtime, augment)
    else:
        kept = None
        if checkpoints is not None:
            settings = run_settings(backbone, rows, val, asked, recipe, augment)
            kept = Checkpoints(checkpoints, settings, 60 * recipe.checkpoint_minutes, resume)
        if graft.plan.head_start == "probe" and (kept is None or not resume):  # a resumed run has its head already
            start_head_at_probe(graft, backbone, rows, recipe, runtime)
        if graft.plan.frontier > 0:
            rows, val, augment = _beyond_frontier(graft, rows, val, recipe, runtime, augment, drawn_val, each)
        rows = cached_inputs(backbone, rows, runtime, recipe)
        val = None if val is None else cached_inputs(backbone, val, runtime, recipe)
        if drawn_val is not None and val is not None and val.stage == 0:
            val = fixed_patches(val, drawn_val, recipe)
        if each > 1:
            log.info("every epoch draws %d patches of each of %d cases", each, len(rows))
        drawn = repeated(rows, each)
        history, best_epoch = train(graft, drawn, val, recipe=with_epochs_for_updates(recipe, drawn), runtime=runtime,
                                    augment=augment, checkpoints=kept, on_epoch=on_epoch or log_epoch)  # fmt: skip
    runtime.release(graft).train(False)
    proof = prove_frozen(before, graft)
    if checkpoints is not None and runtime.rank == 0:
        remove_checkpoint(checkpoints)
    adapter = make_adapter(graft, rows.manifest, recipe, proof, best_epoch, runtime.record(), features)
    if recipe.compile == "on" and graft.plan.frontier > 0:
        blank = backbone.contract.collate([backbone.contract.blank()])
        if blank.lengths is not None:
            adapter.record["training"]["uncompiled"] = UNCOMPILED
    return Run(adapter, history, proof, best_epoch, rows.manifest, chosen)


@undisturbed()
def new_graft(backbone: Backbone, manifest: Manifest, strategy: Strategy, recipe: Recipe) -> Graft:
    """A copy of the backbone, or the same architecture afresh where the strategy begins at random weights, under a new
    head, frozen as planned.

    Raises BackboneError for weights that are no numbers, SettingsError for a strategy that the backbone cannot carry.
    """
    seed_everything(recipe.seed)
    own = backbone.copy()
    refuse_non_finite(named_tensors(own.network), backbone.id)
    if strategy.record.random_weights and backbone.build is not None:
        own = backbone.with_network(backbone.build().eval())
        seed_everything(recipe.seed)
    graft = make_graft(own, strategy, recipe, manifest.task, manifest.classes, len(manifest))
    if manifest.task.target_scale is not None and graft.plan.solver != "neighbours":
        mean, deviation = manifest.task.target_scale(manifest.values)
        graft.head.get_buffer("shift").fill_(mean)
        graft.head.get_buffer("scale").fill_(deviation)
    return graft


def augmented(plan: Plan, recipe: Recipe) -> bool:
    """Whether this run changes its training examples at random. Raises SettingsError for views without any change."""
    on = recipe.augment == "on" or (recipe.augment == "auto" and plan.frontier == 0)
    if recipe.views and recipe.views > 1 and not on:
        raise SettingsError(
            f"--views {recipe.views}: views of an example differ only with augmentation, which is off for "
            f"{plan.strategy}; add --augment on"
        )
    return on


@undisturbed()
def frozen_features(backbone: Backbone, examples: Examples, strategy: str | Strategy, recipe: Recipe) -> Examples:
    """The examples after all stages that the strategy leaves frozen, computed once; several runs, as those of folds,
    can share them: `finetune` takes them in place of the examples.

    They are returned as they are where nothing is frozen, where training changes them at random, or where the
    outputs cannot be kept. Raises SettingsError for a strategy that the backbone cannot carry.
    """
    manifest = examples.manifest
    asked = parse_strategy(strategy) if isinstance(strategy, str) else strategy
    backbone = suited(backbone, manifest.task)
    recipe = with_batch_size(recipe, manifest.task, backbone.contract)
    light = backbone.copy_sharing_tensors()
    graft = make_graft(light, asked, recipe, manifest.task, manifest.classes, len(manifest))
    drawn = manifest.task.output == "maps" and not whole(examples)
    if graft.plan.frontier == 0 or drawn or augmented(graft.plan, recipe):
        return examples
    if reads_stages(graft.plan, recipe.features):
        every = with_every_stage(backbone)[0]
        found = run_frozen_stages(every, examples, len(every.stages), start_runtime(recipe), recipe)
        return examples if found is None else found
    found = run_frozen_stages(graft.backbone, examples, graft.plan.frontier, start_runtime(recipe), recipe)
    return examples if found is None else found


def _beyond_frontier(
    graft: Graft, rows: Examples, val: Examples | None, recipe: Recipe, runtime: Runtime, augment: Augment | None,
    drawn_val: Augment | None, fewest: int,
) -> tuple[Examples, Examples | None, Augment | None]:  # fmt: skip
    """Both parts after the frozen stages, and no random change any more: it is in the views; or all as it was where
    that cannot be kept. Validation rows are never changed; `drawn_val` only draws pieces of them. fewest: views of
    every row, unless the recipe says how many."""
    if recipe.views == 0 and (augment is not None or drawn_val is not None):
        return rows, val, augment
    frontier = graft.plan.frontier
    views = view_count(recipe) if recipe.views is not None else max(view_count(recipe), fewest)
    stored = run_frozen_stages(graft.backbone, rows, frontier, runtime, recipe, augment, views=views)
    if stored is None:
        return rows, val, augment
    stored_val = None if val is None else run_frozen_stages(graft.backbone, val, frontier, runtime, recipe, drawn_val)
    return stored, (val if stored_val is None else all_views(stored_val)), None


def _examples(data: Manifest | Examples, backbone: Backbone) -> Examples:
    if isinstance(data, Examples):
        return data
    return read_examples(cut_windows(backbone.domain, data, backbone.contract), backbone.contract,
                         frames=backbone.frames)  # fmt: skip


def run_settings(
    backbone: Backbone,
    rows: Examples,
    val: Examples | None,
    strategy: Strategy,
    recipe: Recipe,
    augment: Augment | None,
    weights: str | None = None,
) -> dict[str, Any]:
    """What a resumed run must share with the interrupted one. weights: the backbone's digest, where it is known."""
    return {
        "strategy": str(strategy),
        "backbone": weights or backbone.digest(),
        "input contract": backbone.contract.to_json(),
        "training data": rows.manifest.fingerprints(),
        "validation data": None if val is None else val.manifest.fingerprints(),
        "augmentation": augment is not None,
        **{name: value for name, value in dataclasses.asdict(recipe).items() if name not in EXECUTION_FIELDS},
    }


def log_epoch(row: HistoryRow) -> None:
    """A line for a finished epoch."""
    log.info("  ".join(f"{name} {value:g}" for name, value in row.items() if value is not None))
