"""Manifests from tables, folders and archives; and every problem of one, at once."""

import time

import numpy as np
import pandas as pd
import pytest

from graftwork.core.data.tables import read_manifest, read_unlabelled
from graftwork.core.errors import ManifestError, Problem
from graftwork.core.example import ArchiveRow, File, Text, WithMask


@pytest.fixture
def write(tmp_path):
    """Writes a table whose files a.png to f.png exist."""
    for letter in "abcdef":
        (tmp_path / f"{letter}.png").write_bytes(letter.encode())

    def write(text, name="table.csv", encoding="utf-8"):
        (tmp_path / name).write_text(text, encoding=encoding)
        return tmp_path / name

    return write


def problems(source, **options):
    with pytest.raises(ManifestError) as caught:
        read_manifest(source, **options)
    return [str(problem) for problem in caught.value.problems]


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


def test_an_archive_in_medmnists_layout_is_read_with_its_parts(tmp_path):
    np.savez(
        tmp_path / "set.npz",
        **{f"{part}_images": np.zeros((rows, 4, 4)) for part, rows in (("train", 3), ("val", 1), ("test", 2))},
        train_labels=np.array([[2], [10], [2]], np.uint8),
        val_labels=np.array([[10]], np.uint8),
        test_labels=np.array([[2], [10]], np.uint8),
    )
    found = read_manifest(tmp_path / "set.npz")
    assert found.classes == ("2", "10")
    assert list(found.values) == [0, 1, 0, 1, 0, 1]
    assert found.parts == ("train",) * 3 + ("val",) + ("test",) * 2
    assert found.paths[3:5] == (f"{tmp_path}/set.npz#val/0", f"{tmp_path}/set.npz#test/0")


def test_several_columns_of_an_archive_are_several_labels(tmp_path):
    labels = np.array([[0, 1, 1], [1, 0, 1]], np.uint8)
    np.savez(tmp_path / "set.npz", train_images=np.zeros((2, 4, 4)), train_labels=labels)
    found = read_manifest(tmp_path / "set.npz")
    assert (found.task.name, found.classes) == ("multi-label", ("label0", "label1", "label2"))
    np.testing.assert_array_equal(found.values, labels)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"words"])
def test_a_damaged_archive_is_a_problem_of_the_manifest(tmp_path, content):
    (tmp_path / "set.npz").write_bytes(content)
    assert problems(tmp_path / "set.npz")[0].startswith("cannot be read as an archive of arrays")


def test_an_archive_without_labels_says_what_medmnist_has(tmp_path):
    np.savez(tmp_path / "set.npz", images=np.zeros(3))
    assert "expected arrays train_images, train_labels" in problems(tmp_path / "set.npz")[0]


@pytest.mark.parametrize(
    ("cells", "task"),
    [
        (["0.5", "1", "2"], "regression"),
        (["1", "2", "3"], "single-label"),
        (["1.0", "2.0", "2.0"], "single-label"),
        (["low", "1.5", "2"], "single-label"),
    ],
)
def test_the_task_is_guessed_from_the_cells(write, cells, task):
    rows = "\n".join(f"{letter}.png,{cell}" for letter, cell in zip("abc", cells, strict=True))
    assert read_manifest(write("path,label\n" + rows)).task.name == task


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
        "row 5, column 'label': empty",
        "row 6, column 'path': 'a.png' is listed twice, first in row 2",
        "row 7, column 'split': expected train, val or test, found 'half'",
        "row 10, column 'group': empty",
    ]
    with pytest.raises(ManifestError, match=rf"^{source}: 8 problems\n  group 'p1'"):
        read_manifest(source)


def test_blank_lines_hold_no_example_and_do_not_shift_the_rows_numbers(write):
    text = "path,label\n\na.png,x\n,\nb.png,y\n\n\n"
    assert read_manifest(write(text)).rows == (3, 5)
    assert problems(write(text + "c.png,\n")) == ["row 8, column 'label': empty"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\na.png,x,1\nb.png,y,2\n", "rows have more cells than the 2 columns of the header"),
        ("path,label\na.png,x\nb.png,y,2\n", "cannot be read as a table: .*line 3"),
        ("path,label\n", "there are no rows"),
        ("", "cannot be read as a table"),
        ("file,label\na.png,x\n", "no column 'path' for the files; there are 'file', 'label'"),
        ("path,class\na.png,x\n", r"no column 'label' for the target .* there are 'path', 'class'"),
        ("path,label\na.png,x\nb.png,x\n", "column 'label': every row has the label 'x'"),
        ("path,label,split\na.png,x,test\nb.png,y,test\n", "the split column names no row for training"),
    ],
)
def test_a_table_that_cannot_be_used_says_why(write, text, message):
    with pytest.raises(ManifestError, match=message):
        read_manifest(write(text))


