"""Examples read once, batches of an epoch, and random changes that repeat."""

import os
import threading
import time
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import psutil
import pytest
import torch

from graftwork.core.data import examples as examples_module
from graftwork.core.data.examples import epoch_augment, load_batches, read_examples, read_many
from graftwork.core.errors import TrainingError, UnreadableError
from tests.core.conftest import ArrayContract


@pytest.fixture
def broken(manifest, tmp_path):
    """Two of the files cannot be read."""
    for name in ("x.npy", "y.npy"):
        (tmp_path / name).write_bytes(b"nothing")
    return replace(manifest, examples=(str(tmp_path / "x.npy"), *manifest.paths[1:59], str(tmp_path / "y.npy")))


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
        assert torch.equal(found.tensor(row), backbone.contract.read(broken.examples[row + 1]))


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
    assert sorted(backbone.contract.reads) == sorted(manifest.paths[row] for row in (3, 1, 59))


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


@dataclass(frozen=True)
class Noting(ArrayContract):
    """Notes the thread that reads, after as many seconds as it is told."""

    seconds_each: float = 0.0
    threads: list[int] = field(default_factory=list, compare=False)

    def read(self, example):
        time.sleep(self.seconds_each)
        self.threads.append(threading.get_ident())
        return super().read(example)


def test_slow_files_are_read_side_by_side_and_quick_ones_without_waiting_for_a_thread(manifest, monkeypatch):
    here = threading.get_ident()
    slow, quick = Noting(seconds_each=2e-3), Noting()
    monkeypatch.setattr(examples_module, "_HANDING_OVER_SECONDS", 1e-3)
    found = [example for example, _ in read_many(slow, manifest.examples, "")]
    assert found == list(manifest.examples)
    assert len(set(slow.threads) - {here}) > 1
    monkeypatch.setattr(examples_module, "_HANDING_OVER_SECONDS", 60.0)
    assert [example for example, _ in read_many(quick, manifest.examples, "")] == list(manifest.examples)
    assert set(quick.threads) == {here}


def test_processes_of_one_machine_share_the_memory_for_examples(manifest, monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=4 * 60 * 8 * 8 * 4))
    assert read_examples(manifest, ArrayContract()).tensors is not None
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert read_examples(manifest, ArrayContract()).tensors is None


def test_what_a_change_needs_is_imported_before_workers_are_forked(examples):
    """Each worker of each epoch would import it again."""
    parents = []

    def change(example, generator):
        parents.append(os.getpid())
        return example

    augment = epoch_augment(change, len(examples), 0, 0)
    list(load_batches(examples, [[0, 1], [2, 3]], augment=augment, workers=1))
    assert parents == [os.getpid()]
    list(load_batches(examples, [[0, 1], [2, 3]], augment=augment, workers=0))
    assert len(parents) == 5
