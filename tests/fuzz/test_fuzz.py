"""Damaged files of every format and of our own: read, or refused by a named error that says which file."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from graftwork.core.errors import UnreadableError
from tests.fuzz.damage import of_bytes, of_json, of_text
from tests.fuzz.run import drawn, outcomes
from tests.fuzz.subjects import Subject

ROOT = Path(__file__).parents[2]


@pytest.mark.slow(reason="reads 500 damaged files, in processes of their own")
def test_five_hundred_damaged_files_are_read_or_refused_by_name():
    words = [sys.executable, "-m", "tests.fuzz.run", "--cases", "500", "--seed", "1"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    read, refused = [int(word) for word in done.stdout.splitlines()[-1].split() if word.isdecimal()][1:3]
    assert min(read, refused) > 100


def whatever(path):
    """What a reader with faults does, by the first byte."""
    match path.read_bytes()[:1]:
        case b"k":
            return {}["key"]
        case b"e":
            os._exit(3)
        case b"n":
            raise UnreadableError("some file: is damaged")
        case b"r":
            raise UnreadableError(f"{path}: is damaged")
    return None


@pytest.mark.parametrize(
    ("content", "said"),
    [("fine", "read"), ("refused", "refused"), ("key", "KeyError: \"'key'\" "), ("end", "ends with 3"),
     ("nameless", "names no file: UnreadableError: some file: is damaged")],
)  # fmt: skip
def test_what_a_reader_does_wrong_is_told(tmp_path, content, said):
    file = tmp_path / "whole.txt"
    file.write_text("whole")
    subject = Subject("one", file, lambda whole, rng: content.encode(), whatever)
    assert [one.said for one in outcomes([subject], 0, range(3))] == [said] * 3
    assert file.read_text() == "whole"


def test_a_case_is_the_same_whenever_it_is_drawn(tmp_path):
    subjects = [Subject(name, tmp_path / name, of_bytes, whatever) for name in "abc"]
    found = [(one.name, rng.integers(1 << 30)) for one, rng in (drawn(subjects, 3, number) for number in range(30))]
    assert found == [
        (one.name, rng.integers(1 << 30)) for one, rng in (drawn(subjects, 3, number) for number in range(30))
    ]
    assert set(Counter(name for name, _ in found)) == set("abc")


@pytest.mark.parametrize("damage", [of_bytes, of_text, of_json])
def test_damage_changes_what_it_is_given(damage):
    whole = b'{"a": [1, 2, {"b": "c"}], "d": "e,f", "g": 0.5}'
    changed = [damage(whole, np.random.default_rng(seed)) != whole for seed in range(50)]
    assert np.mean(changed) > 0.8
