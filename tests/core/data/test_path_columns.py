"""Where a table names its files, and the seconds of recordings that its rows mean."""

import json
import logging

import pytest

from graftwork.core.data.tables import read_manifest, read_unlabelled
from graftwork.core.errors import ManifestError
from graftwork.core.example import File, Span
from tests.core.data.conftest import problems

IMAGES = {"path_columns": ("file_name", "image", "filename", "file")}


@pytest.mark.parametrize("name", ["file_name", "image", "Filename", "file"])
def test_other_columns_are_the_paths_where_there_is_none_and_that_is_said(write, tmp_path, caplog, name):
    source = write(f"{name},label\na.png,x\nb.png,y\n")
    with caplog.at_level(logging.WARNING):
        found = read_manifest(source, **IMAGES)
    assert found.paths == (str(tmp_path / "a.png"), str(tmp_path / "b.png"))
    assert [f"column '{name}' is taken for the paths" in message for message in caplog.messages] == [True]
    assert [one for one, _ in read_unlabelled(source, **IMAGES)] == [File(path) for path in found.paths]


def test_path_comes_first_and_another_can_be_named(write, tmp_path):
    source = write("path,file_name,label\na.png,c.png,x\nb.png,d.png,y\n")
    assert read_manifest(source).paths[0] == str(tmp_path / "a.png")
    assert read_manifest(source, path_column="file_name").paths[0] == str(tmp_path / "c.png")
    assert problems(source, path_column="scan") == [
        "no column 'scan' for the files; there are 'path', 'file_name', 'label'"
    ]


def test_what_is_learnt_is_not_taken_for_the_paths(write):
    assert problems(write("file,label\na.png,x\nb.png,y\n"), target="file", task="single-label")[0].startswith(
        "no column 'path'"
    )


def test_paths_are_seen_from_the_root_that_is_named(write, tmp_path):
    (tmp_path / "tables").mkdir()
    source = write("path,label\na.png,x\nb.png,y\n", "tables/t.csv")
    assert "no such file" in problems(source)[0]
    assert read_manifest(source, root=tmp_path).paths == (str(tmp_path / "a.png"), str(tmp_path / "b.png"))
    assert "no such folder" in problems(source, root=tmp_path / "none")[0]
    assert read_unlabelled(source, root=tmp_path)[1] == (File(str(tmp_path / "b.png")), 3)


def test_backslashes_and_placeholders_in_paths_are_folders(write, tmp_path, caplog):
    (tmp_path / "deep").mkdir()
    for name in ("deep/x.png", "deep/y.png", "odd\\name.png"):
        (tmp_path / name).write_bytes(name.encode())
    with caplog.at_level(logging.WARNING):
        found = read_manifest(write("path,label\ndeep\\x.png,x\n{data_root}/deep/y.png,y\nodd\\name.png,y\n"))
    assert found.paths == tuple(str(tmp_path / name) for name in ("deep/x.png", "deep/y.png", "odd\\name.png"))
    assert len(caplog.messages) == 2
    assert "backslashes" in caplog.messages[0]
    assert f"'{{data_root}}' in paths stands for {tmp_path}" in caplog.messages[1]


def test_start_and_end_are_seconds_of_the_recording(write, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        found = read_manifest(write("path;start;end;label\na.png;0.50;2;x\na.png;2;3,25;y\nb.png;;;y\n"))
    a, b = str(tmp_path / "a.png"), str(tmp_path / "b.png")
    assert found.examples == (Span(a, "0.50", "2"), Span(a, "2", "3.25"), File(b))
    assert "columns 'start' and 'end' are taken for seconds" in caplog.text


def test_offset_and_duration_of_nemo_are_seconds_too(write, tmp_path):
    rows = [{"audio_filepath": "a.png", "offset": 0.1, "duration": 0.2, "text": "yes"},
            {"audio_filepath": "b.png", "duration": 0.2, "text": "no"}]  # fmt: skip
    source = write("\n".join(map(json.dumps, rows)), "manifest.json")
    found = read_manifest(source, target="text", path_columns=("audio_filepath",))
    assert found.examples == (Span(str(tmp_path / "a.png"), "0.1", "0.3"), File(str(tmp_path / "b.png")))


def test_seconds_that_are_none_are_named_with_their_row(write):
    text = "path,start,end,label\na.png,1,x,x\nb.png,2,1,y\nc.png#t=1;2,,,x\nd.png,,3,y\n"
    assert problems(write(text.replace("#t=1;2", ""))) == [
        "row 2, column 'end': expected seconds, found 'x'",
        "row 3, column 'path': 'b.png#t=2,1': expected seconds from 0 on, the start before the end, as #t=12,22; "
        "found 2 and 1",
        "row 5, column 'start': expected seconds, found ''",
    ]
    assert "other columns name the seconds" in problems(
        write('path\tstart\tend\tlabel\na.png#t=0,1\t1\t2\tx\nb.png\t0\t1\ty\n')
    )[0]  # fmt: skip


def test_samples_are_not_taken_for_seconds(write):
    source = write("wav,start,stop,label\na.png,0,16000,x\nb.png,0,16000,y\n")
    assert "counts samples" in problems(source, path_columns=("wav",))[0]


def test_columns_that_hold_no_seconds_are_left_alone_and_named(write, caplog):
    with caplog.at_level(logging.WARNING):
        found = read_manifest(write("path,start,end,label\na.png,2021-01-01,2022-01-01,x\nb.png,n,n,y\n"))
    assert all(isinstance(example, File) for example in found.examples)
    assert "hold no seconds and are not used" in caplog.text


def test_domains_without_recordings_do_not_look_at_seconds(write):
    found = read_manifest(write("path,start,end,label\na.png,1,2,x\nb.png,1,2,y\n"), kinds=(File,))
    assert all(isinstance(example, File) for example in found.examples)


def test_a_problem_is_a_manifest_error_without_the_file(write):
    with pytest.raises(ManifestError, match="--files chooses among the files of a folder"):
        read_manifest(write("path,label\na.png,x\n"), files="*.png")
