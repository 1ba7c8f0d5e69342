"""Predictions of a graft for many examples: batch by batch, each row once, in the order of the rows."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from graftwork.core.compute.overlap import each_after_the_next, to_host
from graftwork.core.compute.pieces import in_pieces
from graftwork.core.compute.runtime import Runtime, joined
from graftwork.core.data.batches import pass_batches
from graftwork.core.data.examples import Examples, load_batches
from graftwork.core.errors import TrainingError
from graftwork.core.model.graft import Graft
from graftwork.core.progress import progress
from graftwork.core.recipe import Recipe
from graftwork.core.tasks import Task
from graftwork.core.types import Features


def graft_outputs(graft: Graft, examples: Examples, runtime: Runtime, recipe: Recipe, description: str = "") -> Tensor:
    """Head outputs (rows, outputs), float32 on the CPU; the graft is left in evaluation mode.

    With several processes each computes its share and all get everything; where the graft's tensors are in parts, all
    compute equally many batches. A description shows a bar.
    Raises TrainingError for an output that is not finite, and for an example that does not fit in the device's memory.
    """
    graft.train(False)
    task = examples.manifest.task

    def begin(piece: Features) -> Callable[[], Tensor]:
        # What inference mode makes of shards could not be learnt from afterwards.
        with torch.no_grad() if graft.sharded else torch.inference_mode(), runtime.autocast():
            return to_host(answer(task, graft, runtime.send(piece), examples.stage))

    rows = runtime.share(range(len(examples)))
    batches = pass_batches(examples, rows, recipe)
    found = [torch.empty((0, graft.head.outputs))]
    fillers = _missing_batches(examples, len(batches), runtime, recipe) if graft.sharded else []
    loaded = load_batches(examples, [*batches, *fillers], workers=runtime.workers, pin=runtime.pins)
    with progress(description, len(rows)) as advance:
        begun = ((len(batch), [begin(batch)] if graft.sharded else in_pieces(begin, batch)) for batch in loaded)
        for number, (count, pieces) in enumerate(each_after_the_next(begun, runtime.device)):
            answers = [piece() for piece in pieces]
            if number < len(batches):
                found += answers
                advance(count, "")
    gathered = runtime.gather([row for batch in batches for row in batch], joined(found), len(examples))
    return finite_outputs(gathered, examples)


def _missing_batches(examples: Examples, own: int, runtime: Runtime, recipe: Recipe) -> list[list[int]]:
    """Batches of one row for a process that has fewer than another: it takes part in making the weights whole, and its
    answers to these are dropped."""
    rows = range(len(examples))
    counts = [len(pass_batches(examples, rows[rank :: runtime.processes], recipe)) for rank in range(runtime.processes)]
    return [[0]] * (max(counts) - own)


def answer(task: Task, graft: Graft, features: Features, start: int) -> Tensor:
    """What the task keeps of a batch's outputs, (batch, outputs), float32 on the device."""
    return task.answers(graft.outputs(features, start))


def finite_outputs(outputs: Tensor, examples: Examples) -> Tensor:
    """The outputs (rows, outputs) as they are. Raises TrainingError, naming the first example, if one is not finite."""
    wrong = examples.manifest.task.broken(outputs).nonzero().flatten().tolist()
    if wrong:
        raise TrainingError(
            f"the network's output is not finite for {len(wrong)} of {len(examples)} examples, the first is "
            f"{examples.manifest.examples[wrong[0]]}: train with a lower --learning-rate, or with --precision fp32"
        )
    return outputs
