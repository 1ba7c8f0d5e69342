"""Reads a manifest from a table, a folder per class or a MedMNIST archive, and reports every problem at once."""

from __future__ import annotations

import logging
import os
import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from graftwork.core.data.class_folders import PART_NAMES, read_class_folders
from graftwork.core.data.delimited import read_delimited, refuse_doubled, refuse_irregular
from graftwork.core.data.manifest import PARTS, Manifest
from graftwork.core.data.table_rows import TableRows
from graftwork.core.data.target_guess import MASK_COLUMN, SENTENCE_COLUMNS, guessed_task, task_by_name
from graftwork.core.errors import ManifestError, MissingPackageError, Problem, SettingsError
from graftwork.core.example import ON_DISK, ArchiveRow, Example, Kinds, Span, Text, WithMask, recording_of
from graftwork.core.names import composed, name_key
from graftwork.core.tasks import ORDINAL, SINGLE_LABEL, Task, find_task
from graftwork.core.tasks.transcripts import normalise_text

log = logging.getLogger(__name__)

SharedGroups = Literal["refuse", "allow"]

if TYPE_CHECKING:
    import pandas as pd

GROUP_COLUMNS = ("group", "patient", "speaker")
"""Columns that are taken for the groups, the first that is there and is not the target, unless one is named."""
PERSON_COLUMNS = ("patientid", "patientno", "patientnumber", "speakerid", "speakername", "spk", "spkid", "subject",
                  "subjectid", "participant", "participantid", "clientid", "person", "personid")  # fmt: skip
"""Columns that are taken for the groups after those, with a warning, however they are spelt: `Patient ID`."""
FRAME = "DataFrame"
"""What a table that is no file is called."""
MOST_CELLS = 200_000_000
"""A Parquet file or an archive that claims more is no table of examples, however small it is."""


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
    `group`, `patient` or `speaker` where there is one, or one of PERSON_COLUMNS, with a warning. Names of columns are
    also found in another case. group_from: a regular expression in place of a column: what its first group, or all of
    it, matches in a path as it is written is the row's group.
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
        table = _without_empty_rows(_as_texts(given, path))
    elif path.suffix.lower() == ".npz" and not folder:
        table = _archive_table(path)
        target = target or (
            "label" if "label" in table else ",".join(str(c) for c in table.columns if str(c).startswith("label"))
        )
    elif folder:
        table = read_class_folders(path, suffixes)
        # Names of folders are classes, also where they are numbers.
        known = known or (SINGLE_LABEL if target in (None, "label") else None)
    else:
        table = _read_table(path)
    rows = TableRows(path, table)
    examples = _examples(rows, "path" if folder or path.suffix.lower() == ".npz" else column, kinds)
    named = None if group_from is None else _groups_from(rows, group_from, group, column)
    further = {name: cells for name in columns if (cells := rows.optional_cells(name)) is not None}
    found = _validated(rows, examples, kinds, target, group, named, split, known, classes, shared_groups,
                       ordered=order is not None)  # fmt: skip
    return replace(found, columns=further)


def read_unlabelled(
    source: str | os.PathLike[str] | pd.DataFrame, kinds: Kinds = ON_DISK, column: str = "path"
) -> list[tuple[Example, int]]:
    """The examples of a table or a DataFrame alone, where nobody knows their target, each with its row as a spreadsheet
    counts; kinds and column as `read_manifest` has them. Raises ManifestError."""
    import pandas as pd

    if isinstance(source, pd.DataFrame):
        rows = TableRows(Path(FRAME), _without_empty_rows(_as_texts(source, Path(FRAME))))
    else:
        rows = TableRows(Path(source), _read_table(Path(source)))
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
    named: list[str] | None,
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
    asked = None if named is not None else group or _group_column(rows, names)
    groups = named if asked is None else rows.column(asked, "groups")
    if asked is not None and groups is not None:
        groups = rows.same_names(asked, groups)
        if group is None and _letters(asked) not in GROUP_COLUMNS:
            rows.warn(f"column {asked!r} is taken for the groups that splits keep together ({len(set(groups))} in "
                      f"{len(groups)} rows); --group names another")  # fmt: skip
        _warn_of_alike_groups(rows, asked, groups)
        if group is None:
            _warn_of_other_groups(rows, asked, names)
    elif groups is None:
        _warn_of_segments(rows, examples)
    parts = _parts(rows, split) if split is not None and rows.find(split) is not None else None
    if split == "split" and parts is None:
        _warn_of_parts(rows, names)
    if group is not None and group in names:
        rows.note(f"{group!r} is both the target and the group: every group would be a class of its own")
    known = [cells for cells in columns if cells is not None]
    if len(known) < len(columns):
        rows.stop_if_wrong()
    if task is None and task_by_name(names) is None:
        rows.refuse_files(names[0])
    task = task or task_by_name(names) or guessed_task(rows, names, known)
    if task.in_files:
        masks = rows.examples(names[0], "target", kinds)
        examples = [WithMask(image, mask) for image, mask in zip(examples, masks, strict=True)]
    found, values = task.read_targets(rows, names, known, classes)
    if parts is not None:
        _check_parts(
            rows,
            parts,
            groups if shared_groups == "refuse" else None,
            named=asked is None or group is not None or asked.lower() == "group",
        )
        if classes is None or ordered:
            _check_training(rows, parts, found if task.one_class else (), values)
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


