"""Manifests from tables, folders and archives; and every problem of one, at once."""

import numpy as np
import pandas as pd
import pytest

from graftwork.core.data.tables import read_manifest, read_unlabelled
from graftwork.core.errors import ManifestError
from graftwork.core.example import File, Text
from tests.core.data.conftest import labelled, problems, table_of


def same(one, other):
    assert one.paths == other.paths
    assert (one.task, one.target, one.classes, one.groups, one.parts) == (
        other.task, other.target, other.classes, other.groups, other.parts,
    )  # fmt: skip
    np.testing.assert_array_equal(one.values, other.values)


ROWS = pd.DataFrame(
    {"path": ["a.png", "b.png", "c.png"], "label": ["x", "y", "x"], "group": ["p1", "p2", "p3"],
     "split": ["train", "Training", "dev"]}
)  # fmt: skip


@pytest.mark.parametrize("kind", ["csv", "tsv", "semicolon", "bom", "parquet"])
def test_every_kind_of_table_is_read_alike(write, tmp_path, kind):
    reference = read_manifest(write(ROWS.to_csv(index=False)))
    if kind == "parquet":
        ROWS.to_parquet(tmp_path / "other.parquet")
        found = read_manifest(tmp_path / "other.parquet")
    else:
        separator = {"tsv": "\t", "semicolon": ";"}.get(kind, ",")
        encoding = "utf-8-sig" if kind == "bom" else "utf-8"
        found = read_manifest(write(ROWS.to_csv(index=False, sep=separator), "other.csv", encoding))
    same(found, reference)
    assert reference.paths == tuple(str(tmp_path / name) for name in ROWS["path"])
    assert reference.classes == ("x", "y")
    assert list(reference.values) == [0, 1, 0]
    assert reference.groups == ("p1", "p2", "p3")
    assert reference.parts == ("train", "train", "val")
    assert reference.rows == (2, 3, 4)


def test_a_folder_per_class_is_read_as_its_table_would_be(tmp_path):
    for name in ("b/2.PNG", "a/1.png", "a/deep/0.png", "a/notes.txt", ".hidden/3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    found = read_manifest(tmp_path, suffixes=(".png",))
    assert found.paths == tuple(str(tmp_path / name) for name in ("a/1.png", "a/deep/0.png", "b/2.PNG"))
    assert found.targets.tolist() == ["a", "a", "b"]
    assert found.parts is None


def test_folders_of_parts_are_the_split(tmp_path):
    for name in ("train/a/1.png", "train/b/2.png", "valid/a/3.png", "test/b/4.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    found = read_manifest(tmp_path, suffixes=(".png",))
    parts = {path.removeprefix(f"{tmp_path}/"): part for path, part in zip(found.paths, found.parts, strict=True)}
    assert parts == {"train/a/1.png": "train", "train/b/2.png": "train", "valid/a/3.png": "val", "test/b/4.png": "test"}


def test_a_folder_without_examples_says_what_was_expected(tmp_path):
    (tmp_path / "a").mkdir()
    assert problems(tmp_path, suffixes=(".png", ".jpg")) == [
        "expected one folder per class with files ending in .png, .jpg"
    ]


def test_numbers_become_numbers(write):
    found = read_manifest(write("path,age\na.png,30.25\nb.png,-1e3\n"), target="age")
    assert found.classes == ()
    np.testing.assert_array_equal(found.values, [30.25, -1000])
    np.testing.assert_array_equal(found.targets, found.values)


def test_a_whole_number_is_a_number_if_the_task_says_so(write):
    found = read_manifest(write("path,age\na.png,30\nb.png,40\n"), target="age", task="regression")
    np.testing.assert_array_equal(found.values, [30.0, 40.0])


def test_several_target_columns_are_several_labels(write):
    found = read_manifest(write("path,cyst,mass\na.png,1,no\nb.png,False,1.0\n"), target="cyst, mass")
    assert (found.task.name, found.classes, found.target) == ("multi-label", ("cyst", "mass"), "cyst,mass")
    np.testing.assert_array_equal(found.values, [[1, 0], [0, 1]])


def test_classes_that_are_numbers_are_in_the_order_of_numbers(write):
    found = read_manifest(write("path,label\na.png,10\nb.png,9\nc.png,-1\nd.png,x\n"))
    assert found.classes == ("-1", "9", "10", "x")


def test_everything_that_is_wrong_is_reported_at_once(write):
    source = write(
        "path,label,group,split\n"
        "a.png,x,p1,train\n"  # row 2
        "missing.png,x,p1,train\n"
        ",y,p2,train\n"  # row 4
        "b.png,,p2,train\n"
        "a.png,y,p3,train\n"  # row 6
        "c.png,y,p3,half\n"
        "d.png,x,p1,test\n"  # row 8
        "e.png,z,p4,val\n"
        "f.png,y,,train\n"  # row 10
    )
    found = problems(source)
    folder = source.parent
    assert found == [
        "group 'p1' is in several parts of the split: 'train' (row 2), 'test' (row 8)",
        "label 'z' has no row for training",
        f"row 3, column 'path': no such file: 'missing.png' (looked for {folder / 'missing.png'})",
        "row 4, column 'path': empty",
        "row 5, column 'label': empty; --missing-labels drop leaves out rows without a label",
        "row 6, column 'path': 'a.png' is listed twice, first in row 2",
        "row 7, column 'split': expected train, val or test, found 'half'",
        "row 10, column 'group': empty",
    ]
    with pytest.raises(ManifestError, match=rf"^{source}: 8 problems\n  group 'p1'"):
        read_manifest(source)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\na.png,x,1\nb.png,y,2\n", "rows have more cells than the 2 columns of the header"),
        ("path,label\na.png,x\nb.png,y,2\n", "cannot be read as a table: .*line 3"),
        ("path,label\n", "there are no rows"),
        ("", "cannot be read as a table"),
        ("scan,label\na.png,x\n", "no column 'path' for the files; there are 'scan', 'label'"),
        ("path,class\na.png,x\n", r"no column 'label' for the target .* there are 'path', 'class'"),
        ("path,label\na.png,x\nb.png,x\n", "column 'label': every row has the label 'x'"),
        ("path,label,split\na.png,x,test\nb.png,y,test\n", "the split column names no row for training"),
    ],
)
def test_a_table_that_cannot_be_used_says_why(write, text, message):
    with pytest.raises(ManifestError, match=message):
        read_manifest(write(text))


