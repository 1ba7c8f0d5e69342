"""Files are whole or not there."""

import errno
import os
import stat
import subprocess
import sys

import pytest

from graftwork.core.errors import GraftworkError, OutputError
from graftwork.core.files import (
    atomic_write,
    locked,
    read_checked_json,
    read_json,
    remove_leftovers,
    write_checked_json,
    write_json,
    write_text,
)
from graftwork.core.inference.adapter_record import read_record
from graftwork.core.runs.run_folder import run_record
from graftwork.core.tensor_files import read_tensors


def test_a_file_that_could_not_be_finished_leaves_the_old_one_and_nothing_beside_it(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    write_text(path, "old")

    def fail():
        with atomic_write(path) as temporary:
            temporary.write_text("half")
            assert path.read_text() == "old"
            raise OSError(errno.ENOSPC, "disk full")

    with pytest.raises(OutputError, match="disk full"):
        fail()
    assert path.read_text() == "old"
    assert os.listdir(path.parent) == ["a.txt"]


def test_results_are_as_open_as_the_users_other_files(tmp_path):
    write_text(tmp_path / "ours", "x")
    (tmp_path / "theirs").write_text("x")
    assert stat.S_IMODE((tmp_path / "ours").stat().st_mode) == stat.S_IMODE((tmp_path / "theirs").stat().st_mode)


def test_json_is_the_same_for_equal_values_and_refuses_nan(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1, "a": "é"})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n  "a": "é",\n  "b": 1\n}\n'
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "b.json", {"a": float("nan")})
    assert os.listdir(tmp_path) == ["a.json"]


def test_private_files_are_their_owners_alone_whatever_the_umask(tmp_path):
    with atomic_write(tmp_path / "a", "private") as temporary:
        temporary.write_text("x")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600


def test_an_error_of_another_file_keeps_its_own_name(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"), atomic_write(tmp_path / "a") as temporary:
        temporary.write_text((tmp_path / "absent").read_text())
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("error", [OSError("no picture"), OSError(errno.ENOENT, "gone", 7), TimeoutError("no answer"),
                                   ConnectionResetError(errno.ECONNRESET, "reset")])  # fmt: skip
def test_an_error_that_is_not_of_writing_keeps_its_own_name(tmp_path, error):
    """Decoders raise OSError for damaged pictures, networks for lost connections."""
    with pytest.raises(type(error)) as caught, atomic_write(tmp_path / "a"):
        raise error
    assert caught.value is error
    assert os.listdir(tmp_path) == []


def test_no_file_is_made_with_a_umask_that_was_changed_for_a_moment(tmp_path, monkeypatch):
    """It is the process', and another thread's files would have it."""
    monkeypatch.setattr(os, "umask", lambda _: pytest.fail("the umask was changed"))
    write_text(tmp_path / "a", "x")
    assert (tmp_path / "a").read_text() == "x"


def test_a_place_that_cannot_be_is_named_whatever_part_of_it_is_wrong(tmp_path):
    (tmp_path / "file").write_text("x")
    for place in (tmp_path / "file" / "a.csv", tmp_path / "file" / "b" / "a.csv"):
        with pytest.raises(OutputError, match=r"a\.csv: cannot be written"):
            write_text(place, "x")


def test_a_folder_that_cannot_be_flushed_does_not_undo_what_is_written(tmp_path, monkeypatch):
    fsync = os.fsync

    def refuse_folders(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(22, "Invalid argument")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", refuse_folders)
    write_text(tmp_path / "a", "x")
    assert (tmp_path / "a").read_text() == "x"


def test_names_of_any_length_and_kind_can_be_written(tmp_path):
    for name in ("x" * 250 + ".csv", "scan.nii.gz", "a. long sentence with a dot. and more of it than any ending has"):
        write_text(tmp_path / name, "x")
        assert (tmp_path / name).read_text() == "x"
    with atomic_write(tmp_path / "scan.nii.gz") as temporary:
        assert temporary.name.endswith(".nii.gz")
        temporary.write_text("y")


def test_checked_json_tells_every_change(tmp_path):
    path, content = tmp_path / "a.json", {"b": [0.1, None, "é"], "a": {"c": 2}}
    write_checked_json(path, content)
    assert read_checked_json(path) == content
    text = path.read_text(encoding="utf-8")
    for place, letter in enumerate(text):
        path.write_text(text[:place] + chr(ord(letter) ^ 1) + text[place + 1 :], encoding="utf-8")
        try:
            found = read_checked_json(path)
        except ValueError:
            continue
        assert {name: found[name] for name in content} == content, place  # the name of the digest itself, a blank
    path.write_text('{"a": 1}')
    assert read_checked_json(path) == {"a": 1}  # of an earlier version


def test_only_one_process_writes_into_a_folder_and_a_killed_one_lets_go(tmp_path):
    code = f"""
import sys, time
from pathlib import Path
from graftwork.core.files import locked
with locked(Path({str(tmp_path)!r})):
    print("in", flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "in\n"
        with pytest.raises(OutputError, match="another run is writing here"), locked(tmp_path):
            pass
        other.kill()
        other.wait()
    with locked(tmp_path):
        pass
    assert os.listdir(tmp_path) == []


def test_what_a_killed_process_was_writing_is_removed_and_nothing_else(tmp_path):
    (tmp_path / "folds" / "1").mkdir(parents=True)
    for name in ("a.json", "folds/1/checkpoint.safetensors", ".hidden"):
        (tmp_path / name).write_text("x")
    for name in (".graftwork-12.json", "folds/1/.graftwork-34.safetensors"):
        (tmp_path / name).write_text("half")
    remove_leftovers(tmp_path)
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert left == [".hidden", "a.json", "folds/1/checkpoint.safetensors"]


@pytest.mark.parametrize("read", [read_json, read_checked_json, lambda path: read_record(path.parent), read_tensors,
                                  lambda path: run_record(path.parent)])  # fmt: skip
def test_a_pipe_in_the_place_of_a_file_of_our_own_is_not_waited_for(tmp_path, read):
    for name in ("adapter.json", "run.json"):
        os.mkfifo(tmp_path / name)
    with pytest.raises((OSError, GraftworkError), match="is no regular file"):
        read(tmp_path / "adapter.json")
