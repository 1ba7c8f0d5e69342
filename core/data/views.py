"""Views: the changed copies of an example, or pieces of a scan, that are drawn once and stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from graftwork.core.data.content import content_digests
from graftwork.core.data.examples import Examples, RowAugment
from graftwork.core.example import Example
from graftwork.core.recipe import Recipe
from graftwork.core.types import Augment

VIEWS = 4
"""Augmented views of an example, unless the recipe says how many."""


def view_count(recipe: Recipe) -> int:
    """How many changed copies, or pieces, of every example there are."""
    return VIEWS if recipe.views is None else max(recipe.views, 1)


def view_generator(recipe: Recipe, view: int, digest: str) -> tuple[int, ...]:
    """What seeds the generator of one view of an example: the run's seed, the view and the example's content."""
    return (recipe.seed, view, int(digest[:16], 16))


def all_views(examples: Examples) -> Examples:
    """One row for every view of every example."""
    rows = np.repeat(np.arange(len(examples)), examples.views)
    seconds = None if examples.seconds is None else tuple(np.repeat(examples.seconds, examples.views).tolist())
    return replace(examples, manifest=examples.manifest.subset(rows), views=1, seconds=seconds)


def view_augment(augment: Augment, recipe: Recipe, places: Sequence[tuple[Example, int]]) -> RowAugment:
    """The random change of each (example, view), from a generator that depends on seed, view and content alone."""
    digests = content_digests([example for example, _ in places])
    keys = [view_generator(recipe, view, digest) for digest, (_, view) in zip(digests, places, strict=True)]
    return RowAugment(augment, tuple(keys))
