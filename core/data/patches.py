"""Images with masks in pieces of one size: what a network is trained on where scans are larger, or differ in size."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import cast

import numpy as np
from torch import Tensor

from graftwork.core.data.content import content_digests
from graftwork.core.data.examples import Examples
from graftwork.core.data.views import view_count, view_generator
from graftwork.core.recipe import Recipe
from graftwork.core.tasks import Task
from graftwork.core.types import Augment, InputContract, MaskContract

VOLUMES_TOGETHER = 2
"""Patches of volumes that go through a network together unless somebody asks for more, as nnU-Net has it: a few cases
are then more than one update an epoch, and a large patch fits in memory."""


FEWEST_PATCHES, MOST_PATCHES = 100, 500
"""Of an epoch: so many where cases are few, and no more where each case is worth several; nnU-Net's has 500."""

MOST_OF_CASE = 8
"""Patches that an epoch draws of one case because it is large."""


def patches_per_case(examples: Examples, recipe: Recipe) -> int:
    """How many patches an epoch draws of every case: what the recipe says, else as many as a case of mean size is made
    of, at most `MOST_OF_CASE` and `MOST_PATCHES` in all; more where cases are so few that an epoch would have less than
    `FEWEST_PATCHES`."""
    if recipe.patches is not None:
        return recipe.patches
    contract, count = cast(MaskContract, examples.contract), len(examples)
    looked_at = [examples.tensor(row) for row in range(min(count, LOOKED_AT))]
    patch = contract.blank()[0].numel()
    pieces = round(sum(tensor[0].numel() for tensor in looked_at) / len(looked_at) / patch)
    return max(1, -(-FEWEST_PATCHES // count), min(pieces, MOST_OF_CASE, MOST_PATCHES // count))


def repeated(examples: Examples, count: int) -> Examples:
    """Every row so many times, side by side."""
    return examples if count == 1 else examples.subset(np.repeat(np.arange(len(examples)), count))


LOOKED_AT = 20
"""Cases whose size is looked at: those that do not fit in memory are read anew for it."""


def with_batch_size(recipe: Recipe, task: Task, contract: InputContract) -> Recipe:
    """The recipe with a batch size, where it leaves that open."""
    if recipe.batch_size is not None:
        return recipe
    volumes = task.output == "maps" and contract.blank().dim() == 4
    return replace(recipe, batch_size=VOLUMES_TOGETHER if volumes else recipe.rows_together)


def whole(examples: Examples) -> bool:
    """Whether every example goes through the network as it is."""
    if examples.stage > 0:
        return True
    contract = cast(MaskContract, examples.contract)
    return examples.tensors is not None and all(map(contract.is_patch, examples.tensors))


def in_patches(examples: Examples, changed: bool) -> Augment | None:
    """What draws a patch of an example, and with `changed` turns, scales and shifts it at random; None where there is
    nothing to draw."""
    if examples.stage > 0 or (not changed and whole(examples)):
        return None
    return partial(_drawn, cast(MaskContract, examples.contract), changed)


def fixed_patches(examples: Examples, draw: Augment, recipe: Recipe) -> Examples:
    """A row for every view of every example, in memory: the pieces that a store of frozen stages would hold."""
    rows = np.repeat(np.arange(len(examples)), view_count(recipe))
    digests = content_digests(examples.manifest.examples)
    tensors: list[Tensor] = []
    for row in range(len(examples)):
        whole_tensor = examples.tensor(row)
        for view in range(view_count(recipe)):
            tensors.append(draw(whole_tensor, np.random.default_rng(view_generator(recipe, view, digests[row]))))
    return replace(examples, manifest=examples.manifest.subset(rows), tensors=tuple(tensors))


def _drawn(contract: MaskContract, changed: bool, example: Tensor, generator: np.random.Generator) -> Tensor:
    return contract.patch(example, generator, changed=changed)
