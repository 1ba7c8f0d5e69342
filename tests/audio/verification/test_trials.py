"""Trial lists as VoxCeleb writes them, and everything that can be wrong with one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from graftwork.audio.verification.trials import all_pairs, check_kinds, read_trials, without_identical
from graftwork.core.errors import ManifestError, TrialsError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("s1/a.wav", "s1/b.wav", "s2/c.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"sound")
    return tmp_path


@pytest.mark.parametrize("gap", [" ", "\t", "  "])
def test_a_list_is_read_with_the_speakers_that_its_folders_name(folder: Path, gap: str) -> None:
    (folder / "trials.txt").write_text(f"1{gap}s1/a.wav{gap}s1/b.wav\n\n0{gap}s1/a.wav{gap}s2/c.wav\n")
    trials = read_trials(folder / "trials.txt")
    assert [Path(path).name for path in trials.paths] == ["a.wav", "b.wav", "c.wav"]
    assert trials.first.tolist() == [0, 0]
    assert trials.second.tolist() == [1, 2]
    assert trials.targets.tolist() == [True, False]
    assert trials.sides() == (["s1", "s1"], ["s1", "s2"])


def test_folders_that_contradict_the_labels_name_no_speakers(folder: Path) -> None:
    (folder / "trials.txt").write_text("0 s1/a.wav s1/b.wav\n1 s1/a.wav s2/c.wav\n")
    assert read_trials(folder / "trials.txt").speakers is None


def test_everything_wrong_is_reported_by_line(folder: Path) -> None:
    (folder / "trials.txt").write_text("1 s1/a.wav s1/b.wav\n2 s1/a.wav s2/c.wav\n0 s1/a.wav\n0 s1/a.wav s9/x.wav\n")
    with pytest.raises(ManifestError) as caught:
        read_trials(folder / "trials.txt")
    text = str(caught.value)
    assert "row 2: expected `1 one.wav other.wav`" in text
    assert "row 3: expected" in text
    assert "row 4: no such file: 's9/x.wav'" in text


def test_all_pairs_are_each_pair_once() -> None:
    trials = all_pairs("x", list("abcd"), ["s", "t", "s", "t"])
    assert len(trials) == 6
    assert np.all(trials.first < trials.second)
    assert trials.targets.sum() == 2


def test_a_clip_and_its_speaker_in_two_forms_of_unicode_are_one(tmp_path: Path) -> None:
    (tmp_path / "Jose\u0301").mkdir()
    for name in ("a.wav", "b.wav"):
        (tmp_path / "Jose\u0301" / name).write_bytes(b"sound")
    (tmp_path / "trials.txt").write_text("1 José/a.wav Jose\u0301/b.wav\n", encoding="utf-8")
    trials = read_trials(tmp_path / "trials.txt")
    assert trials.paths == tuple(str(tmp_path / "Jose\u0301" / name) for name in ("a.wav", "b.wav"))
    assert trials.sides() == (["José"], ["José"])


def test_pairs_that_sound_the_same_are_named_and_left_out() -> None:
    trials = all_pairs("x", list("abcd"), ["s", "s", "t", "t"])
    found, left_out = without_identical(trials, ["1", "1", "2", "1"])
    assert [(one.first, one.second, one.one_speaker) for one in left_out] == [
        ("a", "b", True), ("a", "d", False), ("b", "d", False)
    ]  # fmt: skip
    assert str(left_out[1]) == "a and d (as two speakers)"
    assert list(zip(found.first, found.second, found.targets, strict=True)) == [(0, 2, False), (1, 2, False),
                                                                             (2, 3, True)]  # fmt: skip


@pytest.mark.parametrize(("speakers", "said"), [("st", "no target trial"), ("ss", "no non-target trial")])
def test_trials_of_one_kind_are_refused_with_what_to_do(speakers: str, said: str) -> None:
    with pytest.raises(TrialsError, match=said):
        check_kinds(all_pairs("x", list("ab"), list(speakers)))
    with pytest.raises(TrialsError, match="there are no trials"):
        check_kinds(all_pairs("x", ["a"], ["s"]))
