"""An example is parsed once and written back as it was."""

import os
import pickle
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graftwork.core.errors import UnreadableError
from graftwork.core.example import (
    ON_DISK,
    ArchiveRow,
    Channels,
    File,
    Series,
    Span,
    Text,
    WithMask,
    absolute,
    as_example,
    ending,
    example_exists,
    existing,
    files_of,
    missing,
    parse_example,
    recording_of,
    refusal,
    span_of,
    span_problem,
    without_mask,
)

NAMES = st.text("abä/._- 1", min_size=1).map(str.strip).filter(bool)
NUMBERS = st.one_of(st.integers(0, 99).map(str), st.floats(0, 1e4).map("{:.3f}".format))
ONE = st.one_of(
    st.builds(File, NAMES),
    st.builds(ArchiveRow, NAMES.map("{}.npz".format), st.sampled_from(["train", "val", "test"]), st.integers(0, 10**6)),
    st.builds(Span, NAMES, NUMBERS, NUMBERS),
    st.builds(Series, NAMES, st.text("0123456789.", min_size=1)),
)
IMAGES = st.one_of(ONE, st.builds(Channels, st.lists(ONE, min_size=2, max_size=4).map(tuple)))
ALL_ON_DISK = st.one_of(IMAGES, st.builds(WithMask, IMAGES, ONE))


@given(ALL_ON_DISK)
def test_what_is_written_for_people_is_parsed_to_the_same_value(example):
    assert parse_example(str(example)) == example
    assert pickle.loads(pickle.dumps(example)) == example


@given(st.text())
def test_a_text_is_a_text_whatever_is_in_it(text):
    assert parse_example(text, (Text,)) == Text(text)
    assert str(Text(text)) == text


@given(st.text("ab|#=t.,019 npz/seriemask"))
def test_any_name_is_written_as_it_was_once_it_has_been_parsed(text):
    try:
        example = parse_example(text)
    except UnreadableError:
        return
    assert parse_example(str(example)) == example


@pytest.mark.parametrize(("text", "example"), [
    ("scans/1.png", File("scans/1.png")),
    ("a/set.npz", File("a/set.npz")),
    ("a/set.npz#train/17", ArchiveRow("a/set.npz", "train", 17)),
    ("a/SET.NPZ#val/0", ArchiveRow("a/SET.NPZ", "val", 0)),
    ("a.wav#t=1.5,3", Span("a.wav", "1.5", "3")),
    ("a#t=song.wav", File("a#t=song.wav")),
    ("#t=1,2", File("#t=1,2")),
    ("folder#series=1.2.3", Series("folder", "1.2.3")),
    ("t1.nii | t2.nii", Channels((File("t1.nii"), File("t2.nii")))),
    ("a|", File("a|")),
    ("a.png#mask=b.png", WithMask(File("a.png"), File("b.png"))),
    ("s.npz#test/3|f#series=1#mask=m.nii",
     WithMask(Channels((ArchiveRow("s.npz", "test", 3), Series("f", "1"))), File("m.nii"))),
])  # fmt: skip
def test_every_kind_has_its_way_of_being_written(text, example):
    assert parse_example(text) == example


def test_what_follows_an_archive_must_be_a_row():
    for text in ("a/set.npz#train", "a/set.npz#train/x"):
        with pytest.raises(UnreadableError, match=r"expected a row such as a/set.npz#train/17"):
            parse_example(text)


def test_a_file_whose_own_name_has_a_mark_is_one_file_where_it_exists(tmp_path):
    (tmp_path / "a|b.png").write_bytes(b"")
    (tmp_path / "x#series=1").write_bytes(b"")
    assert parse_example("a|b.png", folder=tmp_path) == File("a|b.png")
    assert parse_example("x#series=1", folder=tmp_path) == File("x#series=1")
    assert parse_example("a|c.png", folder=tmp_path) == Channels((File("a"), File("c.png")))


def test_people_may_name_an_example_by_text_path_or_value(tmp_path):
    assert as_example("a.wav#t=0,1") == Span("a.wav", "0", "1")
    assert as_example(Path("a.png")) == as_example(File("a.png")) == File("a.png")
    (tmp_path / "x").write_text("inside")
    assert Path(File(str(tmp_path / "x"))).read_text() == "inside"


