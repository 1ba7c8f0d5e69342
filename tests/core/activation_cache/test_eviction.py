"""The folder of all stores is found, measured, and kept below its limit."""

import os
import shutil
import time
from collections import namedtuple
from pathlib import Path

import pytest
import torch

from graftwork.core.activation_cache import eviction as module
from graftwork.core.activation_cache.eviction import cache_folder, make_room, parse_size, store_bytes
from graftwork.core.activation_cache.tensor_store import RECORD, open_store, read, writer
from graftwork.core.errors import SettingsError

HOUR = 3600.0


def make_store(cache, key, hours_ago, values=1000):
    """A store of a bit more than 4 bytes a value, last used some hours ago."""
    store = open_store(cache, key, {}, "float32")
    with writer(store) as adding:
        adding.add("a", torch.zeros(values))
    os.utime(store.folder / RECORD, (time.time() - hours_ago * HOUR,) * 2)
    return store


def test_the_cache_is_where_it_was_said_to_be(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("XDG_CACHE_HOME", "/shared")
    monkeypatch.setenv("GRAFTWORK_CACHE", "/ours")
    assert cache_folder("here") == Path("here")
    assert cache_folder("~/mine") == Path("/home/somebody/mine")
    assert cache_folder(None) == Path("/ours")
    monkeypatch.setenv("GRAFTWORK_CACHE", "")
    assert cache_folder(None) == Path("/shared/graftwork")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder(None) == Path("/home/somebody/.cache/graftwork")


def test_without_a_home_the_user_is_told_to_name_a_cache(monkeypatch):
    for name in ("GRAFTWORK_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(SettingsError, match="--cache"):
        cache_folder(None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("800000", 800000),
        ("0", 0),
        ("12B", 12),
        ("500MB", 500_000_000),
        ("500 mb", 500_000_000),
        ("20 GB", 20_000_000_000),
        ("20g", 20_000_000_000),
        ("1.5GiB", 1_610_612_736),
        (" 2KiB ", 2048),
        ("0.5TB", 500_000_000_000),
        ("1 TiB", 1_099_511_627_776),
    ],
)
def test_sizes_are_read_in_decimal_and_binary_units(text, expected):
    assert parse_size(text) == expected


@pytest.mark.parametrize(
    "text", ["", "GB", "-5MB", "1,5GB", "1e9", "5 XB", "5 GBs", "5 i", "1.5.2", ".5GB", "٣GB", "nan"]
)
def test_what_is_no_size_is_refused_with_an_example(text):
    with pytest.raises(SettingsError, match="expected one like 500MB"):
        parse_size(text)


def test_the_size_of_a_store_is_that_of_its_files_and_other_folders_are_none_of_ours(tmp_path):
    store = make_store(tmp_path, "one", 0)
    for name, content in (("photos", "x"), ("other", '{"schema": 3}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / RECORD).write_text(content)
    sizes = store_bytes(tmp_path)
    assert sizes == {store.folder: sum(path.stat().st_size for path in store.folder.iterdir())}
    assert sizes[store.folder] > 4000
    assert store_bytes(tmp_path / "nowhere") == {}


def test_stores_unused_for_longest_make_room_first_and_only_as_many_as_needed(tmp_path):
    for key, hours_ago in (("middle", 2), ("oldest", 3), ("newest", 1)):
        make_store(tmp_path, key, hours_ago)
    keep = make_store(tmp_path, "keep", 9).folder
    total = sum(store_bytes(tmp_path).values())
    assert make_room(tmp_path, 5000, total + 5000, keep)
    assert len(store_bytes(tmp_path)) == 4
    assert make_room(tmp_path, 5000, total, keep)
    assert sorted(os.listdir(tmp_path)) == ["keep", "newest"]


def test_nothing_is_removed_if_that_would_not_be_enough(tmp_path):
    make_store(tmp_path, "old", 2)
    keep = make_store(tmp_path, "keep", 9).folder
    assert not make_room(tmp_path, 5000, 9000, keep)
    assert sorted(os.listdir(tmp_path)) == ["keep", "old"]


def test_a_store_used_in_the_last_minutes_stays(tmp_path):
    recent = make_store(tmp_path, "recent", 9 / 60)
    keep = make_store(tmp_path, "keep", 0).folder
    limit = sum(store_bytes(tmp_path).values())
    assert not make_room(tmp_path, 100, limit, keep)
    os.utime(recent.folder / RECORD, (time.time() - 11 * 60,) * 2)
    assert make_room(tmp_path, 100, limit, keep)
    assert os.listdir(tmp_path) == ["keep"]


def test_the_disk_is_not_filled_to_the_brim(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    keep = tmp_path / "not made yet" / "keep"
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, module.MARGIN_BYTES + 1000))
    assert make_room(keep.parent, 1000, 10**12, keep)
    assert not make_room(keep.parent, 1001, 10**12, keep)
    old = make_store(tmp_path, "old", 2)
    assert make_room(tmp_path, 1001, 10**12, keep)
    assert not old.folder.exists()


def test_other_programs_folders_are_never_removed(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.bin").write_bytes(bytes(10000))
    os.utime(photos, (0, 0))
    assert not make_room(tmp_path, 100, 50, tmp_path / "keep")
    assert (photos / "a.bin").exists()


def test_a_removed_store_can_still_be_read_by_who_has_it_mapped(tmp_path):
    store = make_store(tmp_path, "old", 2)
    found = read(store, ["a"])
    assert make_room(tmp_path, 100, 200, tmp_path / "keep")
    assert os.listdir(tmp_path) == []
    assert torch.equal(found[0], torch.zeros(1000))


def test_a_store_that_cannot_be_removed_is_no_room(tmp_path, monkeypatch, caplog):
    make_store(tmp_path, "old", 2)

    def denied(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", denied)
    assert not make_room(tmp_path, 100, 200, tmp_path / "keep")
    assert "cannot be removed" in caplog.text


def test_what_a_killed_removal_left_is_removed(tmp_path):
    make_store(tmp_path, ".graftwork-removed-1", 2)
    assert make_room(tmp_path, 100, 10**6, tmp_path / "keep")
    assert os.listdir(tmp_path) == []
