"""How many examples a pass takes at once."""

from dataclasses import replace

import pytest
import torch

from graftwork.core.activation_cache import frozen_pass
from graftwork.core.activation_cache.frozen_pass import Pass, outputs
from graftwork.core.compute.runtime import start_runtime


@pytest.fixture
def go(backbone, examples, recipe):
    """Every example's output, in order, and the sizes of the batches."""

    def go(stop, examples=examples, **changes):
        changed = replace(recipe, **changes)
        work = Pass(backbone, examples, stop, start_runtime(changed), changed, None, 1)
        found, sizes = {}, []
        for places, _, tensors in outputs(work, [(row, 0) for row in range(len(examples))]):
            sizes.append(len(places))
            found |= dict(zip(places, tensors, strict=True))
        return torch.stack([found[row] for row in range(len(examples))]), sizes

    return go


def test_small_pictures_go_in_larger_batches(go, monkeypatch):
    first, sizes = go(2, batch_size=4)
    assert sizes == [16, 16, 16, 12]
    monkeypatch.setitem(frozen_pass.PASS_VALUES, "cpu", 6 * 64)  # six pictures of 8 by 8
    second, sizes = go(2, batch_size=4)
    assert sizes == [6] * 10
    monkeypatch.setitem(frozen_pass.PASS_VALUES, "cpu", 64)
    third, sizes = go(2, batch_size=4)
    assert sizes == [4] * 15
    for other in (second, third):
        torch.testing.assert_close(first, other, atol=1e-6, rtol=0)


def test_volumes_and_clips_keep_the_batches_of_training(examples):
    for shape in ((1, 4, 4, 4), (64,)):
        tensors = tuple(torch.zeros(shape) for _ in range(60))
        work = Pass(None, replace(examples, tensors=tensors), 1, None, frozen_pass.Recipe(batch_size=4), None, 1)
        assert frozen_pass._pass_recipe(work).batch_size == 4