def test_a_short_row_is_reported_as_an_empty_cell(write):
    assert problems(write("path,label\na.png,x\nb.png,y\nc.png\n")) == [
        "row 4, column 'label': empty; --missing-labels drop leaves out rows without a label"
    ]


def test_cells_that_are_no_numbers_or_truths_are_named(write):
    source = write("path,age,cyst,mass\na.png,x,1,2\nb.png,inf,maybe,0\nc.png,1.5,0,1\n")
    assert problems(source, target="age", task="regression") == [
        "row 2, column 'age': expected a finite number, found 'x'",
        "row 3, column 'age': expected a finite number, found 'inf'",
    ]
    assert problems(source, target="cyst,mass") == [
        "row 2, column 'mass': expected 0 or 1, found '2'",
        "row 3, column 'cyst': expected 0 or 1, found 'maybe'",
    ]


def test_options_that_contradict_each_other_are_problems(write):
    source = write("path,label,other\na.png,x,p\nb.png,y,p\n")
    assert "single labels need one target column" in problems(source, target="label,other", task="single-label")[0]
    assert "'label' is both the target and the group" in problems(source, group="label")[0]
    assert "task: expected one of" in problems(source, task="many")[0]


def test_labels_outside_the_given_classes_are_reported_and_order_is_theirs(write):
    source = write("path,label\na.png,x\nb.png,z\n")
    assert problems(source, classes=("y", "x")) == [
        "row 3, column 'label': unknown label 'z'; the classes are 'y', 'x'"
    ]
    assert list(read_manifest(write("path,label\na.png,x\n"), classes=("y", "x")).values) == [1]


def test_paths_alone_need_no_target(write, tmp_path):
    found = read_unlabelled(str(write("path\nb.png\n\na.png\n")))
    assert found == [(File(str(tmp_path / "b.png")), 2), (File(str(tmp_path / "a.png")), 4)]
    with pytest.raises(ManifestError, match=r"row 2.*no such file"):
        read_unlabelled(str(write("path\nz.png\n")))


