"""Pieces of one size, cut from images with masks that are larger, or differ in size."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from graftwork.core.data.content import content_digests
from graftwork.core.data.examples import Examples
from graftwork.core.data.manifest import Manifest
from graftwork.core.data.patches import (
    VOLUMES_TOGETHER,
    fixed_patches,
    in_patches,
    patches_per_case,
    repeated,
    whole,
    with_batch_size,
)
from graftwork.core.data.views import view_generator
from graftwork.core.recipe import Recipe
from graftwork.core.tasks import find_task

SIDE = 4


@dataclass(frozen=True)
class CutContract:
    """Rows of numbers (1, length), of which a patch is so many as `SIDE` in a row; a change adds a thousand."""

    dimensions: int = 1

    def blank(self):
        return torch.zeros(1, *(SIDE,) * self.dimensions)

    def is_patch(self, example):
        return example.shape[-1] == SIDE

    def patch(self, example, generator, *, changed):
        start = int(generator.integers(example.shape[-1] - SIDE + 1))
        return example[:, start : start + SIDE] + 1000 * changed


@pytest.fixture
def rows(tmp_path):
    """Makes examples of these lengths, whose numbers tell the row (hundreds) and the place."""

    def make(*lengths, in_memory=True, stage=0):
        tensors = tuple(100.0 * row + torch.arange(float(length))[None] for row, length in enumerate(lengths))
        for row in range(len(lengths)):
            (tmp_path / f"{row}").write_text(f"content {row}")
        paths = tuple(str(tmp_path / f"{row}") for row in range(len(lengths)))
        manifest = Manifest("generated", paths, find_task("mask"), "mask", ("0", "1"), np.zeros(len(lengths), np.int64))
        return Examples(manifest, CutContract(), tensors if in_memory else None, stage=stage)

    return make


@pytest.mark.parametrize(("lengths", "more", "expected"), [
    ((SIDE, SIDE), {}, True), ((SIDE, SIDE + 1), {}, False), ((SIDE, SIDE), {"in_memory": False}, False),
    ((9, 9), {"stage": 2}, True),
])  # fmt: skip
def test_examples_are_whole_where_each_is_a_patch_or_has_been_through_stages(rows, lengths, more, expected):
    assert whole(rows(*lengths, **more)) is expected


def test_there_is_nothing_to_draw_of_patches_unless_they_are_changed_nor_of_what_stages_gave(rows):
    assert in_patches(rows(SIDE, SIDE), changed=False) is None
    assert in_patches(rows(9, 9, stage=1), changed=True) is None
    generator = np.random.default_rng(0)
    example = torch.arange(9.0)[None]
    plain = in_patches(rows(SIDE, 9), changed=False)(example, generator)
    turned = in_patches(rows(SIDE, SIDE), changed=True)(example, generator)
    assert plain.shape == turned.shape == (1, SIDE)
    assert plain.max() < 1000 <= turned.min()


@pytest.mark.parametrize("views", [1, 3])
@pytest.mark.parametrize("in_memory", [True, False])
def test_fixed_patches_are_the_views_of_each_row_side_by_side_drawn_by_seed_view_and_content(rows, views, in_memory):
    examples = rows(9, 30, SIDE)
    recipe = Recipe(views=views, seed=5)
    draw = in_patches(examples, changed=False)
    found = fixed_patches(examples, draw, recipe)
    assert found.manifest.paths == tuple(np.repeat(examples.manifest.paths, views))
    digests = content_digests(examples.manifest.examples)
    for row in range(3):
        for view in range(views):
            generator = np.random.default_rng(view_generator(recipe, view, digests[row]))
            assert torch.equal(found.tensors[row * views + view], draw(examples.tensors[row], generator))
    assert whole(found)
    other = fixed_patches(examples, draw, replace(recipe, seed=6))
    assert not all(torch.equal(one, another) for one, another in zip(found.tensors, other.tensors, strict=True))


@pytest.mark.parametrize(("task", "dimensions", "expected"), [
    ("mask", 3, VOLUMES_TOGETHER), ("mask", 2, 16), ("single-label", 3, 16),
])  # fmt: skip
def test_only_patches_of_volumes_go_through_a_network_a_few_together(task, dimensions, expected):
    open_recipe = Recipe(batch_size=None)
    assert with_batch_size(open_recipe, find_task(task), CutContract(dimensions)).batch_size == expected
    assert with_batch_size(Recipe(batch_size=5), find_task(task), CutContract(dimensions)).batch_size == 5


@pytest.mark.parametrize(("lengths", "asked", "each"), [
    ((SIDE,), None, 100), ((SIDE,) * 30, None, 4), ((SIDE,) * 100, None, 1), ((3 * SIDE,) * 100, None, 3),
    ((50 * SIDE,) * 60, None, 8), ((50 * SIDE,) * 250, None, 2), ((50 * SIDE,) * 600, None, 1), ((SIDE,) * 3, 7, 7),
    ((SIDE,) * 99 + (3 * SIDE,), None, 1),
])  # fmt: skip
def test_an_epoch_draws_patches_by_the_size_and_the_number_of_cases(rows, lengths, asked, each):
    assert patches_per_case(rows(*lengths), Recipe(patches=asked)) == each


def test_repeated_cases_are_drawn_from_apart(rows):
    found = repeated(rows(12, 12), 3)
    assert [float(found.tensor(row)[0, 0]) for row in range(6)] == [0, 0, 0, 100, 100, 100]
    assert repeated(found, 1) is found
