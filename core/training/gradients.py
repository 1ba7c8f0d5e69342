"""The gradients of one batch: the loss of every task, and batches in pieces where they do not fit the device."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graftwork.core.compute.runtime import Runtime, seed_everything
from graftwork.core.data.examples import Examples
from graftwork.core.errors import SettingsError, TrainingError
from graftwork.core.evaluation.evaluation import counted
from graftwork.core.model.graft import Graft
from graftwork.core.model.heads import Head
from graftwork.core.model.margin import margin_at, with_margin
from graftwork.core.recipe import Recipe
from graftwork.core.training.gradient_check import GradientCheck
from graftwork.core.types import Augment, Features

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class LoopContext:
    """What stays the same from the first batch to the last. model: `graft.outputs`, compiled where asked for. batches:
    of every epoch; updates: in all epochs."""

    graft: Graft
    model: Any
    optimiser: torch.optim.Optimizer
    rows: Examples
    batches: list[list[NDArray[np.int64]]]
    updates: int
    targets: Tensor
    weights: NDArray[np.float64]
    augment: Augment | None
    recipe: Recipe
    runtime: Runtime
    proof: GradientCheck

    @property
    def tied(self) -> bool:
        """Whether processes wait for each other in the middle of a batch, so that none can go through it otherwise."""
        return self.runtime.processes > 1 and (self.graft.sharded or bool(self.graft.batch_norm_stages))


def add_gradients(
    context: LoopContext, features: Features, share: Sequence[int], weight: float, done: float, pieces: int, *,
    alone: bool, seeds: Sequence[int],
) -> tuple[Tensor, int]:  # fmt: skip
    """Adds the gradients of this process' rows of a batch; returns the sum of their losses, and in how many pieces they
    went through the network: twice as many as before, as often as one does not fit in the device's memory.

    weight: of all rows of the update. alone: whether no other gradients of the update are there yet; a later batch of
    an update is not tried again. seeds: of torch's generators, for every attempt anew. The statistics of a BatchNorm
    that learns keep what a failed attempt has added. Raises TrainingError where nothing smaller can be tried.
    """
    runtime = context.runtime
    while True:
        seed_everything(*seeds)
        parts = np.array_split(np.arange(len(share)), min(pieces, len(share)))
        total = torch.zeros((), device=runtime.device)
        try:
            for part in parts:
                piece = features if len(parts) == 1 else features.rows(part)
                with runtime.determinism.update():
                    total += _backward(context, piece, [share[place] for place in part], weight, done)
            return total, pieces
        except torch.OutOfMemoryError as error:
            if len(parts) == len(share) or not alone or context.tied:
                raise TrainingError(
                    f"a batch of {counted(len(share), 'example')}, in {counted(len(parts), 'piece')}, does not fit in "
                    "the device's memory: lower --batch-size (and raise --accumulate by as much), use --recompute on, "
                    "or --precision bf16"
                ) from error
        except RuntimeError as error:
            if not alone or not runtime.determinism.given_up(error):
                raise
            context.optimiser.zero_grad()
            continue
        context.optimiser.zero_grad()
        torch.cuda.empty_cache()
        pieces = 2 * len(parts)
        log.warning("batches of %d examples do not fit in the device's memory: they go through the network in %d "
                    "pieces from now on; a BatchNorm that learns has less to average", len(share), pieces)  # fmt: skip


def _backward(context: LoopContext, features: Features, share: Sequence[int], weight: float, done: float) -> Tensor:
    """Adds the gradients of these rows; returns the sum of their losses. No graph outlives it, if it fails neither."""
    with context.runtime.batch_statistics():
        with batch_norm_explained(len(share)):
            loss = summed_loss(context, features, share, done)
        context.runtime.backward(loss / weight)
    return loss.detach()


@contextmanager
def batch_norm_explained(rows: int) -> Iterator[None]:
    """Raises SettingsError where BatchNorm has one number a channel to learn its statistics from, as torch puts it."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise SettingsError(
            f"a batch of {rows} example{'' if rows == 1 else 's'} gives a BatchNorm that learns one value a channel, "
            "of which there is no variance: raise --batch-size so that no batch of an epoch has a single example, "
            "raise --image-size, or let fewer stages learn"
        ) from error


def summed_loss(context: LoopContext, features: Features, share: Sequence[int], done: float) -> Tensor:
    """Sum of the weighted losses of this process' rows of a batch, after the fraction `done` of all updates."""
    runtime, head = context.runtime, context.graft.head
    index = torch.as_tensor(share)
    targets = runtime.send_tensor(context.targets[index])
    weights = runtime.send_tensor(torch.as_tensor(context.weights[share], dtype=torch.float32))
    task = context.rows.manifest.task
    scale = head.get_buffer("scale") if task.target_scale is not None else torch.ones(())
    with runtime.autocast():
        outputs: Features = context.model(runtime.send(features), context.rows.stage)
    if isinstance(head, Head) and head.record.angular:
        margin = margin_at(done, context.recipe.margin)
        outputs = Features(with_margin(outputs.values.float(), targets, margin, context.recipe.margin_scale))
    return task.summed_loss(outputs, targets, weights, scale)
