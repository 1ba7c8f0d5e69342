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
