"""Cells, names and files of a table, and its problems with their rows."""

import time

from graftwork.core.data.tables import read_manifest
from graftwork.core.errors import ManifestError, Problem
from graftwork.core.example import ArchiveRow, File, WithMask
from tests.core.data.conftest import problems


def test_blank_lines_hold_no_example_and_do_not_shift_the_rows_numbers(write):
    text = "path,label\n\na.png,x\n,\nb.png,y\n\n\n"
    assert read_manifest(write(text)).rows == (3, 5)
    assert problems(write(text + "c.png,\n")) == [
        "row 8, column 'label': empty; --missing-labels drop leaves out rows without a label"
    ]


def test_the_message_shows_fifty_problems_and_counts_the_rest():
    error = ManifestError("t.csv", [Problem("wrong", row) for row in range(60)])
    assert str(error).count("wrong") == 50
    assert str(error).endswith("… and 10 more")
    assert len(error.problems) == 60


def test_columns_are_found_in_another_case_unless_two_are(write):
    assert read_manifest(write("Path, LABEL\na.png,x\nb.png,y\n")).classes == ("x", "y")
    assert read_manifest(write("path,Label,label\na.png,x,1\nb.png,y,2\n")).classes == ("1", "2")
    assert "no column 'label'" in problems(write("path,Label,LABEL\na.png,x,1\nb.png,y,2\n"))[0]


def test_one_number_in_several_spellings_is_one_class_or_patient(write, caplog):
    found = read_manifest(write("path,label,patient\na.png,1,01\nb.png,1.0,1\nc.png,0,1.0\nd.png,0,010\n"))
    assert found.classes == ("0", "1")
    assert found.groups == ("1", "1", "1", "010")
    assert "'1', '1.0' for '1'" in caplog.text


def test_a_file_may_be_named_in_the_other_form_of_unicode_and_only_once(write, tmp_path):
    (tmp_path / "e\u0301.png").write_bytes(b"")
    assert read_manifest(write("path,label\né.png,x\na.png,y\n")).paths[0] == f"{tmp_path}/e\u0301.png"
    assert "listed twice" in problems(write("path,label\né.png,x\ne\u0301.png,y\n"))[0]


def test_many_problems_are_noted_in_time_that_grows_with_their_number(write):
    source = write("path,label\n" + "".join(f"{number}.png,x\n" for number in range(20_000)))
    started = time.process_time()
    assert len(problems(source)) == 20_001
    assert time.process_time() - started < 5


def test_kinds_that_a_domain_does_not_read_are_refused_with_their_rows(write):
    table = write('path,label\na.png,x\n"a.png#t=0,1",x\na.npz#train,y\na.png#mask=b.png,y\nb.png,y\n')
    found = problems(table, kinds=(File, ArchiveRow, WithMask))
    assert len(found) == 3
    assert "row 3, column 'path': 'a.png#t=0,1': names seconds of a recording" in found[0]
    assert "row 4, column 'path'" in found[1]
    assert "expected a row such as a.npz#train/17" in found[1]
    assert "row 5, column 'path': 'a.png#mask=b.png': names an image and its mask" in found[2]
