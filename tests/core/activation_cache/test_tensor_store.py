"""What is added to a store comes back, whatever happens to the writer, the files or the disk."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graftwork.core.activation_cache import tensor_store
from graftwork.core.activation_cache.tensor_store import PREFIX, RECORD, names, open_store, read, writer
from graftwork.core.errors import OutputError, SettingsError

TORCH = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


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


@pytest.mark.parametrize(("dtype", "relative"), [("float32", 0), ("float16", 2**-11), ("bfloat16", 2**-8)])
def test_values_come_back_as_exactly_as_the_dtype_holds_them(tmp_path, dtype, relative):
    values = torch.randn(50, 7, generator=torch.Generator().manual_seed(3)) + 3.0
    store = open_store(tmp_path, "key", {}, dtype)
    fill(store, {"a": values})
    found = read(store, ["a"])[0]
    assert found.dtype == TORCH[dtype]
    assert torch.equal(found, values.to(TORCH[dtype]))
    assert torch.all((found.float() - values).abs() <= relative * values.abs())


@settings(max_examples=30, deadline=None)
@given(shapes=st.lists(st.lists(st.integers(0, 4), max_size=4), max_size=6), dtype=st.sampled_from(sorted(TORCH)))
def test_every_shape_comes_back(tmp_path_factory, shapes, dtype):
    store = open_store(tmp_path_factory.mktemp("cache"), "key", {}, dtype)
    tensors = {str(n): torch.rand(shape).to(TORCH[dtype]) for n, shape in enumerate(shapes)}
    fill(store, tensors)
    assert names(store) == set(tensors)
    assert [found.shape for found in read(store, list(tensors))] == [tensor.shape for tensor in tensors.values()]
    assert same(store, tensors)


def test_views_inference_tensors_and_tensors_with_gradients_can_be_added(store):
    with torch.inference_mode():
        inferred = torch.arange(6.0).reshape(2, 3).T
    tensors = {"inferred": inferred, "gradient": torch.ones(3, requires_grad=True), "whole": torch.arange(4)}
    fill(store, tensors)
    assert [found.tolist() for found in read(store, list(tensors))] == [[[0, 3], [1, 4], [2, 5]], [1] * 3, [0, 1, 2, 3]]


def test_names_may_be_any_text_even_paths_that_are_no_utf8(store):
    tensors = {name: torch.full((1,), float(n)) for n, name in enumerate(["/a b/c.nii", "é", "", "caf\udce9.wav"])}
    fill(store, tensors)
    assert names(store) == set(tensors)
    assert same(store, tensors)


def test_reading_warns_of_nothing_and_changes_no_file(store):
    fill(store, {"a": torch.zeros(8)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(store, ["a"])[0].add_(1.0)
    assert torch.equal(read(store, ["a"])[0], torch.zeros(8))


def test_a_name_that_is_not_there_is_a_key_error(store):
    fill(store, {"a": torch.zeros(1)})
    with pytest.raises(KeyError, match="missing"):
        read(store, ["a", "missing"])


def test_ragged_is_what_the_writer_said_else_whether_shapes_differ(tmp_path):
    def reopened(key):
        return open_store(tmp_path, key, {}, "float32")

    assert reopened("a").ragged is None
    fill(reopened("a"), {"one": torch.zeros(2, 3), "two": torch.zeros(2, 3)})
    assert reopened("a").ragged is False
    fill(reopened("a"), {"three": torch.zeros(4, 3)})
    assert reopened("a").ragged is True
    with writer(reopened("b")) as adding:
        adding.ragged = True
        adding.add("one", torch.zeros(2, 3))
    assert reopened("b").ragged is True


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_value_too_large_for_the_dtype_is_refused_and_infinity_is_not(tmp_path, dtype):
    store = open_store(tmp_path, "key", {}, dtype)
    large = torch.finfo(torch.float32).max
    with writer(store) as adding:
        adding.add("limits", torch.tensor([float("inf"), float("nan"), 65504.0]))
        with pytest.raises(OutputError, match=r"x\.wav.*is too large.*--cache-dtype.*float32"):
            adding.add("x.wav", torch.tensor([1.0, large]))
    assert names(store) == {"limits"}
    assert read(store, ["limits"])[0][0] == float("inf")


def test_what_was_added_before_the_block_failed_is_there(store):
    def fail():
        with writer(store) as adding:
            adding.add("a", torch.ones(3))
            raise RuntimeError("the network failed")

    with pytest.raises(RuntimeError, match="the network failed"):
        fail()
    assert same(store, {"a": torch.ones(3)})


def test_entries_can_be_read_before_the_writer_ends(store, monkeypatch):
    monkeypatch.setattr(tensor_store, "PUBLISH_SECONDS", 0.05)
    with writer(store) as adding:
        adding.add("a", torch.ones(3))
        assert names(store) == set()
        time.sleep(0.06)
        adding.add("b", torch.zeros(2))
        found = read(store, ["a", "b"])
        adding.add("c", torch.zeros(5000))
    assert torch.equal(found[0], torch.ones(3))
    assert names(store) == {"a", "b", "c"}


def test_a_writer_that_adds_nothing_leaves_nothing(store):
    fill(store, {})
    assert os.listdir(store.folder) == [RECORD]


def test_a_writer_goes_on_in_a_new_file_when_one_is_full(store, monkeypatch):
    monkeypatch.setattr(tensor_store, "FILE_BYTES", 256)
    tensors = random_tensors(12)
    fill(store, tensors)
    assert len(files(store, ".bin")) > 3
    assert same(store, tensors)


def test_entries_written_twice_are_one(store):
    fill(store, {"a": torch.ones(3)})
    fill(store, {"a": torch.ones(3), "b": torch.zeros(1)})
    assert names(store) == {"a", "b"}
    assert same(store, {"a": torch.ones(3)})


PROGRAM = """
import sys, time, torch
from pathlib import Path
from graftwork.core.activation_cache import tensor_store
tensor_store.PUBLISH_SECONDS = float(sys.argv[3])
store = tensor_store.open_store(Path(sys.argv[1]), "key", {}, "float32")
first = int(sys.argv[2])
with tensor_store.writer(store) as adding:
    for n in range(first, first + 300):
        adding.add(str(n), torch.full((n % 7, 5), float(n)))
    if sys.argv[4] == "hang":
        print("added", flush=True)
        time.sleep(60)