def test_seconds_keep_their_spelling_and_windows_count_milliseconds():
    talk = parse_example("talk.wav#t=1,2.50")
    assert (talk.start_s, talk.end_s, str(talk)) == (1.0, 2.5, "talk.wav#t=1,2.50")
    assert span_of(talk, 1.25, 2) == span_of(File("talk.wav"), 1.25, 2) == Span("talk.wav", "1.250", "2.000")
    assert recording_of(talk) == File("talk.wav")
    assert recording_of(File("x")) == File("x")


@pytest.mark.parametrize("seconds", ["3,2", "-1,2", "1,1", "0,inf", "nan,1"])
def test_seconds_that_cannot_be_meant_have_a_problem(seconds):
    assert "expected seconds from 0 on" in span_problem(parse_example(f"a.wav#t={seconds}"))
    assert span_problem(parse_example("a.wav#t=0,1")) is None
    assert span_problem(File("a.wav")) is None


def test_an_example_is_there_where_its_files_are(tmp_path):
    for name in ("set.npz", "a.wav", "m.png"):
        (tmp_path / name).write_bytes(b"")
    for name in ("set.npz#train/0", "a.wav#t=0,1", "", "#series=1.2", "a.wav|m.png", "a.wav#mask=m.png"):
        example = absolute(parse_example(f"{tmp_path}/{name}" if name[:1] not in ("", "#") else f"{tmp_path}{name}"))
        example = WithMask(example.image, File(f"{tmp_path}/m.png")) if isinstance(example, WithMask) else example
        example = absolute(parse_example(name), tmp_path) if "|" in name else example
        assert example_exists(example), name
    lost = absolute(parse_example("a.wav|z.wav|y.npz#val/1"), tmp_path)
    assert list(map(str, missing(lost))) == [f"{tmp_path}/z.wav", f"{tmp_path}/y.npz#val/1"]
    assert example_exists(Text("no file"))


def test_every_file_is_made_absolute_as_seen_from_the_folder(tmp_path):
    example = absolute(parse_example("a|../x/b.npz#val/1#mask=m.png"), tmp_path)
    assert files_of(example) == (f"{tmp_path}/a", f"{tmp_path.parent}/x/b.npz", f"{tmp_path}/m.png")
    assert absolute(File("~/a")) == File(os.path.expanduser("~/a"))
    assert absolute(Text("a|b"), tmp_path) == Text("a|b")
    assert files_of(Text("a|b")) == ()


@pytest.mark.parametrize("mark", ["", "#t=0,1", "#series=1.2"])
def test_files_are_found_in_the_form_of_unicode_in_which_they_exist(tmp_path, mark):
    stored = tmp_path / unicodedata.normalize("NFD", "é.wav")
    stored.write_bytes(b"")
    assert str(existing(parse_example(f"{tmp_path}/é.wav{mark}"))) == f"{stored}{mark}"


def test_the_image_of_an_image_with_its_mask_is_what_is_looked_at():
    assert without_mask(parse_example("a.png#mask=b.png")) == File("a.png")
    assert without_mask(File("a.png")) == File("a.png")


def test_a_kind_that_is_not_read_is_named_with_those_that_are():
    assert refusal(parse_example("a.wav#t=0,1"), (File, Span)) is None
    reason = refusal(parse_example("a.wav#t=0,1|b.wav"), (File, Channels))
    assert reason == (
        "names seconds of a recording (talk.wav#t=12,22); what can be read here are files, several files as channels "
        "(t1.nii.gz|t2.nii.gz)"
    )
    assert refusal(Text("x"), ON_DISK).startswith("names texts")


@pytest.mark.parametrize(("text", "expected"), [
    ("a/B.PNG", ".png"), ("x.npz#train/1", ".npz"), ("t.wav#t=0,1.5", ".wav"), ("none", ""),
])  # fmt: skip
def test_the_ending_is_the_files(text, expected):
    assert ending(text) == expected
