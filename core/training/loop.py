"""The gradient loop: epochs, batches, updates, validation, early stopping, checkpoints. It reads from top to bottom."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graftwork.core.compute.communication import agreement
from graftwork.core.compute.preemption import PreemptedError, ask_oneself, asked_to_end, leaving_by_itself
from graftwork.core.compute.runtime import Runtime
from graftwork.core.data.batches import epoch_batches
from graftwork.core.data.examples import Examples, epoch_augment, load_batches
from graftwork.core.errors import SettingsError, TrainingError
from graftwork.core.evaluation.evaluation import point_metrics
from graftwork.core.inference.outputs import graft_outputs
from graftwork.core.model.graft import Graft
from graftwork.core.model.sharding import copy_whole, sharded, wants_shards
from graftwork.core.progress import progress
from graftwork.core.recipe import Recipe
from graftwork.core.training.batch_memory import pieces_that_fit
from graftwork.core.training.checkpoint import CheckpointClock, TrainingState, load_checkpoint, save_checkpoint
from graftwork.core.training.gradient_check import GradientCheck
from graftwork.core.training.gradients import LoopContext, add_gradients
from graftwork.core.training.history import HistoryRow
from graftwork.core.training.optimiser import (
    active_parameters,
    build_optimiser,
    head_rate,
    row_weights,
    set_rates,
)
from graftwork.core.types import Augment

log = logging.getLogger(__name__)

OnEpoch = Callable[[HistoryRow], None]
Due = Literal["go on", "keep", "leave"]


@dataclass(frozen=True)
class Checkpoints:
    """Where an unfinished run is kept and how often; settings tell one run from another."""

    folder: Path
    settings: dict[str, Any]
    every_seconds: float
    resume: bool


def train(
    graft: Graft,
    rows: Examples,
    val: Examples | None,
    *,
    recipe: Recipe,
    runtime: Runtime,
    augment: Augment | None,
    checkpoints: Checkpoints | None,
    on_epoch: OnEpoch,
) -> tuple[tuple[HistoryRow, ...], int]:
    """Trains the graft in place and leaves it with its best weights; returns the history and the best epoch (from 1).

    rows, val: examples, or activations of stages below the graft's frontier. Without `val` the last epoch is the best.
    A graft whose head starts at the probe is one to choose from as it is: epoch 0. Raises TrainingError if the loss is
    not finite or a tensor that should learn gets no gradient, OutputError if a checkpoint does not belong here,
    SettingsError where BatchNorm learns from batches of fewer rows than there are processes.
    """
    batches = [epoch_batches(rows, recipe, epoch) for epoch in range(recipe.epochs)]
    fewest = min((len(batch) for one in batches for batch in one), default=runtime.processes)
    divided = wants_shards(graft, recipe, runtime)
    if fewest < runtime.processes and (graft.batch_norm_stages or divided):
        # A process without rows would leave the others waiting for its part of the statistics, or of the weights.
        needs = "--fsdp" if divided else "BatchNorm"
        raise SettingsError(f"{runtime.processes} processes share a batch of {fewest} rows, and {needs} needs all of "
                            "them: raise --batch-size, or use fewer processes")  # fmt: skip
    if divided:
        kept, graft = graft, sharded(graft, runtime)
        runtime = replace(runtime, channels_last=False)  # shards are cut from tensors in the ordinary format
    else:
        kept = graft
        runtime.place(graft)
    # What each process has solved for itself may differ in the last digits.
    runtime.copy_from_first([value.detach() for value in graft.learnt().values()])
    optimiser = build_optimiser(graft, recipe)
    if recipe.compile == "on":
        graft.frozen_part()
    model: Any = torch.compile(graft.outputs) if recipe.compile == "on" else graft.outputs
    targets = rows.manifest.task.loss_targets(rows.manifest.values)
    context = LoopContext(graft, model, optimiser, rows, batches,
                     sum(-(-len(one) // recipe.accumulate) for one in batches), targets,
                     row_weights(rows.manifest, recipe), augment, recipe, runtime, GradientCheck(graft))  # fmt: skip
    best, pieces = dict[str, Tensor](), pieces_that_fit(context)
    state = TrainingState(pieces=pieces)
    if checkpoints is not None and checkpoints.resume:
        state, best = load_checkpoint(checkpoints.folder, checkpoints.settings, graft, optimiser, runtime.scaler)
        state = replace(state, pieces=max(state.pieces, pieces))  # it may go on with less memory than it began with
        log.info("resuming in epoch %d at batch %d", state.epoch + 1, state.batch + 1)
    elif val is not None and graft.plan.head_start == "probe":
        state = _before_any_update(context, state, val, best)
        on_epoch(state.history[0])

    clock = CheckpointClock(checkpoints.every_seconds if checkpoints else math.inf)

    agree = agreement(runtime.processes)

    def due(epoch_ends: bool = False) -> Due:
        """What all processes do after this update, so that none waits for the gradients of another."""
        write, leave = agree((runtime.rank == 0 and clock.due(epoch_ends=epoch_ends), asked_to_end()))
        return "leave" if leave else "keep" if write else "go on"

    def keep(now: TrainingState, what: Due) -> None:
        """Keeps the run, which the first process writes, and leaves where somebody wants a process to end."""
        if checkpoints is not None and (runtime.rank == 0 or graft.sharded):
            began = time.monotonic()
            save_checkpoint(checkpoints.folder, checkpoints.settings, now, graft, best, optimiser, runtime.scaler)
            clock.saved(began)
        if what == "leave":
            ask_oneself()
            runtime.wait()  # until it is written
            raise PreemptedError

    with leaving_by_itself():
        while state.epoch < recipe.epochs and state.stale < recipe.patience:
            state = _epoch(context, state, due, keep)
            runtime.copy_from_first(graft.moving_buffers())
            row: HistoryRow = {
                "epoch": state.epoch + 1,
                # Of the last update, which a resumed run may not have made itself.
                "learning_rate": head_rate(optimiser, recipe, state.update - 1, context.updates),
                "train_loss": state.loss_sum / state.loss_weight,
            }
            key = (0.0, float(state.epoch))
            if val is not None:
                key = _validate(context, val, row)
            if key > state.best_key:
                _remember(graft, best)
                state = replace(state, best_epoch=state.epoch, best_key=key, stale=0)
            else:
                state = replace(state, stale=state.stale + 1)
            state = replace(state, epoch=state.epoch + 1, batch=0, loss_sum=0.0, loss_weight=0.0,
                               history=(*state.history, row))  # fmt: skip
            on_epoch(row)
            if (what := due(epoch_ends=True)) != "go on":
                keep(state, what)
    context.proof.close()
    if best:  # without an epoch the graft is as it was
        graft.restore(best)
    if graft is not kept:
        copy_whole(graft, kept)
    return state.history, state.best_epoch + 1


def _before_any_update(
    context: LoopContext, state: TrainingState, val: Examples, best: dict[str, Tensor]
) -> TrainingState:
    """The state after the validation of what training begins with, which is remembered as the best so far."""
    row: HistoryRow = {"epoch": 0, "learning_rate": 0.0, "train_loss": None}
    context.graft.train(False)
    key = _validate(context, val, row)
    _remember(context.graft, best)
    return replace(state, best_key=key, history=(row,))


def _remember(graft: Graft, best: dict[str, Tensor]) -> None:
    """Puts a copy of what the graft has learnt in place of the best so far."""
    best.clear()  # so that never more than one copy takes the device's memory
    best |= {name: value.detach().clone() for name, value in graft.learnt().items()}


def _epoch(
    context: LoopContext, state: TrainingState, due: Callable[[], Due], keep: Callable[[TrainingState, Due], None]
) -> TrainingState:
    """One epoch from the state's batch on; the result's loss sums are the whole epoch's."""
    recipe, runtime = context.recipe, context.runtime
    batches, updates = context.batches[state.epoch], context.updates
    ahead = batches[state.batch :]
    shares = [runtime.share(batch.tolist()) for batch in ahead]
    augment = epoch_augment(context.augment, len(context.rows), recipe.seed, state.epoch)
    filled = [share for share in shares if len(share)]
    loaded = load_batches(context.rows, filled, augment=augment, seed=recipe.seed, epoch=state.epoch,
                          workers=runtime.workers, pin=runtime.pins)  # fmt: skip
    pending: deque[tuple[int, Callable[[], float]]] = deque()
    phase = context.graft.plan.phase_at(state.update / updates)
    context.graft.enter(phase)
    context.graft.train(True)
    with progress(f"epoch {state.epoch + 1} of {recipe.epochs}{_latest(state)}", len(batches)) as advance:
        advance(state.batch, "")
        for share in shares:
            features = next(loaded) if len(share) else None
            number = state.batch
            first = number - number % recipe.accumulate
            window = batches[first : first + recipe.accumulate]
            last = number == first + len(window) - 1
            loss = torch.zeros((), device=runtime.device)  # of a process that has no row of this batch
            if features is not None:
                weight = float(context.weights[np.concatenate(window)].sum())
                done = state.update / updates
                # Randomness depends on where the run stands, not on what ran before: a resumed run repeats it.
                seeds = (recipe.seed, state.epoch, number, runtime.rank)
                loss, pieces = add_gradients(context, features, share, weight, done, state.pieces,
                                             alone=number == first, seeds=seeds)  # fmt: skip
                state = replace(state, pieces=pieces)
            pending.append((number, runtime.sum_later(loss)))
            known = state.loss_weight  # of the batches before this one, whose loss is not known yet
            state = replace(state, batch=number + 1,
                            loss_weight=known + float(context.weights[batches[number]].sum()))  # fmt: skip
            if last:
                set_rates(context.optimiser, phase, recipe, state.update, updates)
                learning = active_parameters(context.optimiser, phase)
                runtime.sum_gradients([parameter for _, parameter in learning])
                context.proof.look(learning)
                runtime.step(context.optimiser, list(context.graft.parameters()), recipe.clip_norm)
                state = replace(state, update=state.update + 1)
                phase = context.graft.plan.phase_at(state.update / updates)
                context.graft.enter(phase)
            # The loss of the batch before is looked at while the device works on this one.
            state = _add_known_losses(context, state, pending, batches, leave=1)
            advance(1, f"loss {state.loss_sum / known:.3f}" if known > 0 else "")
            if last and (what := due()) != "go on":
                state = _add_known_losses(context, state, pending, batches, leave=0)
                keep(state, what)
    return _add_known_losses(context, state, pending, batches, leave=0)