def test_a_short_row_is_reported_as_an_empty_cell(write):
    assert problems(write("path,label\na.png,x\nb.png,y\nc.png\n")) == ["row 4, column 'label': empty"]


def test_text_that_is_not_utf8_is_named_as_such(write):
    assert "is not UTF-8 text" in problems(write("path,label\na.png,é\n", encoding="latin-1"))[0]


def test_a_file_that_is_not_a_table_is_named(tmp_path):
    (tmp_path / "t.parquet").write_bytes(b"nothing")
    assert problems(tmp_path / "t.parquet")[0].startswith("cannot be read as a table")
    assert problems(tmp_path / "none.csv") == ["no such file or folder"]


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


def test_a_part_to_be_judged_needs_no_training_rows(write):
    """A model that exists is evaluated on whatever rows there are."""
    source = write("path,label,split\na.png,x,test\nb.png,y,test\n")
    assert read_manifest(source, classes=("x", "y")).parts == ("test", "test")


def test_the_split_column_is_ignored_on_request(write):
    assert read_manifest(write("path,label,split\na.png,x,?\nb.png,y,?\n"), split=None).parts is None


def test_a_group_column_of_another_name_is_used(write):
    found = read_manifest(write("path,label,patient\na.png,x,7\nb.png,y,7\n"), group="patient")
    assert found.groups == ("7", "7")
    assert "no column 'doctor' for the groups" in problems(write("path,label\na.png,x\n"), group="doctor")[0]


def test_paths_alone_need_no_target(write, tmp_path):
    found = read_unlabelled(str(write("path\nb.png\n\na.png\n")))
    assert found == [(File(str(tmp_path / "b.png")), 2), (File(str(tmp_path / "a.png")), 4)]
    with pytest.raises(ManifestError, match=r"row 2.*no such file"):
        read_unlabelled(str(write("path\nz.png\n")))


def test_the_message_shows_fifty_problems_and_counts_the_rest():
    error = ManifestError("t.csv", [Problem("wrong", row) for row in range(60)])
    assert str(error).count("wrong") == 50
    assert str(error).endswith("… and 10 more")
    assert len(error.problems) == 60


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


def test_speakers_that_nobody_named_may_be_on_both_sides_of_a_split_with_a_warning(tmp_path, caplog):
    for name in "abcd":
        (tmp_path / f"{name}.wav").write_bytes(name.encode())
    table = tmp_path / "clips.csv"
    rows = ["a.wav,s0,0,train", "b.wav,s1,0,train", "c.wav,s0,1,train", "d.wav,s1,1,test"]
    table.write_text("\n".join(["path,speaker,label,split", *rows]))
    assert read_manifest(table).groups == ("s0", "s1", "s0", "s1")
    assert "1 of 2 groups are in several parts" in caplog.text
    with pytest.raises(ManifestError, match="'s1' is in several parts"):
        read_manifest(table, group="speaker")


@pytest.mark.parametrize(("columns", "target", "task"), [
    ("path,mask", "mask", "mask"), ("path,label,mask", "label", "single-label"),
])  # fmt: skip
def test_masks_are_the_target_where_there_is_no_label(tmp_path, columns, target, task):
    for name in ("0.npy", "1.npy"):
        (tmp_path / name).write_bytes(name.encode())
    cells = {"path": "{0}.npy", "label": "class{0}", "mask": "{0}.npy"}
    rows = [",".join(cells[name].format(number) for name in columns.split(",")) for number in range(2)]
    (tmp_path / "table.csv").write_text("\n".join([columns, *rows]) + "\n")
    found = read_manifest(tmp_path / "table.csv")
    assert (found.target, found.task.name) == (target, task)


def labelled(tmp_path, cells, column="label", more=""):
    """A table of that column whose files exist."""
    for number in range(len(cells)):
        (tmp_path / f"{number}.png").write_bytes(str(number).encode())
    rows = [f"{number}.png\t{cell}" for number, cell in enumerate(cells)]
    (tmp_path / "t.tsv").write_text("\n".join([f"path\t{column}", *rows]) + "\n", encoding="utf-8")
    return tmp_path / "t.tsv"


def test_many_different_whole_numbers_must_be_said_to_be_classes_or_numbers(tmp_path, caplog):
    ages = labelled(tmp_path, [40 + number for number in range(12)])
    assert problems(ages) == [
        "column 'label': 12 rows have 12 different whole numbers: add --task regression if they are numbers, or --task "
        "single-label if they are classes"
    ]
    assert list(read_manifest(ages, task="regression").values) == [40.0 + number for number in range(12)]
    assert len(read_manifest(ages, task="single-label").classes) == 12
    assert not caplog.text
    assert read_manifest(labelled(tmp_path, [number % 11 for number in range(110)])).task.name == "single-label"
    assert "11 different whole numbers are taken for classes" in caplog.text


