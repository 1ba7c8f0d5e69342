"""Which task a target is, by the name of its column and by its cells."""

import pytest

from graftwork.core.data.tables import read_manifest
from graftwork.core.errors import ManifestError
from tests.core.data.conftest import labelled, problems, table_of


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


@pytest.mark.parametrize("form", ["5.{:03},25", "5,{:03}.25", "5 {:03}.9", "{}.22 mm", "5'{:03}", "{} %"])
def test_numbers_with_separators_or_units_are_asked_about_not_learnt_as_classes(tmp_path, form):
    table = table_of(tmp_path, "label", [form.format(100 + number) for number in range(24)])
    with pytest.raises(ManifestError, match="look like numbers with separators or units"):
        read_manifest(table)
    assert read_manifest(table, task="single-label").task.name == "single-label"


def test_codes_of_digits_and_letters_stay_classes(tmp_path):
    table = table_of(tmp_path, "label", [f"{number % 3}a" for number in range(24)])
    assert read_manifest(table).classes == ("0a", "1a", "2a")
