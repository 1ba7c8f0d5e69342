"""Which entries the files of a store hold, also where an index is broken or its data cut off."""

import json
import os
import time

import pytest
import torch

from graftwork.core.activation_cache import tensor_store
from graftwork.core.activation_cache.tensor_store import RECORD, names, open_store, read, writer


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


def test_entries_beyond_the_end_of_a_shortened_file_are_not_there(store):
    fill(store, {"a": torch.ones(16), "b": torch.ones(16), "c": torch.ones(0)})
    data = files(store, ".bin")[0]
    os.truncate(data, 127)
    assert names(store) == {"a", "c"}
    assert same(store, {"a": torch.ones(16), "c": torch.ones(0)})
    data.unlink()
    assert names(store) == set()


def broken(text, entries):
    return {
        "cut off": text[:-5],
        "empty": "",
        "no object": "[]",
        "other schema": text.replace(tensor_store.SCHEMA, "graftwork-store-0"),
        "negative offset": json.dumps({"schema": tensor_store.SCHEMA, "entries": {"a": [-64, [3]]}}),
        "no shape": json.dumps({"schema": tensor_store.SCHEMA, "entries": {"a": [0, "3"]}}),
        "no pair": json.dumps({"schema": tensor_store.SCHEMA, "entries": {"a": 0}}),
        "no entries": json.dumps({"schema": tensor_store.SCHEMA}),
    }[entries]


@pytest.mark.parametrize(
    "way",
    ["cut off", "empty", "no object", "other schema", "negative offset", "no shape", "no pair", "no entries"],
)
def test_a_broken_index_is_left_out_with_a_warning_and_the_others_count(store, caplog, way):
    fill(store, {"a": torch.ones(3)})
    index = files(store, ".json")[0]
    index.write_text(broken(index.read_text(), way))
    fill(store, {"b": torch.zeros(2)})
    assert names(store) == {"b"}
    assert str(index) in caplog.text


def test_an_index_that_is_just_being_written_is_passed_over_in_silence(store, caplog):
    fill(store, {"a": torch.ones(3)})
    (store.folder / ".half-x.json").write_text('{"sche')
    assert names(store) == {"a"}
    assert not caplog.text


def test_data_without_an_index_is_removed_after_a_day_and_listed_data_never(store):
    fill(store, {"a": torch.ones(3)})
    old = [store.folder / "dead.bin", store.folder / ".dead-x.json"]
    new = store.folder / "running.bin"
    for path in (*old, new):
        path.write_bytes(b"1234")
    for path in (*old, *files(store, ".bin")):
        if path != new:
            os.utime(path, (time.time() - 90000,) * 2)
    open_store(store.folder.parent, "key", {}, "float32")
    assert not any(path.exists() for path in old)
    assert new.exists()
    assert same(store, {"a": torch.ones(3)})