def test_few_whole_numbers_that_hardly_any_rows_share_are_said_to_look_like_a_quantity(tmp_path, caplog):
    assert read_manifest(labelled(tmp_path, [41, 55, 55, 60, 72, 72, 72])).task.name == "single-label"
    assert "4 different whole numbers, 3 of them in under 3 rows, are taken for classes" in caplog.text
    caplog.clear()
    read_manifest(labelled(tmp_path, [0, 1]))
    read_manifest(labelled(tmp_path, [41, 55, 60, 72]), task="single-label")
    assert not caplog.text


def test_digits_and_names_of_people_are_classes_without_a_question(tmp_path, caplog):
    assert read_manifest(labelled(tmp_path, [*range(10)] * 3)).task.name == "single-label"
    assert read_manifest(labelled(tmp_path, range(20), "speaker"), target="speaker").task.name == "single-label"
    assert not caplog.text


@pytest.mark.parametrize("cell", ["inf", "nan", "-", "N/A", "unknown", "forty", "1_000", "1e999"])
def test_a_cell_that_is_no_number_does_not_turn_numbers_into_classes(tmp_path, cell):
    cells = [str(number + 0.5) for number in range(12)]
    cells[3] = cell
    assert problems(labelled(tmp_path, cells)) == [
        f"row 5, column 'label': is {cell!r}, and 11 other rows have numbers: mend or remove it; if all are names of "
        "classes, add --task single-label"
    ]


def test_a_word_for_nothing_among_words_is_a_class_that_is_named(tmp_path, caplog):
    assert read_manifest(labelled(tmp_path, ["x", "y", "NaN", "x"])).classes == ("NaN", "x", "y")
    assert "'NaN' in 1 rows is taken for a class of its own" in caplog.text


def test_decimal_commas_are_numbers_unless_they_may_be_something_else(tmp_path, caplog):
    found = read_manifest(labelled(tmp_path, ["2,5", "-3,25", "4"]))
    assert (found.task.name, list(found.values)) == ("regression", [2.5, -3.25, 4.0])
    assert "commas are taken for decimal ones in 2 rows, as in '2,5'" in caplog.text
    for cells in (["1,234", "5,678"], ["2,5", "2.5"]):
        assert "row 2, column 'label': expected a number with a decimal point" in problems(labelled(tmp_path, cells))[0]


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


def test_a_split_under_another_name_is_not_used_and_that_is_said(write, caplog):
    source = write("path,label,set\na.png,x,train\nb.png,y,test\n")
    assert read_manifest(source).parts is None
    assert "column 'set' names parts (test, train) and is not used" in caplog.text
    caplog.clear()
    read_manifest(source, target="set")
    read_manifest(source, split=None)
    assert not caplog.text


def test_people_under_two_names_are_no_group_of_a_target_that_names_them(write):
    source = write("path,speaker,client_id,label\na.png,x,1,p\nb.png,y,2,q\n")
    assert read_manifest(source, target="speaker").groups is None
    assert read_manifest(source).groups == ("x", "y")


def test_columns_are_found_in_another_case_unless_two_are(write):
    assert read_manifest(write("Path, LABEL\na.png,x\nb.png,y\n")).classes == ("x", "y")
    assert read_manifest(write("path,Label,label\na.png,x,1\nb.png,y,2\n")).classes == ("1", "2")
    assert "no column 'label'" in problems(write("path,Label,LABEL\na.png,x,1\nb.png,y,2\n"))[0]


def test_one_number_in_several_spellings_is_one_class_or_patient(write, caplog):
    found = read_manifest(write("path,label,patient\na.png,1,01\nb.png,1.0,1\nc.png,0,1.0\nd.png,0,010\n"))
    assert found.classes == ("0", "1")
    assert found.groups == ("1", "1", "1", "010")
    assert "'1', '1.0' for '1'" in caplog.text


def test_a_model_knows_its_classes_again_in_another_spelling(write):
    source = write("path,label\na.png,1.0\nb.png,québécois\n")
    found = read_manifest(source, classes=("quebecois", "que\u0301be\u0301cois", "1"))
    assert list(found.values) == [2, 1]


def test_one_name_in_two_forms_of_unicode_is_one(write):
    nfd = "Jose\u0301"
    found = read_manifest(write(f"path,label,group\na.png,{nfd},{nfd}\nb.png,José,José\nc.png,x,y\n"))
    assert found.classes == ("José", "x")
    assert found.groups == ("José", "José", "y")


