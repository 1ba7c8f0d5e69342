"""Reads a manifest from a table, a folder per class or a MedMNIST archive, and reports every problem at once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from graftwork.core.data.class_folders import read_class_folders
from graftwork.core.data.group_columns import groups_from_paths, read_groups
from graftwork.core.data.manifest import Manifest
from graftwork.core.data.split_column import check_parts, check_training, split_parts, warn_of_unused_parts
from graftwork.core.data.table_files import archive_table, as_texts, read_table, without_empty_rows
from graftwork.core.data.table_rows import TableRows
from graftwork.core.data.target_guess import MASK_COLUMN, SENTENCE_COLUMNS, guessed_task, task_by_name
from graftwork.core.errors import ManifestError, Problem, SettingsError
from graftwork.core.example import ON_DISK, Example, Kinds, Text, WithMask
from graftwork.core.names import composed, name_key
from graftwork.core.tasks import ORDINAL, SINGLE_LABEL, Task, find_task
from graftwork.core.tasks.transcripts import normalise_text

SharedGroups = Literal["refuse", "allow"]

if TYPE_CHECKING:
    import pandas as pd

FRAME = "DataFrame"
"""What a table that is no file is called."""


def read_manifest(
    source: str | os.PathLike[str] | pd.DataFrame,
    *,
    target: str | None = None,
    group: str | None = None,
    group_from: str | None = None,
    split: str | None = "split",
    task: Task | str | None = None,
    order: Sequence[object] | None = None,
    classes: Sequence[str] | None = None,
    shared_groups: SharedGroups = "refuse",
    columns: Sequence[str] = (),
    suffixes: Sequence[str] = (),
    kinds: Kinds = ON_DISK,
    column: str = "path",
) -> Manifest:
    """A validated manifest.

    source: a .csv, .tsv or .parquet table with a column `path` (relative to the table's folder), a pandas DataFrame
    (relative to the current folder, its rows counted from 2 as in a table), a folder with one folder per class
    (searched for `suffixes`; below `train`, `val` and `test` folders if there are any), or a MedMNIST .npz.
    target: the column to learn, by default `label`, or `mask` where there is no label; several columns of 0
    and 1, separated by commas, are several labels. group: the column of the patient or speaker, by default
    `group`, `patient` or `speaker` where there is one, or one such as `patient_id`, with a warning. Names of columns
    are also found in another case. group_from: a regular expression in place of a column: what its first group, or all
    of it, matches in a path as it is written is the row's group.
    split: the column that says train, val or test, used where it exists; None ignores it.
    task: guessed by default: several columns are several labels, a column of numbers that are not all whole
    is a number (many different whole ones must be said to be numbers or classes), a target
    called `text`, `sentence` or `transcript` is text, one called `mask` is files of masks,
    anything else single labels. "ordinal" is never guessed. order: the grades of an ordinal target from the lowest to
    the highest, also as one text with commas; numbers need none.
    classes: labels or characters allowed (none for a number), for a manifest that is to be evaluated by a model
    that exists; others are reported, and no row needs to be for training.
    shared_groups: whether groups that somebody named may be in several parts of the split.
    columns: further columns to keep, as of sites or scanners, whose cells may be empty.
    kinds: of examples that can be read; others are reported. column: of a table, where its examples are named; texts
    stand in it themselves.

    Raises ManifestError with everything that is wrong, SettingsError for an order that is none.
    """
    import pandas as pd

    given = source if isinstance(source, pd.DataFrame) else None
    path = Path(FRAME) if isinstance(source, pd.DataFrame) else Path(source).expanduser()
    try:
        known = None if task is None else find_task(task)
    except SettingsError as error:
        raise ManifestError(str(path), [Problem(str(error))]) from error
    if order is not None:
        known = known or ORDINAL
        order = _checked_order(order, known)
        classes = classes or order
    if given is None and not os.path.exists(path):
        raise ManifestError(str(source), [Problem("no such file or folder")])
    folder = given is None and os.path.isdir(path)
    if given is not None:
        table = without_empty_rows(as_texts(given, path))
    elif path.suffix.lower() == ".npz" and not folder:
        table = archive_table(path)
        target = target or (
            "label" if "label" in table else ",".join(str(c) for c in table.columns if str(c).startswith("label"))
        )
    elif folder:
        table = read_class_folders(path, suffixes)
        # Names of folders are classes, also where they are numbers.
        known = known or (SINGLE_LABEL if target in (None, "label") else None)
    else:
        table = read_table(path)
    rows = TableRows(path, table)
    examples = _examples(rows, "path" if folder or path.suffix.lower() == ".npz" else column, kinds)
    in_paths = None if group_from is None else groups_from_paths(rows, group_from, group, column)
    further = {name: cells for name in columns if (cells := rows.optional_cells(name)) is not None}
    found = _validated(rows, examples, kinds, target, group, in_paths, split, known, classes, shared_groups,
                       ordered=order is not None)  # fmt: skip
    return replace(found, columns=further)


def read_unlabelled(
    source: str | os.PathLike[str] | pd.DataFrame, kinds: Kinds = ON_DISK, column: str = "path"
) -> list[tuple[Example, int]]:
    """The examples of a table or a DataFrame alone, where nobody knows their target, each with its row as a spreadsheet
    counts; kinds and column as `read_manifest` has them. Raises ManifestError."""
    import pandas as pd

    if isinstance(source, pd.DataFrame):
        rows = TableRows(Path(FRAME), without_empty_rows(as_texts(source, Path(FRAME))))
    else:
        rows = TableRows(Path(source), read_table(Path(source)))
    examples = _examples(rows, column, kinds)
    rows.stop_if_wrong()
    return list(zip(examples, rows.numbers, strict=True))


def _examples(rows: TableRows, column: str, kinds: Kinds) -> list[Example]:
    return rows.examples(column, "texts" if Text in kinds else "files", kinds)


def _validated(
    rows: TableRows,
    examples: Sequence[Example],
    kinds: Kinds,
    target: str | None,
    group: str | None,
    in_paths: list[str] | None,
    split: str | None,
    task: Task | None,
    classes: Sequence[str] | None,
    shared_groups: SharedGroups,
    *,
    ordered: bool,
) -> Manifest:
    if not len(rows.table):
        raise ManifestError(str(rows.source), [Problem("there are no rows")])
    if target is None and rows.find("label") is None and rows.find(MASK_COLUMN) is not None:
        target = MASK_COLUMN
    names = target_names(target)
    columns = [rows.column(name, "target (choose another with --target)") for name in names]
    groups, somebody_named = read_groups(rows, names, examples, group, in_paths)
    parts = split_parts(rows, split) if split is not None and rows.find(split) is not None else None
    if split == "split" and parts is None:
        warn_of_unused_parts(rows, names)
    if group is not None and group in names:
        rows.note(f"{group!r} is both the target and the group: every group would be a class of its own")
    known = [cells for cells in columns if cells is not None]
    if len(known) < len(columns):
        rows.stop_if_wrong()
    task = task or task_by_name(names) or guessed_task(rows, names, known)
    if task.in_files:
        masks = rows.examples(names[0], "target", kinds)
        examples = [WithMask(image, mask) for image, mask in zip(examples, masks, strict=True)]
    found, values = task.read_targets(rows, names, known, classes)
    if parts is not None:
        check_parts(rows, parts, groups if shared_groups == "refuse" else None, named=somebody_named)
        if classes is None or ordered:
            check_training(rows, parts, found if task.one_class else (), values)
    rows.stop_if_wrong()
    return Manifest(
        str(rows.source), tuple(examples), task, ",".join(names), found, values,
        None if groups is None else tuple(groups), None if parts is None else tuple(parts), tuple(rows.numbers),
        None if any(isinstance(example, Text) for example in examples) else _sentences(rows, names),
    )  # fmt: skip


def split_order(text: str | None) -> tuple[str, ...] | None:
    """Grades out of `none,mild,severe`."""
    return None if text is None else tuple(grade.strip() for grade in text.split(","))


def _checked_order(order: Sequence[object], task: Task) -> tuple[str, ...]:
    """Grades as cells are written.

    Raises SettingsError for an order of what has none, and for one of fewer than two different grades.
    """
    if not task.ordered:
        raise SettingsError(f"order: only ordinal targets have one, the task is {task}")
    listed = order.split(",") if isinstance(order, str) else order
    grades = tuple(composed(str(grade).strip()) for grade in listed)
    if len(grades) < 2 or not all(grades) or len(set(map(name_key, grades))) < len(grades):
        raise SettingsError(f"order: expected two or more different grades from the lowest to the highest, found "
                            f"{','.join(grades)!r}")  # fmt: skip
    return grades


def target_names(target: str | None) -> list[str]:
    """The columns to learn, from their names separated by commas."""
    return [composed(name.strip()) for name in (target or "label").split(",")]


def _sentences(rows: TableRows, targets: list[str]) -> tuple[str, ...] | None:
    column = rows.first_of([name for name in SENTENCE_COLUMNS if name not in targets])
    if column is None:
        return None
    return tuple(normalise_text(str(cell)) or f"row {number}"
                 for cell, number in zip(rows.table[column], rows.numbers, strict=True))  # fmt: skip