def _groups_from(rows: TableRows, pattern: str, group: str | None, column: str) -> list[str] | None:
    """The group of every row, out of its path; rows whose path has none are noted. Raises ManifestError for what is no
    regular expression, and for a column of groups beside it."""
    try:
        searched = re.compile(pattern)
    except re.error as error:
        raise ManifestError(str(rows.source), [Problem(f"--group-from {pattern!r} is no regular expression: {error}")]
                            ) from error  # fmt: skip
    if group is not None:
        raise ManifestError(str(rows.source), [Problem("--group and --group-from name groups in two ways: give one")])
    cells = rows.column(column, "files")
    if cells is None:
        return None
    found = [searched.search(cell) for cell in cells]
    if cells and not any(found):
        raise ManifestError(str(rows.source), [Problem(f"--group-from {pattern!r} finds nothing in any of {len(cells)} "
                                                       f"paths, the first is {cells[0]!r}")])  # fmt: skip
    for index, match in enumerate(found):
        if match is None or not match[1 if searched.groups else 0]:
            rows.note(f"--group-from {pattern!r} finds nothing in {cells[index]!r}", index, column)
    return [composed(match[1 if searched.groups else 0] or "") if match else "" for match in found]


def _warn_of_segments(rows: TableRows, examples: Sequence[Example]) -> None:
    """Says where rows without groups are seconds of the same recordings: splits may separate them."""
    recordings = [recording_of(example) for example in examples if isinstance(example, Span)]
    different = len(set(recordings))
    if different < len(recordings):
        rows.warn(f"{len(recordings)} rows are seconds of {different} recordings, which splits may put on both sides: "
                  "name the recording or its speaker with --group")  # fmt: skip


def _warn_of_alike_groups(rows: TableRows, column: str, groups: Sequence[str]) -> None:
    folded: dict[str, set[str]] = {}
    for group in groups:
        folded.setdefault(group.casefold(), set()).add(group)
    alike = [sorted(one) for one in folded.values() if len(one) > 1]
    if alike:
        more = f", as are those of {len(alike) - 1} more" if len(alike) > 1 else ""
        rows.warn(f"column {column!r}: {', '.join(map(repr, alike[0]))} differ in case alone and are different groups"
                  f"{more}: if these are the same people, splits may separate them")  # fmt: skip


def _warn_of_other_groups(rows: TableRows, taken: str, names: Sequence[str]) -> None:
    """Says where further columns name people, whom splits that keep the groups together may separate."""
    passed_over = {_letters(name) for name in (*names, taken)}
    others = [str(column) for column in rows.table.columns if _letters(str(column)) not in passed_over
              and _letters(str(column)) in (*GROUP_COLUMNS, *PERSON_COLUMNS)]  # fmt: skip
    if others:
        rows.warn(f"splits keep {taken!r} together; {', '.join(map(repr, others))} may name people too, whom they may "
                  "separate: choose with --group")  # fmt: skip


def _group_column(rows: TableRows, names: Sequence[str]) -> str | None:
    """The column of the groups where none was named. Of a target that names people itself, other columns that do are
    none: each of its classes would be a group."""
    targets = {_letters(name) for name in names}
    people = (*GROUP_COLUMNS, *PERSON_COLUMNS)
    known = ("group",) if targets & set(people[1:]) else people
    columns = {_letters(str(column)): str(column) for column in reversed(rows.table.columns)}
    return next((columns[name] for name in known if name in columns and name not in targets), None)


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name.lower()))


def _warn_of_parts(rows: TableRows, names: Sequence[str]) -> None:
    """Says where a column looks like a split under another name, and is not used."""
    for column in rows.table.columns:
        cells = {str(cell).strip().lower() for cell in rows.table[column]} - {""}
        if len(cells) > 1 and cells <= set(PART_NAMES) and column not in names:
            rows.warn(f"column {column!r} names parts ({', '.join(sorted(cells))}) and is not used: call it split if "
                      "it should be")  # fmt: skip


def target_names(target: str | None) -> list[str]:
    """The columns to learn, from their names separated by commas."""
    return [composed(name.strip()) for name in (target or "label").split(",")]


def _parts(rows: TableRows, split: str) -> list[str] | None:
    cells = rows.column(split, "split")
    if cells is None:
        return None
    for index, cell in enumerate(cells):
        if cell and cell.lower() not in PART_NAMES:
            rows.note(f"expected train, val or test, found {cell!r}", index, split)
    return [PART_NAMES.get(cell.lower(), "") for cell in cells]


