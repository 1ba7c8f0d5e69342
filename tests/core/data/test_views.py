"""Changed copies that are drawn once: how many, and on what they depend."""

from dataclasses import replace

import numpy as np
import torch

from graftwork.core.data.views import VIEWS, all_views, view_augment, view_count
from graftwork.core.example import File
from graftwork.core.recipe import Recipe


def test_there_are_as_many_views_as_the_recipe_says_and_at_least_one():
    assert [view_count(Recipe(views=views)) for views in (None, 0, 1, 7)] == [VIEWS, 1, 1, 7]


def test_every_row_stands_once_for_each_of_its_views(examples):
    few = replace(examples.subset([4, 9]), views=3, seconds=(1.5, 2.5))
    found = all_views(few)
    assert found.manifest.paths == tuple(np.repeat(few.manifest.paths, 3))
    assert (found.views, found.seconds) == (1, (1.5,) * 3 + (2.5,) * 3)


def test_a_view_depends_on_seed_number_and_content_alone(tmp_path):
    for name, content in (("a", b"same"), ("b", b"same"), ("c", b"other")):
        (tmp_path / name).write_bytes(content)

    def change(example, generator):
        return example + float(generator.normal())

    def drawn(seed, *places):
        augment = view_augment(change, Recipe(seed=seed), [(File(str(tmp_path / name)), view) for name, view in places])
        return [float(augment(torch.zeros(()), row)) for row in range(len(places))]

    first = drawn(0, ("a", 0), ("b", 0), ("c", 0), ("a", 1))
    assert first[0] == first[1]
    assert len(set(first)) == 3
    assert drawn(0, ("a", 1)) == first[3:]
    assert drawn(1, ("a", 0)) != first[:1]
