"""Reads a manifest from a table, a folder per class or a MedMNIST archive, and reports every problem at once."""

from __future__ import annotations

import logging
import os
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from graftwork.core.content import MASK_MARK
from graftwork.core.errors import ManifestError, Problem
from graftwork.core.manifest import PARTS, TASKS, Manifest, Task
from graftwork.core.table_rows import TableRows
from graftwork.core.targets import guessed_task, target_values

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    import pandas as pd

PART_NAMES = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
              "dev": "val", "test": "test", "testing": "test"}  # fmt: skip
GROUP_COLUMNS = ("group", "patient", "speaker")
"""Columns that are taken for the groups, the first that is there and is not the target, unless one is named."""
SENTENCE_COLUMNS = ("sentence", "text", "transcript")
MASK_COLUMN = "mask"


def read_manifest(
    source: str | os.PathLike[str],
    *,
    target: str | None = None,
    group: str | None = None,
    split: str | None = "split",
    task: Task | None = None,
    classes: Sequence[str] | None = None,
    suffixes: Sequence[str] = (),
) -> Manifest:
    """A validated manifest.

    source: a .csv, .tsv or .parquet table with a column `path` (relative to the table's folder), a folder
    with one folder per class (searched for `suffixes`; below `train`, `val` and `test` folders if there
    are any), or a MedMNIST .npz.
    target: the column to learn, by default `label`, or `mask` where there is no label; several columns of 0
    and 1, separated by commas, are several labels. group: the column of the patient or speaker, by default
    `group`, `patient` or `speaker` where there is one.
    split: the column that says train, val or test, used where it exists; None ignores it.
    task: guessed by default: several columns are several labels, a column of numbers that are not all whole
    is a number, a target called `text`, `sentence` or `transcript` is text, one called `mask` is files of masks,
    anything else single labels.
    classes: labels or characters allowed (none for a number), for a manifest that is to be judged by a model
    that exists; others are reported, and no row needs to be for training.

    Raises ManifestError with everything that is wrong.
    """
    path = Path(source).expanduser()
    if task is not None and task not in TASKS:
        raise ManifestError(str(source), [Problem(f"task: expected one of {', '.join(TASKS)}, found {task!r}")])
    if not path.exists():
        raise ManifestError(str(source), [Problem("no such file or folder")])
    if path.suffix == ".npz":
        table = _archive_table(path)
        target = target or (
            "label" if "label" in table else ",".join(str(c) for c in table.columns if str(c).startswith("label"))
        )
    elif path.is_dir():
        table = _folder_table(path, suffixes)
    else:
        table = _read_table(path)
    return _validated(TableRows(path, table), target, group, split, task, classes)


def read_paths(source: str | os.PathLike[str]) -> dict[str, int]:
    """The `path` column of a table alone, for examples whose target nobody knows, each with its row as a spreadsheet
    counts. Raises ManifestError."""
    rows = TableRows(Path(source), _read_table(Path(source)))
    paths = rows.paths()
    rows.stop_if_wrong()
    return dict(zip(paths, rows.numbers, strict=True))


def _validated(
    rows: TableRows,
    target: str | None,
    group: str | None,
    split: str | None,
    task: Task | None,
    classes: Sequence[str] | None,
) -> Manifest:
    if not len(rows.table):
        raise ManifestError(str(rows.source), [Problem("there are no rows")])
    paths = rows.paths()
    if target is None and "label" not in rows.table and MASK_COLUMN in rows.table:
        target = MASK_COLUMN
    names = target_names(target)
    columns = [rows.column(name, "target (choose another with --target)") for name in names]
    asked = group or next((name for name in GROUP_COLUMNS if name in rows.table and name not in names), None)
    groups = None if asked is None else rows.column(asked, "groups")
    parts = _parts(rows, split) if split is not None and split in rows.table else None
    if group is not None and group in names:
        rows.note(f"{group!r} is both the target and the group: every group would be a class of its own")
    known = [cells for cells in columns if cells is not None]
    if len(known) < len(columns):
        rows.stop_if_wrong()
    if task is None and task_by_name(names) is None:
        rows.refuse_files(names[0])
    task = task or task_by_name(names) or guessed_task(known)
    if task == "mask":
        paths = [f"{path}{MASK_MARK}{mask}" for path, mask in zip(paths, rows.files(names[0]), strict=True)]
    found, values = target_values(rows, names, known, task, classes)
    if parts is not None:
        _check_parts(rows, parts, groups, named=group is not None or asked == "group")
        if classes is None:
            _check_training(rows, parts, known[0] if task == "single-label" else None)
    rows.stop_if_wrong()
    return Manifest(
        str(rows.source), tuple(paths), task, ",".join(names), found, values,
        None if groups is None else tuple(groups), None if parts is None else tuple(parts), tuple(rows.numbers),
        _sentences(rows, names),
    )  # fmt: skip


