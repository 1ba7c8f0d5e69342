"""How many examples a pass takes at once."""

from dataclasses import replace
from types import SimpleNamespace

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


def sizes_on(device, examples, shape, fitting=None, count=10_000, **changes):
    """Rows and seconds of a batch of a pass over examples of one shape. fitting: rows that a GPU's memory takes, which
    is asked for where it may decide. count: rows of the pass."""
    asked = []
    tensors = tuple(torch.zeros(shape) for _ in range(60))
    recipe = replace(frozen_pass.Recipe(batch_size=4), **changes)
    found = frozen_pass._pass_recipe(replace(examples, tensors=tensors), recipe, torch.device(device), count,
                                     lambda: asked.append(1) or fitting)  # fmt: skip
    assert bool(asked) == (device == "cuda" and count > recipe.batch_size)
    return found.batch_size, found.batch_seconds


@pytest.mark.parametrize("shape", [(1, 4, 4, 4), (64,)], ids=["volumes", "clips"])
def test_on_a_cpu_volumes_and_clips_keep_the_batches_of_training(examples, shape):
    assert sizes_on("cpu", examples, shape) == (4, None)


@pytest.mark.parametrize("shape", [(1, 4, 4, 4), (64,)], ids=["volumes", "clips"])
def test_on_a_gpu_they_grow_as_far_as_its_memory_goes(examples, shape):
    assert sizes_on("cuda", examples, shape, fitting=1000) == (16, None)
    assert sizes_on("cuda", examples, shape, fitting=9, batch_seconds=20.0) == (9, 45.0)
    assert sizes_on("cuda", examples, shape, fitting=1) == (4, None)


def test_on_a_gpu_images_fill_it_whatever_the_batches_of_training(examples):
    most = frozen_pass.PASS_VALUES["cuda"] // (3 * 224 * 224)
    assert sizes_on("cuda", examples, (3, 224, 224), fitting=10_000)[0] == most == 256
    assert sizes_on("cuda", examples, (3, 224, 224), fitting=100)[0] == 100


def test_no_batch_is_larger_than_the_pass(examples):
    assert sizes_on("cuda", examples, (3, 28, 28), fitting=10_000, count=100)[0] == 100
    assert sizes_on("cuda", examples, (3, 28, 28), fitting=10_000, count=3)[0] == 4


def test_memory_is_measured_on_what_the_pass_sends(backbone, examples, recipe, monkeypatch):
    """Of scans that are cut into patches, on a patch; the same card takes the same batches whatever it did before."""
    sent, card = [], SimpleNamespace(total_memory=1 << 20)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 1 << 19)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: (1 << 19) + (1 << 14))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: sent.append("reset"))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: card)
    work = Pass(backbone, examples, 2, start_runtime(recipe), recipe, None, 1)

    def batches(rows):
        sent.append(rows)
        yield examples.contract.collate([examples.tensor(row)[:, :4, :4] for row in rows])

    assert frozen_pass._rows_that_fit(work, backbone, batches) == 16
    assert sent == ["reset", [0]]
