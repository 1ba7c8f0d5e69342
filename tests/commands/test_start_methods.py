"""Workers that are started afresh, as Windows, macOS and Python 3.14 do it, give what forked ones give."""

import io
import os
from dataclasses import replace
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from graftwork import audio, imaging
from graftwork.audio.domain import DOMAIN as AUDIO
from graftwork.core.activation_cache.tensor_store import open_store, read, writer
from graftwork.core.data.examples import Examples, _Rows, epoch_augment, load_batches, read_examples
from graftwork.core.data.manifest import Manifest
from graftwork.imaging.domain import DOMAIN as IMAGING

pytestmark = pytest.mark.slow  # every worker imports torch, and MONAI or torchaudio

SEED = 5
ROWS = 6


def manifest_of(paths):
    return Manifest("", tuple(map(str, paths)), "regression", "age", (), np.zeros(len(paths)))


@pytest.fixture
def pictures(tmp_path):
    rng = np.random.default_rng(SEED)
    paths = [tmp_path / f"{row}.png" for row in range(ROWS)]
    for path in paths:
        Image.fromarray(rng.integers(0, 255, (20, 20), dtype=np.uint8)).save(path)
    contract = imaging.load_backbone("tiny:cnn2d").contract
    return read_examples(manifest_of(paths), contract), IMAGING.augment


@pytest.fixture
def clips(tmp_path):
    rng = np.random.default_rng(SEED)
    paths = [tmp_path / f"{row}.wav" for row in range(ROWS)]
    for row, path in enumerate(paths):
        soundfile.write(path, rng.normal(0, 0.1, 4000 + 500 * row).astype(np.float32), 16000)
    contract = audio.load_backbone("tiny:wav2vec2").contract
    return read_examples(manifest_of(paths), contract), AUDIO.augment


def in_store(examples, folder) -> Examples:
    """The same, mapped from a store."""
    store = open_store(folder, "key", {}, "float32")
    with writer(store) as adding:
        for row in range(len(examples)):
            adding.add(str(row), examples.tensor(row))
    return replace(examples, tensors=read(store, [str(row) for row in range(len(examples))]))


@pytest.fixture
def start_method(request):
    before = torch.multiprocessing.get_start_method(allow_none=True)
    torch.multiprocessing.set_start_method(request.param, force=True)
    yield request.param
    torch.multiprocessing.set_start_method(before, force=True)


@pytest.mark.long(reason="starts interpreters that import everything")
@pytest.mark.parametrize(
    ("start_method", "domain", "where"),
    [("spawn", "pictures", "memory"), ("spawn", "pictures", "store"), ("spawn", "clips", "files"),
     ("forkserver", "clips", "memory"), ("forkserver", "clips", "store")],
    indirect=["start_method"],
)  # fmt: skip
def test_workers_that_are_started_afresh_give_the_same_batches(start_method, domain, where, request, tmp_path):
    examples, change = request.getfixturevalue(domain)
    if where == "store":
        examples = in_store(examples, tmp_path / "cache")
    elif where == "files":
        examples = replace(examples, tensors=None)
    drawn = epoch_augment(change, len(examples), SEED, 0)
    batches = [[4, 1], [0, 5], [2, 3]]
    here = list(load_batches(examples, batches, augment=drawn, workers=0))
    there = list(load_batches(examples, batches, augment=drawn, workers=2))
    for one, other in zip(here, there, strict=True):
        # Several threads and one add up in another order.
        torch.testing.assert_close(one.values, other.values, rtol=1e-5, atol=1e-5)
        assert one.lengths is None or torch.equal(one.lengths, other.lengths)


def test_many_examples_in_memory_take_few_open_files(pictures, tmp_path):
    """Each tensor alone would take a file descriptor of each worker; a process may often have 1024 of them."""
    examples, change = pictures
    tensors = tuple(examples.tensor(row % ROWS).clone() for row in range(900))
    many = replace(examples.subset([row % ROWS for row in range(900)]), tensors=tensors)
    rows = _Rows(many, epoch_augment(change, len(many), SEED, 0), SEED, 0)
    expected = rows[7]
    before = len(os.listdir("/proc/self/fd"))
    ForkingPickler(io.BytesIO()).dump(rows)
    assert len(os.listdir("/proc/self/fd")) - before < 10
    assert torch.equal(rows[7], expected)