def test_a_file_may_be_named_in_the_other_form_of_unicode_and_only_once(write, tmp_path):
    (tmp_path / "e\u0301.png").write_bytes(b"")
    assert read_manifest(write("path,label\né.png,x\na.png,y\n")).paths[0] == f"{tmp_path}/e\u0301.png"
    assert "listed twice" in problems(write("path,label\né.png,x\ne\u0301.png,y\n"))[0]


def test_the_columns_of_a_parquet_table_may_be_its_index(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(name.encode())
    table = pd.DataFrame({"path": ["a.png", "b.png"], "label": ["x", "y"]})
    table.set_index("path").to_parquet(tmp_path / "named.parquet")
    table.set_axis(["one", "two"]).to_parquet(tmp_path / "text.PARQUET")
    for name in ("named.parquet", "text.PARQUET"):
        found = read_manifest(tmp_path / name)
        assert (found.targets.tolist(), found.rows) == (["x", "y"], (2, 3))


def test_labels_that_unpack_to_gigabytes_are_refused_before_they_are_read(tmp_path):
    import io
    import zipfile

    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (300_000_000,)})
    with (
        zipfile.ZipFile(tmp_path / "set.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("train_labels.npy", "w", force_zip64=True) as member,
    ):
        member.write(header.getvalue())
        for _ in range(300):
            member.write(bytes(1_000_000))
    assert "train_labels.npy has 0.3 GB" in problems(tmp_path / "set.npz")[0]


def test_many_problems_are_noted_in_time_that_grows_with_their_number(write):
    source = write("path,label\n" + "".join(f"{number}.png,x\n" for number in range(20_000)))
    started = time.process_time()
    assert len(problems(source)) == 20_001
    assert time.process_time() - started < 5


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


def test_of_many_classes_a_message_names_some(write):
    found = problems(write("path,label\na.png,z\n"), classes=[f"c{number}" for number in range(30)])
    assert found[0].startswith("row 2, column 'label': unknown label 'z'; the classes are 'c0', ")
    assert found[0].endswith("'c19' and 10 more")


def table_of(tmp_path, header, cells):
    for number in range(len(cells)):
        (tmp_path / f"{number}.npy").write_bytes(bytes([number]))
    lines = [f"path\t{header}", *(f"{number}.npy\t{cell}" for number, cell in enumerate(cells))]
    (tmp_path / "table.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path / "table.tsv"


@pytest.mark.parametrize("form", ["5.{:03},25", "5,{:03}.25", "5 {:03}.9", "{}.22 mm", "5'{:03}", "{} %"])
def test_numbers_with_separators_or_units_are_asked_about_not_learnt_as_classes(tmp_path, form):
    table = table_of(tmp_path, "label", [form.format(100 + number) for number in range(24)])
    with pytest.raises(ManifestError, match="look like numbers with separators or units"):
        read_manifest(table)
    assert read_manifest(table, task="single-label").task.name == "single-label"


@pytest.mark.parametrize("cell", ["1e400", "#N/A", "#DIV/0!", "#VALUE!"])
def test_what_is_no_number_among_numbers_is_refused(tmp_path, cell):
    table = table_of(tmp_path, "label", [cell if number % 3 == 0 else f"{number}.5" for number in range(24)])
    with pytest.raises(ManifestError, match=r"and 16 other rows have numbers: mend or remove it"):
        read_manifest(table)


def test_codes_of_digits_and_letters_stay_classes(tmp_path):
    table = table_of(tmp_path, "label", [f"{number % 3}a" for number in range(24)])
    assert read_manifest(table).classes == ("0a", "1a", "2a")


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


@pytest.mark.parametrize("task", ["single-label", "ordinal"])
def test_one_number_written_in_two_ways_is_one_class_of_every_part(write, task):
    table = write("path,label,split\na.png,1,train\nb.png,0,train\nc.png,1.0,test\n")
    assert read_manifest(table, task=task).classes == ("0", "1")


def test_kinds_that_a_domain_does_not_read_are_refused_with_their_rows(write):
    table = write('path,label\na.png,x\n"a.png#t=0,1",x\na.npz#train,y\na.png#mask=b.png,y\nb.png,y\n')
    found = problems(table, kinds=(File, ArchiveRow, WithMask))
    assert len(found) == 3
    assert "row 3, column 'path': 'a.png#t=0,1': names seconds of a recording" in found[0]
    assert "row 4, column 'path'" in found[1]
    assert "expected a row such as a.npz#train/17" in found[1]
    assert "row 5, column 'path': 'a.png#mask=b.png': names an image and its mask" in found[2]


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
