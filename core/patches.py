"""Images with masks in pieces of one size: what a network is trained on where scans are larger, or differ in size."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import cast

import numpy as np
from torch import Tensor

from graftwork.core.backbone import MaskContract
from graftwork.core.domain import Augment
from graftwork.core.examples import Examples
from graftwork.core.recipe import Recipe

FIXED = 4
"""Patches of every larger example that an epoch is judged by."""


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


def fixed_patches(examples: Examples, recipe: Recipe) -> Examples:
    """A row for every one of `FIXED` patches of every example, the same in every epoch; the examples as they are where
    they are patches."""
    if whole(examples):
        return examples
    contract = cast(MaskContract, examples.contract)
    rows = np.repeat(np.arange(len(examples)), FIXED)
    generators = [np.random.default_rng((recipe.seed, row)) for row in range(len(examples))]
    tensors = tuple(contract.patch(examples.tensor(row), generators[row], changed=False) for row in rows.tolist())
    return replace(examples, manifest=examples.manifest.subset(rows), tensors=tensors)


def _drawn(contract: MaskContract, changed: bool, example: Tensor, generator: np.random.Generator) -> Tensor:
    return contract.patch(example, generator, changed=changed)