"""


def start(cache, first, publish_seconds, end):
    command = [sys.executable, "-c", PROGRAM, str(cache), str(first), str(publish_seconds), end]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow(reason="two processes load torch")
def test_processes_that_write_at_the_same_time_lose_nothing(tmp_path):
    processes = [start(tmp_path, first, 0.002, "leave") for first in (0, 200)]
    assert [process.wait(60) for process in processes] == [0, 0]
    for process in processes:
        process.stdout.close()
    store = open_store(tmp_path, "key", {}, "float32")
    assert names(store) == {str(n) for n in range(500)}
    assert same(store, {str(n): torch.full((n % 7, 5), float(n)) for n in range(500)})


@pytest.mark.slow(reason="another process loads torch")
def test_what_a_killed_writer_had_not_published_is_not_there_and_can_be_added_again(tmp_path):
    process = start(tmp_path, 0, 60, "hang")
    assert process.stdout.readline() == "added\n"
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    process.stdout.close()
    store = open_store(tmp_path, "key", {}, "float32")
    assert len(files(store, ".bin")) == 1
    assert names(store) == set()
    tensors = random_tensors(3)
    fill(store, tensors)
    assert names(store) == set(tensors)
    assert same(store, tensors)


def test_opening_again_keeps_the_record_and_sets_the_time(tmp_path, store):
    record = store.folder / RECORD
    before = record.read_text()
    os.utime(record, (0, 0))
    assert open_store(tmp_path, "key", {"what": "test"}, "float32") == store
    assert record.read_text() == before
    assert json.loads(before) == {"schema": tensor_store.SCHEMA, "about": {"what": "test"}, "dtype": "float32"}
    assert time.time() - record.stat().st_mtime < 60


@pytest.mark.parametrize("content", ['{"schema": "graftwork-store-0"}', "{", "[]", ""])
def test_a_store_of_another_schema_is_refused_with_its_folder_and_a_way_out(store, content):
    (store.folder / RECORD).write_text(content)
    with pytest.raises(OutputError, match="delete it or name another --cache") as raised:
        open_store(store.folder.parent, "key", {}, "float32")
    assert str(store.folder) in str(raised.value)


def test_a_store_of_a_newer_version_says_to_upgrade(store):
    newer = json.dumps({"schema": f"{PREFIX}{int(tensor_store.SCHEMA.removeprefix(PREFIX)) + 1}"})
    (store.folder / RECORD).write_text(newer)
    with pytest.raises(OutputError, match="upgrade graftwork, or delete it or name another --cache"):
        open_store(store.folder.parent, "key", {}, "float32")


def test_a_store_of_the_first_layout_is_opened_and_read(store):
    """As every version since has written it: the record has no more than these fields."""
    assert json.loads((store.folder / RECORD).read_text()).keys() == {"schema", "about", "dtype"}
    (store.folder / RECORD).write_text('{"schema": "graftwork-store-2", "about": {}, "dtype": "float32"}')
    assert names(open_store(store.folder.parent, "key", {}, "float32")) == names(store)


def test_a_store_of_another_dtype_is_refused(store):
    with pytest.raises(OutputError, match="holds float32, not float16"):
        open_store(store.folder.parent, "key", {}, "float16")


def test_an_unknown_dtype_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="expected one of float32, float16, bfloat16"):
        open_store(tmp_path, "key", {}, "float64")
    assert os.listdir(tmp_path) == []


def test_a_cache_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "cache").write_text("")
    with pytest.raises(OutputError, match=r"cannot be written.*name another --cache"):
        open_store(tmp_path / "cache", "key", {}, "float32")


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_read_only_folder_is_refused(store):
    store.folder.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="cannot be written"):
            open_store(store.folder.parent, "key", {}, "float32")
    finally:
        store.folder.chmod(0o700)


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_on_a_full_disk_what_was_published_stays_and_the_rest_is_given_back(store, monkeypatch):
    monkeypatch.setattr(tensor_store, "PUBLISH_SECONDS", 0)
    with writer(store) as adding:
        adding.add("a", torch.ones(3))
        monkeypatch.setattr(tensor_store, "PUBLISH_SECONDS", 60)
        adding.add("b", torch.ones(300))
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            with pytest.raises(OutputError, match=r"cannot be written \(No space left on device\)") as raised:
                adding.add("c", torch.ones(3))
        assert str(store.folder) in str(raised.value)
        assert names(store) == {"a"}
        assert files(store, ".bin")[0].stat().st_size == 12
        adding.add("d", torch.zeros(3))
    assert same(store, {"a": torch.ones(3), "d": torch.zeros(3)})
    assert names(store) == {"a", "d"}


@pytest.mark.parametrize("call", ["fsync", "replace", "utime"])
def test_a_disk_that_fills_up_when_publishing_leaves_nothing_half(store, monkeypatch, call):
    adding = writer(store)
    adding.add("a", torch.ones(3))
    monkeypatch.setattr(os, call, full)
    with pytest.raises(OutputError, match=r"No space left.*name another --cache"):
        adding.__exit__(None, None, None)
    assert os.listdir(store.folder) == [RECORD]


def test_a_full_disk_does_not_hide_what_went_wrong_before(store, monkeypatch, caplog):
    def fail():
        with writer(store) as adding:
            adding.add("a", torch.ones(3))
            monkeypatch.setattr(os, "fsync", full)
            raise RuntimeError("the network failed")

    with pytest.raises(RuntimeError, match="the network failed"):
        fail()
    assert "No space left" in caplog.text


def test_a_write_that_takes_only_part_goes_on(store, monkeypatch):
    whole = os.write
    monkeypatch.setattr(os, "write", lambda file, data: whole(file, data[:10]))
    tensors = random_tensors(4)
    fill(store, tensors)
    assert same(store, tensors)


def test_a_writer_notices_that_its_store_was_removed(store):
    adding = writer(store)
    adding.add("a", torch.ones(3))
    for path in store.folder.iterdir():
        path.unlink()
    store.folder.rmdir()
    with pytest.raises(OutputError, match="cannot be written"):
        adding.__exit__(None, None, None)
    assert not store.folder.exists()
