"""From a backbone and a manifest to what was learnt: the way through plan, frozen stages, training and proof."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from graftwork.core.activations import precompute, vectors
from graftwork.core.adapter import Adapter, make_adapter
from graftwork.core.backbone import Backbone
from graftwork.core.checkpoint import remove_checkpoint
from graftwork.core.content import content_digests
from graftwork.core.domain import Augment
from graftwork.core.errors import TrainingError
from graftwork.core.examples import Examples, read_examples
from graftwork.core.freezing import FreezingProof, prove_frozen
from graftwork.core.graft import Graft
from graftwork.core.heads import Head, output_count
from graftwork.core.history import HistoryRow
from graftwork.core.manifest import Manifest
from graftwork.core.probes import fit_probe
from graftwork.core.recipe import Recipe
from graftwork.core.runtime import Runtime, seed_everything, start_runtime
from graftwork.core.strategies import Strategy, make_plan, parse_strategy
from graftwork.core.training import Checkpoints, OnEpoch, train

log = logging.getLogger(__name__)

CHECKPOINT_SECONDS = 300.0
"""Within long epochs the run is kept this often; at the end of each epoch always."""


@dataclass(frozen=True)
class Run:
    """A finished training run: what was learnt, its course, and the proof that the rest did not move.

    best_epoch: counted from 1; None for a probe, which has no epochs.
    """

    adapter: Adapter
    history: tuple[HistoryRow, ...]
    proof: FreezingProof
    best_epoch: int | None


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
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    on_epoch: OnEpoch | None = None,
) -> Run:
    """Adapts a copy of the backbone to the training rows; the backbone itself is left as it is.

    val_rows: choose the best epoch and stop the run early; without them the last epoch is kept. A probe
    needs none. augment: the random change used where the recipe turns augmentation on. checkpoints: a
    folder where the unfinished run is kept; `resume` takes up what is kept there. on_epoch: is told every
    finished epoch.

    Raises SettingsError for a strategy that the backbone cannot carry, UnreadableError for files,
    TrainingError if the loss stops being finite, FreezingError if a frozen tensor moved.
    """
    recipe = recipe or Recipe()
    asked = parse_strategy(strategy) if isinstance(strategy, str) else strategy
    runtime = start_runtime(recipe)
    rows = _examples(train_rows, backbone)
    val = None if val_rows is None or not len(val_rows) else _examples(val_rows, backbone)
    graft = new_graft(backbone, rows.manifest, asked, recipe)
    before = graft.frozen_digests()
    history: tuple[HistoryRow, ...] = ()
    best_epoch = None
    if graft.plan.solver == "convex":
        _solve(graft, rows, recipe, runtime)
    else:
        changed = recipe.augment == "on" or (recipe.augment == "auto" and graft.plan.frontier == 0)
        augment = augment if changed else None
        kept = None
        if checkpoints is not None:
            settings = _settings(backbone, rows, val, asked, recipe, augment)
            kept = Checkpoints(checkpoints, settings, checkpoint_seconds, resume)
        if augment is None and graft.plan.frontier > 0:
            rows, val = _beyond_frontier(graft, rows, val, recipe, runtime)
        history, best_epoch = train(graft, rows, val, recipe=recipe, runtime=runtime, augment=augment,
                                    checkpoints=kept, on_epoch=on_epoch or _log_epoch)  # fmt: skip
    runtime.release(graft).train(False)
    proof = prove_frozen(before, graft)
    if checkpoints is not None and runtime.rank == 0:
        remove_checkpoint(checkpoints)
    return Run(make_adapter(graft, rows.manifest, recipe, proof, best_epoch), history, proof, best_epoch)


def new_graft(backbone: Backbone, manifest: Manifest, strategy: Strategy, recipe: Recipe) -> Graft:
    """A copy of the backbone, or for `scratch` the same architecture afresh, under a new head, frozen as planned."""
    seed_everything(recipe.seed)
    head = Head(backbone.feature_dim, output_count(manifest.task, manifest.classes), recipe.head, recipe.dropout)
    if manifest.task == "regression":
        values = np.asarray(manifest.values, dtype=np.float64)
        head.get_buffer("shift").fill_(float(values.mean()))
        head.get_buffer("scale").fill_(max(float(values.std()), 1e-12))
    plan = make_plan(strategy, backbone, head)
    if plan.start == "random" and backbone.build is not None:
        return Graft(backbone.with_network(backbone.build().eval()), head, plan)
    return Graft(backbone.copy(), head, plan)


def frozen_vectors(backbone: Backbone, examples: Examples, recipe: Recipe) -> Examples:
    """The examples after all stages of the untouched backbone: vectors (feature_dim,).

    Several probes, as of cross-validation, can share them. Raises TrainingError if they do not fit in memory.
    """
    # A copy is placed on the device and in the memory format of the run; the backbone stays where it is.
    return _all_stages(backbone.copy(), examples, recipe, start_runtime(recipe))


def _all_stages(backbone: Backbone, examples: Examples, recipe: Recipe, runtime: Runtime) -> Examples:
    ready = precompute(backbone, examples, len(backbone.stages), runtime, recipe.batch_size)
    if ready is None:
        raise TrainingError(f"the vectors of {len(examples)} examples do not fit in memory; use fewer rows")
    return ready


def _solve(graft: Graft, rows: Examples, recipe: Recipe, runtime: Runtime) -> None:
    ready = _all_stages(graft.stages, rows, recipe, runtime)
    # The solver works in the target's own unit.
    graft.head.get_buffer("shift").zero_()
    graft.head.get_buffer("scale").fill_(1.0)
    balanced = recipe.class_weights == "balanced"
    fit = fit_probe(graft.head, vectors(ready), ready.manifest, balanced=balanced, seed=recipe.seed)
    log.info("probe solved on %d rows with C=%s", len(ready), ", ".join(f"{c:g}" for c in fit.strengths))


def _beyond_frontier(
    graft: Graft, rows: Examples, val: Examples | None, recipe: Recipe, runtime: Runtime
) -> tuple[Examples, Examples | None]:
    """Both parts after the frozen stages, or as they are where that does not fit in memory."""
    frontier = graft.plan.frontier
    stored = precompute(graft.stages, rows, frontier, runtime, recipe.batch_size)
    stored_val = None if val is None else precompute(graft.stages, val, frontier, runtime, recipe.batch_size)
    return (rows if stored is None else stored), (val if stored_val is None else stored_val)


def _examples(data: Manifest | Examples, backbone: Backbone) -> Examples:
    return data if isinstance(data, Examples) else read_examples(data, backbone.contract)


def _settings(
    backbone: Backbone,
    rows: Examples,
    val: Examples | None,
    strategy: Strategy,
    recipe: Recipe,
    augment: Augment | None,
) -> dict[str, Any]:
    """What a resumed run must share with the interrupted one."""
    return {
        "strategy": str(strategy),
        "backbone": backbone.digest(),
        "input contract": backbone.contract.to_json(),
        "training data": _data_digest(rows),
        "validation data": None if val is None else _data_digest(val),
        "augmentation": augment is not None,
        **{name: value for name, value in dataclasses.asdict(recipe).items() if name not in ("device", "workers")},
    }


def _data_digest(rows: Examples) -> str:
    total = hashlib.sha256("".join(content_digests(rows.manifest.paths)).encode())
    total.update(np.ascontiguousarray(rows.manifest.values).tobytes())
    return total.hexdigest()


def _log_epoch(row: HistoryRow) -> None:
    log.info("  ".join(f"{name} {value:g}" for name, value in row.items() if value is not None))