def _latest(state: TrainingState) -> str:
    """The metric of the epoch before, for the bar."""
    row = state.history[-1] if state.history else {}
    return "".join(
        f", {name} {value:.3f}" for name, value in row.items() if name.startswith("val_") and value is not None
    )


def _add_known_losses(
    context: LoopContext,
    state: TrainingState,
    pending: deque[tuple[int, Callable[[], float]]],
    batches: list[NDArray[np.int64]],
    leave: int,
) -> TrainingState:
    """Adds up the losses that are known, all but `leave`. Raises TrainingError for one that is not finite."""
    while len(pending) > leave:
        number, loss = pending.popleft()
        value = loss()
        if not math.isfinite(value):
            files = "\n".join(f"  {context.rows.manifest.examples[row]}" for row in batches[number])
            raise TrainingError(
                f"the loss is {value} in epoch {state.epoch + 1}, batch {number + 1}: lower --learning-rate, use "
                f"--precision fp32, or look at the files of that batch{context.rows.manifest.task.loss_hint}:\n{files}"
            )
        state = replace(state, loss_sum=state.loss_sum + value)
    return state


def _validate(context: LoopContext, val: Examples, row: HistoryRow) -> tuple[float, float]:
    """Adds the validation loss and the deciding metric to the row; returns what epochs are compared by.

    The metric decides, and the loss between equal metrics. Where the rows do not define the metric, as with
    one class only, the loss decides alone.
    """
    task = val.manifest.task
    outputs = graft_outputs(context.graft, val, context.runtime, context.recipe)
    found = point_metrics(task, val.manifest.values, task.predictions(outputs), val.manifest.classes)
    scale = context.graft.head.get_buffer("scale").cpu() if task.target_scale is not None else torch.ones(())
    loss = task.validation_loss(outputs, val.manifest.values, found, scale)
    metric = found[task.metric]
    row |= {task.validation_column: _defined(loss), f"val_{task.metric}": _defined(metric)}
    return (0.0 if math.isnan(metric) else metric, -loss if math.isfinite(loss) else -math.inf)


def _defined(number: float) -> float | None:
    return None if math.isnan(number) else number
