"""Reads a manifest from a table, a folder per class or a MedMNIST archive, and reports every problem at once."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from graftwork.core.data.class_folders import read_class_folders
from graftwork.core.data.group_columns import groups_from_paths, read_groups
from graftwork.core.data.manifest import Manifest
from graftwork.core.data.metadata_folders import read_metadata_folder
from graftwork.core.data.missing_labels import BLANK_HINT, MissingLabels, without_missing_labels
from graftwork.core.data.missing_labels import HINT as MISSING_HINT
from graftwork.core.data.path_columns import PATH, PATH_COLUMNS, named_seconds
from graftwork.core.data.path_columns import path_column as find_path_column
from graftwork.core.data.split_column import check_parts, check_training, split_parts, warn_of_unused_parts
from graftwork.core.data.table_files import archive_table, as_texts, read_table, without_empty_rows
from graftwork.core.data.table_rows import TableRows
from graftwork.core.data.target_guess import MASK_COLUMN, SENTENCE_COLUMNS, guessed_task, task_by_name
from graftwork.core.data.uncertain_labels import Blank, Uncertain, UnsureLabels, settled
from graftwork.core.domain import CorpusReader
from graftwork.core.errors import ManifestError, Problem, SettingsError, UnreadableError
from graftwork.core.example import NO_MASK, ON_DISK, Example, Kinds, Text, WithMask
from graftwork.core.names import composed, name_key, refuse_undecodable
from graftwork.core.tasks import MULTI_LABEL, ORDINAL, SINGLE_LABEL, Task, find_task
from graftwork.core.tasks.transcripts import normalise_text

log = logging.getLogger(__name__)

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
    root: str | os.PathLike[str] | None = None,
    path_column: str | None = None,
    files: str | None = None,
    missing_labels: MissingLabels = "refuse",
    uncertain: Uncertain | None = None,
    blank: Blank | None = None,
    suffixes: Sequence[str] = (),
    kinds: Kinds = ON_DISK,
    column: str = "path",
    path_columns: Sequence[str] = PATH_COLUMNS,
    corpora: Sequence[CorpusReader] = (),
) -> Manifest:
    """A validated manifest.

    source: a .csv, .tsv, .jsonl, .json or .parquet table with a column `path` (relative to the table's folder), a
    pandas DataFrame (relative to the current folder, its rows counted from 2 as in a table), a folder with one folder
    per class (searched for `suffixes`; below `train`, `val` and `test` folders if there are any), a folder with a
    `metadata` table, or one that `corpora` read, or a MedMNIST .npz.
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
    root: the folder that paths of a table are seen from, by default its own. path_column: where it names its examples.
    files: a pattern for the files of a folder, as `*_T1w.nii.gz`. missing_labels: "drop" leaves out rows without a
    target, which are errors otherwise, and of masks cases without a finding; of several labels with unsure cells only
    rows without any.
    uncertain: what -1 is in columns of labels, as CheXpert has it: "ignore" (in no loss and no metric), "zero" or
    "one". blank: what an empty cell is there, "zero" where uncertain is given, or "ignore". They make the target
    several labels, also of one column.
    kinds: of examples that can be read; others are reported. column: of a table, where its examples are named; texts
    stand in it themselves. path_columns: where they are if it has no `path`. corpora: readers of known layouts.

    Raises ManifestError with everything that is wrong, SettingsError for an order that is none.

    >>> table = pd.DataFrame({"path": ["scans/00.png", "scans/02.png"], "age": [61.5, 48.0]})
    >>> core.read_manifest(table, target="age").task.name
    'regression'
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
    opened = _opened(path, given, suffixes, files, corpora)
    if path.suffix.lower() == ".npz" and target is None and "label" not in opened.table:
        target = ",".join(str(name) for name in opened.table.columns if str(name).startswith("label"))
    if opened.of_classes:
        # Names of folders are classes, also where they are numbers.
        known = known or (SINGLE_LABEL if target in (None, "label") else None)
    unsure = UnsureLabels(uncertain, blank)
    if unsure.asked:
        known = known or MULTI_LABEL
        if known is not MULTI_LABEL:
            raise ManifestError(str(path), [Problem("--uncertain and --blank are for columns of labels, the target is "
                                                    f"{known}")])  # fmt: skip
    own_root = opened.root if root is None else _checked_root(path, root)
    rows = TableRows(path, opened.table, own_root, opened.places)
    target = target or _default_target(rows)
    names = target_names(target)
    dropped = 0
    if missing_labels == "drop":
        there = [own for name in names if (own := rows.find(name)) is not None]
        kept, dropped = without_missing_labels(path, opened.table, there, "all" if unsure.asked else "any")
        rows = TableRows(path, kept, own_root, opened.places)
    column = _column_of_examples(rows, opened, column, path_columns, path_column, names)
    examples = _examples(rows, column, kinds)
    try:
        refuse_undecodable(map(str, examples))
    except UnreadableError as error:
        raise ManifestError(str(path), [Problem(str(error))]) from error
    in_paths = None if group_from is None else groups_from_paths(rows, group_from, group, column)
    further = {name: cells for name in columns if (cells := rows.optional_cells(name)) is not None}
    found = _validated(rows, examples, kinds, target, group, in_paths, split, known, classes, shared_groups,
                       unsure, ordered=order is not None)  # fmt: skip
    return replace(found, columns=further, dropped_rows=dropped)


def read_unlabelled(
    source: str | os.PathLike[str] | pd.DataFrame,
    kinds: Kinds = ON_DISK,
    column: str = "path",
    *,
    root: str | os.PathLike[str] | None = None,
    path_column: str | None = None,
    path_columns: Sequence[str] = PATH_COLUMNS,
) -> list[tuple[Example, int]]:
    """The examples of a table or a DataFrame alone, where nobody knows their target, each with its row as a spreadsheet
    counts; what it is given as `read_manifest` has it. Raises ManifestError."""
    import pandas as pd

    if isinstance(source, pd.DataFrame):
        path, table = Path(FRAME), without_empty_rows(as_texts(source, Path(FRAME)))
    else:
        path, table = Path(source), read_table(Path(source))
    rows = TableRows(path, table, None if root is None else _checked_root(path, root))
    examples = _examples(rows, find_path_column(rows, column, path_columns, path_column, ()), kinds)
    rows.stop_if_wrong()
    return list(zip(examples, rows.numbers, strict=True))


@dataclass(frozen=True)
class _Opened:
    """A source as a table of texts. root: that its paths are seen from, None for its own folder. of_classes: whether
    folders are its classes. own_paths: whether its paths were made here, in a column `path`."""

    table: pd.DataFrame
    root: Path | None = None
    places: Sequence[tuple[str, int]] | None = None
    of_classes: bool = False
    own_paths: bool = False


def _opened(
    path: Path,
    given: pd.DataFrame | None,
    suffixes: Sequence[str],
    files: str | None,
    corpora: Sequence[CorpusReader],
) -> _Opened:
    if given is not None:
        return _Opened(without_empty_rows(as_texts(given, path)))
    for reader in (*corpora, read_metadata_folder):
        corpus = reader(path, suffixes, files)
        if corpus is not None:
            if corpus.told:
                log.warning("%s: %s", path, corpus.told)
            return _Opened(corpus.table, corpus.root, corpus.places, own_paths=True)
    if os.path.isdir(path):
        return _Opened(read_class_folders(path, suffixes, files), of_classes=True, own_paths=True)
    if files is not None:
        raise ManifestError(str(path), [Problem("--files chooses among the files of a folder, and this is a file")])
    if path.suffix.lower() == ".npz":
        return _Opened(archive_table(path), own_paths=True)
    return _Opened(read_table(path))


def _checked_root(path: Path, root: str | os.PathLike[str]) -> Path:
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise ManifestError(str(path), [Problem(f"--root {os.fspath(root)}: no such folder")])
    return folder


def _column_of_examples(
    rows: TableRows, opened: _Opened, column: str, others: Sequence[str], asked: str | None, targets: Sequence[str]
) -> str:
    if not opened.own_paths:
        return find_path_column(rows, column, others, asked, targets)
    if asked is not None:
        raise ManifestError(str(rows.source), [Problem("--path-column names a column of a table, and this is none")])
    return PATH


def _default_target(rows: TableRows) -> str | None:
    return MASK_COLUMN if rows.find("label") is None and rows.find(MASK_COLUMN) is not None else None


def _examples(rows: TableRows, column: str, kinds: Kinds) -> list[Example]:
    what = "texts" if Text in kinds else "files"
    return rows.examples(column, what, kinds, named_seconds(rows, kinds, column))


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
    unsure: UnsureLabels,
    *,
    ordered: bool,
) -> Manifest:
    if not len(rows.table):
        raise ManifestError(str(rows.source), [Problem("there are no rows")])
    names = target_names(target)
    what = "target (choose another with --target)"
    of_masks = (task or task_by_name(names) or SINGLE_LABEL).in_files
    empty = None if unsure.asked or of_masks else MISSING_HINT + ("" if len(names) == 1 else BLANK_HINT)
    columns = [rows.column(name, what, empty) for name in names]
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
        masks = rows.examples(names[0], "target", kinds, empty=NO_MASK)
        without = sum(mask == NO_MASK for mask in masks)
        if without:
            rows.warn(f"{without} of {len(masks)} rows have an empty cell in {names[0]!r} and are taken for cases "
                      "without a finding; --missing-labels drop leaves them out")  # fmt: skip
        examples = [WithMask(image, mask) for image, mask in zip(examples, masks, strict=True)]
    if unsure.asked:
        known = settled(rows, names, known, unsure)
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
