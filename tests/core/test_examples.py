"""Examples read once, batches of an epoch, and random changes that repeat."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graftwork.core.errors import TrainingError, UnreadableError
from graftwork.core.examples import epoch_augment, epoch_batches, load_batches, read_examples


@given(st.integers(1, 200), st.integers(1, 40), st.integers(0, 5), st.integers(0, 5))
def test_an_epoch_has_each_row_once_in_batches_of_nearly_one_size(rows, batch_size, seed, epoch):
    batches = epoch_batches(rows, batch_size, seed, epoch)
    assert sorted(np.concatenate(batches)) == list(range(rows))
    sizes = [len(batch) for batch in batches]
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= batch_size
    assert len(batches) == -(-rows // batch_size)


def test_the_order_is_that_of_seed_and_epoch():
    drawn = {
        (seed, epoch): tuple(np.concatenate(epoch_batches(50, 8, seed, epoch))) for seed in (0, 1) for epoch in (0, 1)
    }
    assert len(set(drawn.values())) == 4
    assert drawn[0, 1] == tuple(np.concatenate(epoch_batches(50, 8, 0, 1)))


@pytest.fixture
def broken(manifest, tmp_path):
    """Two of the files cannot be read."""
    for name in ("x.npy", "y.npy"):
        (tmp_path / name).write_bytes(b"nothing")
    return replace(manifest, paths=(str(tmp_path / "x.npy"), *manifest.paths[1:59], str(tmp_path / "y.npy")))


def test_all_that_cannot_be_read_is_listed(broken, backbone):
    with pytest.raises(UnreadableError, match=r"^2 examples cannot be used \(--skip-unreadable") as caught:
        read_examples(broken, backbone.contract)
    assert "x.npy: cannot be read" in str(caught.value)
    assert "y.npy: cannot be read" in str(caught.value)


def test_what_is_skipped_is_in_the_result(broken, backbone):
    found = read_examples(broken, backbone.contract, unreadable="skip")
    assert [one.path for one in found.left_out] == [broken.paths[0], broken.paths[59]]
    assert found.manifest.paths == broken.paths[1:59]
    assert len(found.tensors) == 58
    for row in (0, 57):
        assert torch.equal(found.tensor(row), backbone.contract.read(broken.paths[row + 1]))


def test_nothing_readable_is_nothing_to_train_on(broken, backbone):
    with pytest.raises(TrainingError, match="none of the 2 examples can be used"):
        read_examples(broken.subset([0, 59]), backbone.contract, unreadable="skip")


def test_examples_that_do_not_fit_are_read_again_and_are_the_same(manifest, backbone):
    kept = read_examples(manifest, backbone.contract)
    limit = 59 * 64 * 4
    again = read_examples(manifest, backbone.contract, memory_limit_bytes=limit)
    assert again.tensors is None
    assert read_examples(manifest, backbone.contract, memory_limit_bytes=60 * 64 * 4).tensors is not None
    backbone.contract.reads.clear()
    batches = [[3, 1], [59]]
    for one, other in zip(load_batches(kept, batches), load_batches(again, batches), strict=True):
        assert torch.equal(one.values, other.values)
    assert backbone.contract.reads == [manifest.paths[row] for row in (3, 1, 59)]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_random_change_depends_on_seed_epoch_and_row_alone(examples, augment, workers):
    def load(batches, seed=0, epoch=0, workers=0):
        drawn = epoch_augment(augment, len(examples), seed, epoch)
        loaded = load_batches(examples, batches, augment=drawn, seed=seed, epoch=epoch, workers=workers)
        return torch.cat([features.values for features in loaded])

    one = load([[4, 5], [6]], workers=workers)
    assert torch.equal(one, load([[6], [5], [4]])[[2, 1, 0]])
    assert not torch.equal(one, load([[4, 5], [6]], seed=1))
    assert not torch.equal(one, load([[4, 5], [6]], epoch=1))


def test_a_subset_shares_the_tensors(examples):
    part = examples.subset([5, 2])
    assert part.tensors[1] is examples.tensors[2]
    assert part.manifest.paths == (examples.manifest.paths[5], examples.manifest.paths[2])
