"""What a record says of how a run came to be: the same for equal commands, and no name of a user."""

import json
import platform
import time
from pathlib import Path

import pytest

from graftwork.core.runs.provenance import (
    manifest_digest,
    provenance,
    said_command,
    versions,
    without_home,
    write_costs,
)


@pytest.mark.parametrize(("words", "said"), [
    ("train scans.csv --folds 3 --out runs/a", "train scans.csv --folds 3"),
    ("train scans.csv --out=runs/a --resume --json", "train scans.csv"),
    ("train --cache /c --cache-limit 1GB --workers=2 --device cuda:1 x.csv", "train x.csv"),
    ("evaluate /home/anna/run /home/anna/b.csv /home/annabel/c.csv", "evaluate ~/run ~/b.csv /home/annabel/c.csv"),
])  # fmt: skip
def test_equal_commands_are_said_alike_without_the_users_folder(words, said, monkeypatch):
    monkeypatch.setenv("HOME", "/home/anna")
    assert said_command(words.split()) == said


def test_words_with_spaces_can_be_typed_again():
    assert said_command(["train", "my scans.csv", "--target", "a;b"]) == "train 'my scans.csv' --target 'a;b'"


def test_without_a_home_nothing_is_taken_for_one(monkeypatch):
    monkeypatch.setenv("HOME", "/")
    assert without_home("/data/x") == "/data/x"


def test_versions_are_those_of_what_is_installed():
    found = versions()
    assert found["python"] == platform.python_version()
    assert {"graftwork", "torch", "numpy", "scikit-learn", "jinja2"} <= found.keys()
    assert "pytest" not in found


def test_a_record_is_the_same_twice_and_tells_data_apart():
    one, other = {"targets": "a", "groups": ""}, {"targets": "b", "groups": ""}
    assert provenance("train", ["x", "--out", "1"], one) == provenance("train", ["x", "--out", "2"], dict(one))
    assert manifest_digest(one) != manifest_digest(other)
    assert provenance("train", None, one)["command"] is None


def test_costs_are_a_file_of_their_own(tmp_path: Path):
    write_costs(tmp_path, time.monotonic() - 2)
    found = json.loads((tmp_path / "costs.json").read_text())
    assert 2 <= found["seconds"] < 60
    assert found["peak_memory_mb"] > 50
    assert "cores" in found["system"]