def _sentences(rows: TableRows, targets: list[str]) -> tuple[str, ...] | None:
    column = rows.first_of([name for name in SENTENCE_COLUMNS if name not in targets])
    if column is None:
        return None
    return tuple(normalise_text(str(cell)) or f"row {number}"
                 for cell, number in zip(rows.table[column], rows.numbers, strict=True))  # fmt: skip


def _check_parts(rows: TableRows, parts: list[str], groups: list[str] | None, *, named: bool) -> None:
    """Groups that somebody named must not be in several parts; ones that were only found may be, with a warning."""
    if groups is not None:
        seen: dict[str, dict[str, int]] = {}
        for index, (name, part) in enumerate(zip(groups, parts, strict=True)):
            if name and part:
                seen.setdefault(name, {}).setdefault(part, index)
        several = sum(len(first) > 1 for first in seen.values())
        if several and not named:
            log.warning("%d of %d groups are in several parts of the split column: numbers do not hold for new groups",
                        several, len(seen))  # fmt: skip
        for name, first in seen.items():
            if named and len(first) > 1:
                places = ", ".join(f"{part!r} (row {rows.numbers[index]})" for part, index in first.items())
                rows.note(f"group {name!r} is in several parts of the split: {places}")


def _check_training(rows: TableRows, parts: list[str], classes: Sequence[str], values: NDArray[np.generic]) -> None:
    """Notes classes (of rows that have one) that have rows, and none for training."""
    if "train" not in parts:
        rows.note("the split column names no row for training")
        return
    own = np.array(parts)
    for place, name in enumerate(classes):
        if (values == place).any() and not (values[own == "train"] == place).any():
            rows.note(f"label {name!r} has no row for training")


def _read_table(path: Path) -> pd.DataFrame:
    refuse_irregular(path)
    return _without_empty_rows(_parquet_table(path) if path.suffix.lower() == ".parquet" else read_delimited(path))


def _without_empty_rows(table: pd.DataFrame) -> pd.DataFrame:
    return table[(table != "").any(axis=1)]


def _as_texts(table: pd.DataFrame, source: Path) -> pd.DataFrame:
    """A typed table as the texts that a CSV file would hold; an index with a name is a column."""
    if any(name is not None and name not in table for name in table.index.names):
        table = table.reset_index()  # a column that somebody has made the index
    names = [composed(str(name).strip()) for name in table.columns]
    refuse_doubled(source, names)
    text = table.astype(object).where(table.notna(), "").astype(str)
    return text.set_axis(names, axis=1).reset_index(drop=True)


def _parquet_table(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        import pyarrow.parquet

        about = pyarrow.parquet.ParquetFile(path).metadata
        if about.num_rows * about.num_columns > MOST_CELLS:
            raise ManifestError(str(path), [Problem(f"is no table of examples: it claims {about.num_rows} rows")])
        table = pd.read_parquet(path)
    except ImportError as error:
        raise MissingPackageError(f"reading {path} needs pyarrow: pip install pyarrow") from error
    except (OSError, ValueError, KeyError, NotImplementedError) as error:
        # pyarrow's errors are ValueErrors, KeyErrors or NotImplementedErrors.
        raise ManifestError(str(path), [Problem(f"cannot be read as a table: {error}")]) from error
    return _as_texts(table, path)


def _archive_table(path: Path) -> pd.DataFrame:
    import pandas as pd

    refuse_irregular(path, most_bytes=None)
    tables = []
    try:
        _refuse_bomb(path)
        with np.load(path, allow_pickle=False) as arrays:
            for part in PARTS:
                if f"{part}_labels" not in arrays:
                    continue
                labels = np.asarray(arrays[f"{part}_labels"])
                labels = labels.reshape(len(labels), -1)
                names = ["label"] if labels.shape[1] == 1 else [f"label{i}" for i in range(labels.shape[1])]
                table = pd.DataFrame(labels.astype(str), columns=names)
                table.insert(0, "path", [str(ArchiveRow(path.name, part, row)) for row in range(len(labels))])
                tables.append(table.assign(split=part))
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ManifestError(str(path), [Problem(f"cannot be read as an archive of arrays: {error}")]) from error
    if not tables:
        raise ManifestError(str(path), [Problem("expected arrays train_images, train_labels, … as MedMNIST has them")])
    return pd.concat(tables, ignore_index=True)


def _refuse_bomb(path: Path) -> None:
    """Raises ManifestError for labels that are far larger unpacked than any archive of examples has."""
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.filename.endswith("_labels.npy") and member.file_size > MOST_CELLS:
                raise ManifestError(str(path), [Problem(
                    f"is no archive of examples: {member.filename} has {member.file_size / 1e9:.1f} GB")])  # fmt: skip
