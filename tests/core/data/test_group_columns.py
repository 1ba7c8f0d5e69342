"""Which column names the groups, and what is said of columns that may."""

import pytest

from graftwork.core.data.tables import read_manifest
from tests.core.data.conftest import problems, table_of


def test_a_group_column_of_another_name_is_used(write):
    found = read_manifest(write("path,label,patient\na.png,x,7\nb.png,y,7\n"), group="patient")
    assert found.groups == ("7", "7")
    assert "no column 'doctor' for the groups" in problems(write("path,label\na.png,x\n"), group="doctor")[0]


def test_a_column_of_speakers_is_the_group_unless_it_is_the_target(tmp_path):
    for name in "abcd":
        (tmp_path / f"{name}.wav").write_bytes(name.encode())
    rows = ["path,speaker,accent,text"] + [f"{name}.wav,s{place % 2},a{place // 2},Same  Words" for place, name in
                                           enumerate("abcd")]  # fmt: skip
    table = tmp_path / "clips.csv"
    table.write_text("\n".join(rows))
    assert read_manifest(table, target="accent").groups == ("s0", "s1", "s0", "s1")
    assert read_manifest(table, target="accent").sentences == ("same words",) * 4
    assert read_manifest(table, target="speaker").groups is None


@pytest.mark.parametrize(("column", "said"), [
    ("Patient", False), ("patient_id", True), ("subject", True), ("client_id", True), ("Speaker_ID", True),
    ("Patient ID", True), ("PatientID", True), ("spk-id", True),
])  # fmt: skip
def test_columns_of_people_are_groups_under_their_usual_names(write, caplog, column, said):
    found = read_manifest(write(f"path,label,{column},Split\na.png,x,1,Train\nb.png,y,2,test\nc.png,y,1.0,train\n"))
    assert found.groups == ("1", "2", "1")
    assert found.parts == ("train", "test", "train")
    assert (f"column '{column}' is taken for the groups" in caplog.text) is said
    assert "'1', '1.0' for '1'" in caplog.text


def test_people_under_two_names_are_no_group_of_a_target_that_names_them(write):
    source = write("path,speaker,client_id,label\na.png,x,1,p\nb.png,y,2,q\n")
    assert read_manifest(source, target="speaker").groups is None
    assert read_manifest(source).groups == ("x", "y")


def test_seconds_of_one_recording_without_groups_are_said_to_be_on_both_sides(write, caplog):
    source = write('path,label,by\n"a.png#t=0,1",x,s\n"a.png#t=1,2",y,s\nb.png,y,s\n')
    assert read_manifest(source).paths[:2] == tuple(f"{source.parent}/a.png#t={span}" for span in ("0,1", "1,2"))
    assert "2 rows are seconds of 1 recordings" in caplog.text
    caplog.clear()
    read_manifest(source, group="by")
    assert not caplog.text
    for span in ("nan,nan", "2,1", "-1,2", "0,inf"):
        text = f'path,label\n"a.png#t={span}",x\nb.png,y\n'
        assert "expected seconds from 0 on" in problems(write(text))[0]


def test_further_columns_of_people_and_groups_that_differ_in_case_are_said(tmp_path, caplog):
    cells = [f"{'ab'[number % 2]}\tg{number % 4}\tp{number // 2}" for number in range(12)]
    found = read_manifest(table_of(tmp_path, "label\tgroup\tpatient_id", cells))
    assert len(set(found.groups)) == 4
    assert "splits keep 'group' together; 'patient_id' may name people too" in caplog.text
    caplog.clear()
    read_manifest(tmp_path / "table.tsv", group="patient_id")
    assert "may name people too" not in caplog.text
    cells = [f"{'ab'[number % 2]}\t{'pP'[number % 2]}{number // 2}" for number in range(12)]
    read_manifest(table_of(tmp_path, "label\tgroup", cells))
    assert "'P0', 'p0' differ in case alone and are different groups, as are those of 5 more" in caplog.text
