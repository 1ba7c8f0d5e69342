"""Reads a manifest from a table, a folder per class or a MedMNIST archive, and reports every problem at once."""

from __future__ import annotations

import json
import logging
import math
import os
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from graftwork.core.content import example_exists
from graftwork.core.errors import ManifestError, Problem, SettingsError
from graftwork.core.manifest import PARTS, TASKS, Manifest, Task
from graftwork.core.transcripts import BLANK, encode, normalise_text, vocabulary

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    import pandas as pd

PART_NAMES = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
              "dev": "val", "test": "test", "testing": "test"}  # fmt: skip
TRUTH = {"0": 0.0, "1": 1.0, "0.0": 0.0, "1.0": 1.0, "false": 0.0, "true": 1.0, "no": 0.0, "yes": 1.0}
GROUP_COLUMNS = ("group", "patient", "speaker")
"""Columns that are taken for the groups, the first that is there and is not the target, unless one is named."""
SENTENCE_COLUMNS = ("sentence", "text", "transcript")
HEADER_ROWS = 2
"""Added to a zero-based row to get the number a spreadsheet shows: one for the header, one to count from 1."""


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
    target: the column to learn, `label` by default; several columns of 0 and 1, separated by commas, are
    several labels. group: the column of the patient or speaker, by default `group`, `patient` or `speaker`
    where there is one.
    split: the column that says train, val or test, used where it exists; None ignores it.
    task: guessed by default: several columns are several labels, a column of numbers that are not all whole
    is a number, a target called `text`, `sentence` or `transcript` is text, anything else single labels.
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
    return _validated(_Rows(path, table), target, group, split, task, classes)


def read_paths(source: str | os.PathLike[str]) -> list[str]:
    """The `path` column of a table alone, for examples whose target nobody knows. Raises ManifestError."""
    rows = _Rows(Path(source), _read_table(Path(source)))
    paths = rows.paths()
    rows.stop_if_wrong()
    return paths


def read_vocabulary(path: str) -> tuple[str, ...]:
    """The classes of text that a vocab.json of Hugging Face's tokenizers names, in its order behind the blank.

    `|` stands between words; entries of several characters, such as `<pad>`, are none of ours. Raises SettingsError.
    """
    try:
        numbers = json.loads(Path(path).read_text(encoding="utf-8"))
        names = [name for name, _ in sorted(numbers.items(), key=lambda entry: int(entry[1]))]
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise SettingsError(f"{path}: expected a vocab.json, which gives every character a number ({error})") from error
    characters = [" " if name == "|" else name.lower() for name in names if len(name) == 1]
    return (BLANK, *dict.fromkeys(characters))


class _Rows:
    """A table of text and the problems found in it so far."""

    def __init__(self, source: Path, table: pd.DataFrame) -> None:
        self.source = source
        self.table = table
        self.numbers = [int(row) + HEADER_ROWS for row in table.index]
        self.problems: list[Problem] = []

    def note(self, message: str, index: int | None = None, column: str | None = None) -> None:
        self.problems.append(Problem(message, None if index is None else self.numbers[index], column))

    def column(self, name: str, what: str) -> list[str] | None:
        """The cells of a column, reported where it or a cell of it is missing."""
        if name not in self.table:
            self.note(f"no column {name!r} for the {what}; there are {', '.join(map(repr, self.table.columns))}")
            return None
        cells = [str(cell).strip() for cell in self.table[name]]
        for index, cell in enumerate(cells):
            if not cell:
                self.note("empty", index, name)
        return cells

    def paths(self) -> list[str]:
        """Absolute paths; files that are listed twice or are not there are reported."""
        cells = self.column("path", "files")
        if cells is None:
            return []
        root = self.source if self.source.is_dir() else self.source.parent
        paths = [os.path.abspath(root / os.path.expanduser(cell)) for cell in cells]
        seen: dict[str, int] = {}
        for index, (cell, path) in enumerate(zip(cells, paths, strict=True)):
            if not cell:
                continue
            if path in seen:
                self.note(f"{cell!r} is listed twice, first in row {self.numbers[seen[path]]}", index, "path")
            elif not example_exists(path):
                self.note(f"no such file: {cell!r} (looked for {path})", index, "path")
            seen.setdefault(path, index)
        return paths

    def stop_if_wrong(self) -> None:
        if self.problems:
            raise ManifestError(str(self.source), sorted(self.problems, key=lambda p: p.row or 0))