def test_decimal_commas_are_numbers_unless_they_may_be_something_else(tmp_path, caplog):
    found = read_manifest(labelled(tmp_path, ["2,5", "-3,25", "4"]))
    assert (found.task.name, list(found.values)) == ("regression", [2.5, -3.25, 4.0])
    assert "commas are taken for decimal ones in 2 rows, as in '2,5'" in caplog.text
    for cells in (["1,234", "5,678"], ["2,5", "2.5"]):
        assert "row 2, column 'label': expected a number with a decimal point" in problems(labelled(tmp_path, cells))[0]


def test_a_model_knows_its_classes_again_in_another_spelling(write):
    source = write("path,label\na.png,1.0\nb.png,québécois\n")
    found = read_manifest(source, classes=("quebecois", "que\u0301be\u0301cois", "1"))
    assert list(found.values) == [2, 1]


def test_one_name_in_two_forms_of_unicode_is_one(write):
    nfd = "Jose\u0301"
    found = read_manifest(write(f"path,label,group\na.png,{nfd},{nfd}\nb.png,José,José\nc.png,x,y\n"))
    assert found.classes == ("José", "x")
    assert found.groups == ("José", "José", "y")


def test_of_many_classes_a_message_names_some(write):
    found = problems(write("path,label\na.png,z\n"), classes=[f"c{number}" for number in range(30)])
    assert found[0].startswith("row 2, column 'label': unknown label 'z'; the classes are 'c0', ")
    assert found[0].endswith("'c19' and 10 more")


@pytest.mark.parametrize("cell", ["1e400", "#N/A", "#DIV/0!", "#VALUE!"])
def test_what_is_no_number_among_numbers_is_refused(tmp_path, cell):
    table = table_of(tmp_path, "label", [cell if number % 3 == 0 else f"{number}.5" for number in range(24)])
    with pytest.raises(ManifestError, match=r"and 16 other rows have numbers: mend or remove it"):
        read_manifest(table)


@pytest.mark.parametrize("task", ["single-label", "ordinal"])
def test_one_number_written_in_two_ways_is_one_class_of_every_part(write, task):
    table = write("path,label,split\na.png,1,train\nb.png,0,train\nc.png,1.0,test\n")
    assert read_manifest(table, task=task).classes == ("0", "1")


def test_a_row_of_texts_needs_no_file_and_may_stand_twice(write):
    table = write('sentence,label\nfine | good,x\n"#t=1,2",y\nfine | good,x\n,y\n')
    assert problems(table, kinds=(Text,), column="sentence") == ["row 5, column 'sentence': empty"]
    table = write('sentence,label\nfine | good,x\n"#t=1,2",y\nfine | good,x\n')
    found = read_manifest(table, kinds=(Text,), column="sentence")
    assert found.examples == (Text("fine | good"), Text("#t=1,2"), Text("fine | good"))
    assert found.units().tolist() == [0, 1, 0]
    assert found.sentences is None


def test_a_data_frame_is_the_manifest_of_its_table(tmp_path, monkeypatch):
    for name in ("a", "b", "c", "d"):
        (tmp_path / f"{name}.npy").write_bytes(name.encode())
    frame = pd.DataFrame({"path": [tmp_path / "a.npy", "b.npy", "c.npy", "d.npy"],
                          "label": pd.Categorical(list("xyxy")), "patient": [1.0, 1.0, 2.0, 3.0],
                          "split": ["train", "train", "test", "test"]})  # fmt: skip
    frame.to_csv(tmp_path / "table.csv", index=False)
    monkeypatch.chdir(tmp_path)
    found, expected = read_manifest(frame), read_manifest(tmp_path / "table.csv")
    assert found.examples == expected.examples
    assert list(found.targets) == list(expected.targets)
    assert (found.classes, found.groups, found.parts) == (expected.classes, expected.groups, expected.parts)
    assert found.source == "DataFrame"
    assert found.fingerprints() == expected.fingerprints()


def test_what_is_wrong_in_a_data_frame_is_told_with_its_row(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.npy").write_bytes(b"a")
    with pytest.raises(ManifestError, match=r"DataFrame: 3 problems") as error:
        read_manifest(pd.DataFrame({"path": ["a.npy", "missing.npy"], "label": ["x", None]}))
    assert "row 3" in str(error.value)
    with pytest.raises(ManifestError, match=r"DataFrame: .*\n.*there are no rows"):
        read_manifest(pd.DataFrame({"path": [], "label": []}))
    doubled = pd.DataFrame([["a.npy", "x", "y"]], columns=["path", "label", "label"])
    with pytest.raises(ManifestError, match="label"):
        read_manifest(doubled)
