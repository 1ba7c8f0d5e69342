"""One pass of examples through frozen stages: batch by batch, each output apart, without its padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from graftwork.core.activation_cache.compiled_stages import Prefix
from graftwork.core.activation_cache.packing import packed
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
PASS_VALUES = {"cpu": 2**20, "cuda": 64 * 3 * 224 * 224}
"""A pass takes up to four times as many rows at once as training, as long as these are no more values.

On a CPU what the first stages make of them, ten times as much, has to fit the cache: of MobileNetV2 batches of 32 were
best at 96 pixels (0.58 ms an image; of 16 0.68, of 64 0.62) and of 16 at 224 (3.1 ms; of 64 4.4). On a GPU a guess.
"""


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
        paths = [examples.manifest.paths[row] for row, _ in places]
        for number, (_, tensor) in enumerate(read_many(examples.contract, paths, "reading")):
            if isinstance(tensor, Exception):
                raise tensor
            yield [number], False, [tensor]
        return
    if examples.views > 1:
        chosen = all_views(examples).subset([row * examples.views + view for row, view in places])
    else:
        chosen = examples.subset([row for row, _ in places])
    recipe = _pass_recipe(work)
    batches = [batch.tolist() for batch in pass_batches(chosen, range(len(places)), recipe)]
    own = folded(work.backbone, work.stop)
    network = runtime.place((work.backbone.copy() if own is work.backbone else own).network).eval()
    prefix = Prefix(work.backbone.with_network(network), examples.stage, work.stop, runtime, recipe.compile,
                    len(places), recipe.batch_size)  # fmt: skip
    loaded = load_batches(chosen, batches, augment=_augment_of(work, places), workers=runtime.workers,
                          pin=runtime.pins)  # fmt: skip
    with progress(f"{work.backbone.id} up to {work.backbone.stages[work.stop - 1].name}", len(places)) as advance:
        for batch, features in zip(batches, loaded, strict=True):
            results = in_pieces(prefix, features)
            advance(len(batch), "")
            yield batch, results[0].lengths is not None, [row for result in results for row in _single(result)]


def _pass_recipe(work: Pass) -> Recipe:
    """The recipe with larger batches for small pictures: a pass keeps nothing for a backward one."""
    examples, recipe = work.examples, work.recipe
    example = examples.tensor(0) if examples.tensors else examples.contract.blank()
    if example.dim() != 3:  # clips and volumes become too large within
        return recipe
    rows = min(PASS_FACTOR * recipe.batch_size, PASS_VALUES[work.runtime.device.type] // max(1, example.numel()))
    return replace(recipe, batch_size=max(recipe.batch_size, rows))


def _augment_of(work: Pass, places: Sequence[tuple[int, int]]) -> RowAugment | None:
    """The random change of every (row, view); None where nothing is changed."""
    if work.augment is None:
        return None
    paths = work.examples.manifest.paths
    return view_augment(work.augment, work.recipe, [(paths[row], view) for row, view in places])


def _single(features: Features) -> list[Tensor]:
    """The examples of a batch apart, without their padding, on the CPU; what has skips or masks as one row."""
    values = features.values.float().cpu()
    if features.skips or features.masks is not None:
        return [row.clone() for row in packed(features).cpu()]
    if features.lengths is None:
        return [value.clone() for value in values]
    return [value[:length].clone() for value, length in zip(values, features.lengths.tolist(), strict=True)]