def target_names(target: str | None) -> list[str]:
    """The columns to learn, from their names separated by commas."""
    return [name.strip() for name in (target or "label").split(",")]


def task_by_name(names: Sequence[str]) -> Task | None:
    """The task that the name of a target stands for, if it stands for one."""
    if list(names) == [MASK_COLUMN]:
        return "mask"
    return "text" if names[0] in SENTENCE_COLUMNS and len(names) == 1 else None


def _parts(rows: TableRows, split: str) -> list[str] | None:
    cells = rows.column(split, "split")
    if cells is None:
        return None
    for index, cell in enumerate(cells):
        if cell and cell.lower() not in PART_NAMES:
            rows.note(f"expected train, val or test, found {cell!r}", index, split)
    return [PART_NAMES.get(cell.lower(), "") for cell in cells]


def _sentences(rows: TableRows, targets: list[str]) -> tuple[str, ...] | None:
    column = next((name for name in SENTENCE_COLUMNS if name in rows.table and name not in targets), None)
    if column is None:
        return None
    return tuple(" ".join(str(cell).lower().split()) or f"row {number}"
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


def _check_training(rows: TableRows, parts: list[str], labels: list[str] | None) -> None:
    if "train" not in parts:
        rows.note("the split column names no row for training")
    elif labels is not None:
        trained = {label for label, part in zip(labels, parts, strict=True) if part == "train"}
        for label in sorted(set(labels) - trained - {""}):
            rows.note(f"label {label!r} has no row for training")


def _read_table(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        if path.suffix == ".parquet":
            table = pd.read_parquet(path)
            return table.astype(object).where(table.notna(), "").astype(str)
        with open(path, encoding="utf-8-sig") as file:
            header = file.readline()
        separator = "\t" if "\t" in header else ";" if ";" in header and "," not in header else ","
        # Blank lines are read, so that rows keep the numbers a spreadsheet shows, and dropped below.
        table = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig",
                            skip_blank_lines=False)  # fmt: skip
    except UnicodeDecodeError as error:
        raise ManifestError(
            str(path), [Problem(f"is not UTF-8 text ({error}); a CSV or TSV table is expected")]
        ) from error
    except (OSError, ValueError) as error:
        # pandas' parser errors and pyarrow's are ValueErrors; their text names the line.
        reason = str(error).removeprefix("Error tokenizing data. C error: ").strip()
        raise ManifestError(str(path), [Problem(f"cannot be read as a table: {reason}")]) from error
    if not isinstance(table.index, pd.RangeIndex):
        # pandas takes the first cells of rows that are longer than the header as names of the rows.
        count = len(table.columns)
        raise ManifestError(str(path), [Problem(f"rows have more cells than the {count} columns of the header")])
    return table[(table != "").any(axis=1)]


def _folder_table(folder: Path, suffixes: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    def examples(root: Path) -> list[tuple[str, str]]:
        labels = sorted(child for child in root.iterdir() if child.is_dir() and not child.name.startswith("."))
        files = [(file, label.name) for label in labels for file in sorted(label.rglob("*")) if file.is_file()]
        return [(str(file.relative_to(folder)), label) for file, label in files
                if file.name.lower().endswith(tuple(suffixes))]  # fmt: skip

    parts = [child for child in sorted(folder.iterdir()) if child.is_dir() and child.name.lower() in PART_NAMES]
    if any(PART_NAMES[part.name.lower()] == "train" for part in parts):
        found = [(path, label, part.name) for part in parts for path, label in examples(part)]
        return pd.DataFrame(found, columns=["path", "label", "split"])
    table = pd.DataFrame(examples(folder), columns=["path", "label"])
    if not len(table):
        endings = ", ".join(suffixes)
        raise ManifestError(str(folder), [Problem(f"expected one folder per class with files ending in {endings}")])
    return table


def _archive_table(path: Path) -> pd.DataFrame:
    import pandas as pd

    tables = []
    try:
        with np.load(path, allow_pickle=False) as arrays:
            for part in PARTS:
                if f"{part}_labels" not in arrays:
                    continue
                labels = np.asarray(arrays[f"{part}_labels"])
                labels = labels.reshape(len(labels), -1)
                names = ["label"] if labels.shape[1] == 1 else [f"label{i}" for i in range(labels.shape[1])]
                table = pd.DataFrame(labels.astype(str), columns=names)
                table.insert(0, "path", [f"{path.name}#{part}/{row}" for row in range(len(labels))])
                tables.append(table.assign(split=part))
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ManifestError(str(path), [Problem(f"cannot be read as an archive of arrays: {error}")]) from error
    if not tables:
        raise ManifestError(str(path), [Problem("expected arrays train_images, train_labels, … as MedMNIST has them")])
    return pd.concat(tables, ignore_index=True)
