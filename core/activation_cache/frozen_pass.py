"""One pass of examples through frozen stages: batch by batch, each output apart, without its padding."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from graftwork.core.activation_cache.compiled_stages import FrozenStages
from graftwork.core.activation_cache.packing import packed, with_lengths
from graftwork.core.compute.overlap import each_after_the_next, to_host
from graftwork.core.compute.pieces import in_pieces
from graftwork.core.compute.runtime import Runtime
from graftwork.core.data.batches import pass_batches
from graftwork.core.data.examples import Examples, RowAugment, load_batches, read_many
from graftwork.core.data.views import all_views, view_augment
from graftwork.core.model.backbone import Backbone
from graftwork.core.model.folding import folded
from graftwork.core.progress import progress
from graftwork.core.recipe import Recipe
from graftwork.core.types import Augment, Features

PASS_FACTOR = 4
PASS_VALUES = {"cpu": 2**20, "cuda": 256 * 3 * 224 * 224}
"""A pass takes up to four times as many rows at once as training, as long as these are no more values; images on a GPU
as many as make these values.

On a CPU what the first stages make of them, ten times as much, has to fit the cache: of MobileNetV2 batches of 32 were
best at 96 pixels (0.58 ms an image; of 16 0.68, of 64 0.62) and of 16 at 224 (3.1 ms; of 64 4.4).
"""

MEMORY_SHARE = 0.25
"""Share of a GPU's whole memory that a batch of a pass may fill, by what one example fills: of the whole, so that the
same card takes the same batches, and gives the same digits, whatever it has done before."""


@dataclass(frozen=True)
class Pass:
    """One pass over examples. stop: number of the first stage that does not run; 0 for reading alone. augment: the
    random change, None for none. views: how many of each example."""

    backbone: Backbone
    examples: Examples
    stop: int
    runtime: Runtime
    recipe: Recipe
    augment: Augment | None
    views: int


def outputs(work: Pass, places: Sequence[tuple[int, int]]) -> Iterator[tuple[list[int], bool, list[Tensor]]]:
    """Outputs of the stages for (row, view) pairs, in batches of similar length: numbers of the pairs, whether
    sequences have lengths, and one float32 tensor each, without padding, on the CPU. Raises what reading raises."""
    runtime, examples = work.runtime, work.examples
    if work.stop == 0:
        chosen_rows = [examples.manifest.examples[row] for row, _ in places]
        for number, (_, tensor) in enumerate(read_many(examples.contract, chosen_rows, "reading")):
            if isinstance(tensor, Exception):
                raise tensor
            yield [number], False, [tensor]
        return
    if examples.views > 1:
        chosen = all_views(examples).subset([row * examples.views + view for row, view in places])
    else:
        chosen = examples.subset([row for row, _ in places])
    own = folded(work.backbone, work.stop)
    network = runtime.place((work.backbone.copy() if own is work.backbone else own).network).eval()
    backbone = work.backbone.with_network(network)
    whole = backbone.stages[work.stop - 1].keeps_padding
    load = partial(load_batches, chosen, augment=_augment_of(work, places), pin=runtime.pins)
    fitting = partial(_rows_that_fit, replace(work, examples=chosen), backbone, lambda rows: load([rows]))
    recipe = _pass_recipe(examples, work.recipe, runtime.device, len(places), fitting)
    batches = [batch.tolist() for batch in pass_batches(chosen, range(len(places)), recipe)]
    frozen_stages = FrozenStages(
        backbone, examples.stage, work.stop, runtime, recipe.compile, len(places), recipe.rows_together
    )
    loaded = load(batches, workers=runtime.workers)
    with progress(f"{work.backbone.id} up to {work.backbone.stages[work.stop - 1].name}", len(places)) as advance:
        begun = (
            (
                batch,
                [
                    (result.lengths is not None and not whole, _single(with_lengths(result) if whole else result))
                    for result in in_pieces(frozen_stages, features)
                ],
            )
            for batch, features in zip(batches, loaded, strict=True)
        )
        for batch, results in each_after_the_next(begun, runtime.device):
            advance(len(batch), "")
            yield batch, results[0][0], [row for _, rows in results for row in rows()]


def _pass_recipe(
    examples: Examples, recipe: Recipe, device: torch.device, count: int, fitting: Callable[[], int]
) -> Recipe:
    """The recipe with larger batches, as a pass keeps nothing for a backward one: on a CPU of small images, on a GPU of
    everything, as far as its memory goes. count: rows of the pass. fitting: says how many rows fit there."""
    example = examples.tensor(0) if examples.tensors else examples.contract.blank()
    rows = PASS_FACTOR * recipe.rows_together
    if example.dim() == 3:
        most = PASS_VALUES[device.type] // max(1, example.numel())
        rows = min(rows, most) if device.type == "cpu" else most
    elif device.type == "cpu":  # clips and volumes become too large within
        return recipe
    if device.type == "cuda":
        rows = min(rows, count)
        rows = rows if rows <= recipe.rows_together else min(rows, fitting())
    if rows <= recipe.rows_together:
        return recipe
    seconds = recipe.batch_seconds
    return replace(recipe, batch_size=rows,
                   batch_seconds=seconds and seconds * rows / recipe.rows_together)  # fmt: skip


def _rows_that_fit(work: Pass, backbone: Backbone, batches: Callable[[Sequence[int]], Iterator[Features]]) -> int:
    """How many of the longest examples fill `MEMORY_SHARE` of the GPU's memory, by what one of them fills; a power of
    two. The backbone is on the GPU. batches: loads rows as the pass does."""
    examples, runtime = work.examples, work.runtime
    longest = int(np.argmax(examples.seconds)) if examples.seconds else 0
    before = torch.cuda.memory_allocated(runtime.device)
    torch.cuda.reset_peak_memory_stats(runtime.device)
    try:
        with torch.inference_mode(), runtime.autocast():
            backbone.run(runtime.send(next(batches([longest]))), examples.stage, work.stop)
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        return 1  # which is tried again, and explained
    filled = torch.cuda.max_memory_allocated(runtime.device) - before
    whole = torch.cuda.get_device_properties(runtime.device).total_memory
    return 1 << (max(1, int(MEMORY_SHARE * whole / max(1, filled))).bit_length() - 1)


def _augment_of(work: Pass, places: Sequence[tuple[int, int]]) -> RowAugment | None:
    """The random change of every (row, view); None where nothing is changed."""
    if work.augment is None:
        return None
    rows = work.examples.manifest.examples
    return view_augment(work.augment, work.recipe, [(rows[row], view) for row, view in places])


def _single(features: Features) -> Callable[[], list[Tensor]]:
    """Begins to copy a batch to the CPU; called, the result gives its examples apart, without their padding, and what
    has skips or masks as one row."""
    as_rows = bool(features.skips) or features.masks is not None
    copied = to_host(packed(features) if as_rows else features.values.float())
    if as_rows or features.lengths is None:
        return lambda: [row.clone() for row in copied()]
    lengths = features.lengths.tolist()
    return lambda: [value[:length].clone() for value, length in zip(copied(), lengths, strict=True)]