def _validated(
    rows: _Rows,
    target: str | None,
    group: str | None,
    split: str | None,
    task: Task | None,
    classes: Sequence[str] | None,
) -> Manifest:
    if not len(rows.table):
        raise ManifestError(str(rows.source), [Problem("there are no rows")])
    paths = rows.paths()
    names = [name.strip() for name in (target or "label").split(",")]
    columns = [rows.column(name, "target (choose another with --target)") for name in names]
    asked = group or next((name for name in GROUP_COLUMNS if name in rows.table and name not in names), None)
    groups = None if asked is None else rows.column(asked, "groups")
    parts = _parts(rows, split) if split is not None and split in rows.table else None
    if group is not None and group in names:
        rows.note(f"{group!r} is both the target and the group: every group would be a class of its own")
    known = [cells for cells in columns if cells is not None]
    if len(known) < len(columns):
        rows.stop_if_wrong()
    task = task or ("text" if names[0] in SENTENCE_COLUMNS and len(names) == 1 else _guessed_task(known))
    found, values = _target_values(rows, names, known, task, classes)
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


def _guessed_task(columns: list[list[str]]) -> Task:
    if len(columns) > 1:
        return "multi-label"
    numbers = [_number(cell) for cell in columns[0] if cell]
    whole = [number for number in numbers if number is not None and number == int(number)]
    return "regression" if None not in numbers and len(whole) < len(numbers) else "single-label"


def _target_values(
    rows: _Rows, names: list[str], columns: list[list[str]], task: Task, classes: Sequence[str] | None
) -> tuple[tuple[str, ...], NDArray[np.generic]]:
    if task == "single-label":
        if len(columns) > 1:
            rows.note(f"single labels need one target column, found {len(columns)}: {', '.join(names)}")
        return _labels(rows, names[0], columns[0], classes)
    if task == "text":
        return _texts(rows, names[0], columns[0], classes)
    if task == "regression":
        numbers = [_number(cell) for cell in columns[0]]
        for index, (cell, number) in enumerate(zip(columns[0], numbers, strict=True)):
            if cell and number is None:
                rows.note(f"expected a finite number, found {cell!r}", index, names[0])
        return (), np.array([math.nan if number is None else number for number in numbers])
    table = np.zeros((len(columns[0]), len(columns)))
    for place, (name, cells) in enumerate(zip(names, columns, strict=True)):
        for index, cell in enumerate(cells):
            if cell and cell.lower() not in TRUTH:
                rows.note(f"expected 0 or 1, found {cell!r}", index, name)
            table[index, place] = TRUTH.get(cell.lower(), math.nan)
    if classes is not None and list(classes) != names:
        rows.note(f"expected the label columns {', '.join(classes)}, found {', '.join(names)}")
    return tuple(names), table


def _texts(
    rows: _Rows, name: str, cells: list[str], classes: Sequence[str] | None
) -> tuple[tuple[str, ...], NDArray[np.generic]]:
    texts = [normalise_text(cell) for cell in cells]
    known = vocabulary(texts) if classes is None else tuple(classes)
    for index, text in enumerate(texts):
        strange = sorted(set(text) - set(known))
        if strange:
            rows.note(f"characters outside the vocabulary: {' '.join(map(repr, strange))}", index, name)
    return known, encode(texts, known)


def _labels(
    rows: _Rows, name: str, cells: list[str], classes: Sequence[str] | None
) -> tuple[tuple[str, ...], NDArray[np.generic]]:
    found = sorted({cell for cell in cells if cell}, key=_label_order)
    if classes is None:
        if len(found) == 1:
            rows.note(f"every row has the label {found[0]!r}: at least two classes are needed", None, name)
        classes = found
    number = {label: index for index, label in enumerate(classes)}
    for index, cell in enumerate(cells):
        if cell and cell not in number:
            rows.note(f"unknown label {cell!r}; the classes are {', '.join(map(repr, classes))}", index, name)
    return tuple(classes), np.array([number.get(cell, -1) for cell in cells], dtype=np.int64)


def _parts(rows: _Rows, split: str) -> list[str] | None:
    cells = rows.column(split, "split")
    if cells is None:
        return None
    for index, cell in enumerate(cells):
        if cell and cell.lower() not in PART_NAMES:
            rows.note(f"expected train, val or test, found {cell!r}", index, split)
    return [PART_NAMES.get(cell.lower(), "") for cell in cells]


def _sentences(rows: _Rows, targets: list[str]) -> tuple[str, ...] | None:
    column = next((name for name in SENTENCE_COLUMNS if name in rows.table and name not in targets), None)
    if column is None:
        return None
    return tuple(" ".join(str(cell).lower().split()) or f"row {number}"
                 for cell, number in zip(rows.table[column], rows.numbers, strict=True))  # fmt: skip


def _check_parts(rows: _Rows, parts: list[str], groups: list[str] | None, *, named: bool) -> None:
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


def _check_training(rows: _Rows, parts: list[str], labels: list[str] | None) -> None:
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


def _number(cell: str) -> float | None:
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _label_order(label: str) -> tuple[int, float, str]:
    number = _number(label)
    return (1, 0.0, label) if number is None else (0, number, label)
