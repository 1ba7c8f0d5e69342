"""Predictions of a graft for many examples: batch by batch, each row once, in the order of the rows."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graftwork.core.backbone import Features
from graftwork.core.batches import pass_batches
from graftwork.core.errors import TrainingError
from graftwork.core.examples import Examples, load_batches
from graftwork.core.graft import Graft
from graftwork.core.heads import probabilities
from graftwork.core.manifest import Task
from graftwork.core.masks import mask_losses, patch_dice
from graftwork.core.pieces import in_pieces
from graftwork.core.progress import progress
from graftwork.core.recipe import Recipe
from graftwork.core.runtime import Runtime, joined
from graftwork.core.transcripts import best_path


def graft_outputs(graft: Graft, examples: Examples, runtime: Runtime, recipe: Recipe, description: str = "") -> Tensor:
    """Head outputs (rows, outputs), float32 on the CPU; the graft is left in evaluation mode.

    With several processes each computes its share and all get everything. A description shows a bar.
    Raises TrainingError for an output that is not finite, and for an example that does not fit in the device's memory.
    """
    graft.train(False)
    rows = runtime.share(range(len(examples)))
    batches = pass_batches(examples, rows, recipe)
    found = [torch.empty((0, graft.head.outputs))]
    loaded = load_batches(examples, batches, workers=runtime.workers, pin=runtime.pins)
    with progress(description, len(rows) if description else 0) as advance:
        for batch in loaded:
            with torch.inference_mode(), runtime.autocast():
                found += in_pieces(lambda piece: answer(graft, runtime.send(piece), examples.stage), batch)
            advance(len(batch), "")
    gathered = runtime.gather([row for batch in batches for row in batch], joined(found), len(examples))
    if examples.manifest.task == "mask":
        return gathered  # a Dice that is not defined is no fault of the network
    return finite_outputs(gathered, examples)


def answer(graft: Graft, features: Features, start: int) -> Tensor:
    """What a batch gives, (batch, outputs), float32 on the CPU: the head's outputs, of frames the best path, of masks
    the loss and the Dice of every class but the background."""
    outputs = graft.outputs(features, start)
    if outputs.masks is not None:
        dice = patch_dice(outputs.values, outputs.masks)
        return torch.cat([mask_losses(outputs.values, outputs.masks)[:, None], dice[:, 1:]], dim=1).cpu()
    values = outputs.values if outputs.values.dim() == 2 else best_path(outputs)
    return values.float().cpu()


def finite_outputs(outputs: Tensor, examples: Examples) -> Tensor:
    """The outputs (rows, outputs) as they are. Raises TrainingError, naming the first example, if one is not finite."""
    wrong = (~outputs.isfinite().all(dim=1)).nonzero().flatten().tolist()
    if wrong:
        raise TrainingError(
            f"the network's output is not finite for {len(wrong)} of {len(examples)} examples, the first is "
            f"{examples.manifest.paths[wrong[0]]}: train with a lower --learning-rate, or with --precision fp32"
        )
    return outputs


def as_predictions(task: Task, outputs: Tensor) -> NDArray[np.float64]:
    """Outputs as what `evaluate_predictions` takes: probabilities (rows, classes), numbers (rows,), or, of masks, Dice
    (rows, classes without the background, 1) without the loss before it."""
    if task == "mask":
        return cast(NDArray[np.float64], outputs.double().numpy()[:, 1:, None])
    values = probabilities(task, outputs.double()).numpy()
    return cast(NDArray[np.float64], values[:, 0] if task == "regression" else values)
