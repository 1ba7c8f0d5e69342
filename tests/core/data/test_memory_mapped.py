"""Tensors in mapped files: their order, their life, and the memory that they take."""

import numpy as np
import psutil
import pytest
import torch

from graftwork.core.activation_cache.tensor_store import RECORD, open_store, read, writer
from graftwork.core.data import memory_mapped


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path, "key", {"what": "test"}, "float32")


def random_tensors(count, seed=0):
    """Tensors of shapes (1..count, 3), by name."""
    generator = torch.Generator().manual_seed(seed)
    return {f"{n}.wav": torch.randn(n + 1, 3, generator=generator) for n in range(count)}


def fill(store, tensors):
    with writer(store) as adding:
        for name, tensor in tensors.items():
            adding.add(name, tensor)


def same(store, tensors):
    return all(
        torch.equal(found, tensors[name]) for name, found in zip(tensors, read(store, list(tensors)), strict=True)
    )


def files(store, suffix):
    return sorted(path for path in store.folder.glob(f"*{suffix}") if path.name != RECORD)


def test_mapped_tensors_are_taken_in_any_order_without_being_read(store):
    tensors = random_tensors(6)
    fill(store, tensors)
    found = read(store, list(tensors))
    taken = found.take(np.array([4, 0, 4])).take([2, 1])
    assert [len(value) for value in taken] == [5, 1]
    assert torch.equal(found[-1], tensors["5.wav"])
    assert [len(value) for value in found[1:5:2]] == [2, 4]
    assert len(found[:0]) == 0
    with pytest.raises(IndexError):
        found[6]


def test_what_is_mapped_outlives_its_file_and_its_list(store):
    tensors = random_tensors(3)
    fill(store, tensors)
    found = read(store, list(tensors))
    last = found[2]
    for path in files(store, ".bin"):
        path.unlink()
    assert torch.equal(found[1], tensors["1.wav"])
    del found
    assert torch.equal(last, tensors["2.wav"])


@pytest.mark.slow(reason="writes 400 MB and reads them three times")
def test_a_store_larger_than_the_memory_allowed_can_be_read_again_and_again(store):
    with writer(store) as adding:
        for n in range(100):
            adding.add(str(n), torch.full((2**20,), float(n)))
    process = psutil.Process()
    found = read(store, [str(n) for n in range(100)])
    start = process.memory_info().rss
    highest = 0
    for part in (found, found.take(np.random.default_rng(0).permutation(100)), found[::-1]):
        for tensor in part:
            tensor.sum()
            highest = max(highest, process.memory_info().rss - start)
    assert highest < 250e6
    assert [found[n][-1].item() for n in range(100)] == list(range(100))


def test_small_entries_count_with_the_pages_around_them(store, monkeypatch):
    with writer(store) as adding:
        for n in range(1000):
            adding.add(f"small {n}", torch.full((1,), float(n)))
            adding.add(f"large {n}", torch.zeros(16000))
    monkeypatch.setattr(memory_mapped, "RESIDENT_BYTES", 4 * 2**20)
    found = read(store, [f"small {n}" for n in range(1000)])
    process = psutil.Process()
    start = process.memory_info().rss
    assert [value.item() for value in found] == list(range(1000))
    assert process.memory_info().rss - start < 10e6
