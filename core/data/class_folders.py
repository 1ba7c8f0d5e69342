"""A folder per class as a table: which of its files are examples, and what is left out, said with counts."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from graftwork.core.errors import ManifestError, Problem, UnreadableError
from graftwork.core.names import composed, refuse_undecodable

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

PART_NAMES = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
              "dev": "val", "test": "test", "testing": "test"}  # fmt: skip

MASK_FOLDERS = ("mask", "masks", "segmentation", "segmentations")
MASK_NAME = re.compile(
    r"(.+?)[ _.-]+\(?(?:masks?|seg|segmentation|labels?|labelmap|roi|gt|groundtruth|annotation)\)?(?:[ _.-]?[0-9]+)?",
    re.IGNORECASE,
)
"""A mask beside its scan, as `one_mask.png` or `one_mask_1.png` beside `one.png`: it would give away the class."""

LEAST_FOLDERS = 3
"""Folders below every class are taken for its patients or speakers where all of its files lie in so many or more."""

DICOM_PLACE, DICOM_MARK = 128, b"DICM"
"""PS3.10, 7.1: what a DICOM file begins with, whatever its name."""


def read_class_folders(folder: Path, suffixes: Sequence[str], pattern: str | None = None) -> pd.DataFrame:
    """A table of paths as seen from `folder`, with `label`, and where they are known `group` and `split`.

    The classes are the folders in it, or in its folders `train`, `val` and `test`. Files ending in `suffixes` are
    examples, and DICOM files under any name where these can be read; hidden files and masks beside their scans are not.
    pattern: that the names of files, or their paths below `folder`, must match. Raises ManifestError.
    """
    import pandas as pd

    children = _folders(folder)
    parts = [child for child in children if child.name.lower() in PART_NAMES]
    in_parts = any(PART_NAMES[part.name.lower()] == "train" for part in parts)
    found, passed_over = [], Counter[str]()
    for part in parts if in_parts else [folder]:
        for label in _folders(part):
            files, others = _examples(label, suffixes)
            passed_over += others
            kept = [file for file in files if pattern is None or matches(file, folder, pattern)]
            passed_over[f"not called {pattern}"] += len(files) - len(kept)
            files = kept
            if not files:
                log.warning("%s: holds no file that can be read: it is no class", label)
            found += [(str(file.relative_to(folder)), composed(label.name), _patient(file, label), part.name)
                      for file in files]  # fmt: skip
        passed_over["not in the folder of a class"] += sum(child.is_file() for child in part.iterdir())
    if in_parts:
        passed_over["not in the folder of a class"] += sum(child.is_file() for child in folder.iterdir())
    for child in children if in_parts else []:
        if child not in parts:
            passed_over[f"in {child.name}, which is no part"] += sum(file.is_file() for file in child.rglob("*"))
    if not found:
        endings = ", ".join(suffixes)
        called = "" if pattern is None else f" and called {pattern}"
        raise ManifestError(str(folder), [Problem(
            f"expected one folder per class with files ending in {endings}{called}")])  # fmt: skip
    table = pd.DataFrame(found, columns=["path", "label", "group", "split"])
    _refuse_masks(folder, table)
    _say_left_out(folder, len(table), passed_over)
    if not in_parts:
        table = table.drop(columns="split")
    return _with_groups(folder, table)


def matches(file: Path, folder: Path, pattern: str) -> bool:
    """Whether the name of a file, or its path below the folder, is like a pattern such as `*_T1w.nii.gz`."""
    return fnmatchcase(file.name, pattern) or fnmatchcase(file.relative_to(folder).as_posix(), pattern)


def files_below(folder: Path, suffixes: Sequence[str]) -> list[str]:
    """The files below a folder that end in `suffixes`, sorted; how many others there are is said."""
    files, others = _examples(folder, suffixes)
    _say_left_out(folder, len(files), others)
    return list(map(str, files))


def _say_left_out(folder: Path, count: int, passed_over: Counter[str]) -> None:
    passed_over = +passed_over
    if passed_over:
        counts = ", ".join(f"{number} {what}" for what, number in passed_over.most_common())
        log.warning("%s: %d files are examples; left out are %s", folder, count, counts)


def _folders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def _examples(label: Path, suffixes: Sequence[str]) -> tuple[list[Path], Counter[str]]:
    """The examples in the folder of a class, and how many other files there are of every kind."""
    files, others = [], Counter[str]()
    there = sorted(label.rglob("*"))
    _refuse_undecodable(label, there)
    for file in there:
        if not file.is_file():
            if not file.exists():
                others["links to files that are not there"] += 1
            elif not file.is_dir():
                others["no files, but pipes or devices"] += 1
            continue
        if any(part.startswith(".") for part in file.relative_to(label).parts):
            others["hidden"] += 1
        elif file.name.lower().endswith(tuple(suffixes)) or (".dcm" in suffixes and _has_dicom_mark(file)):
            files.append(file)
        else:
            others[f"ending in {file.suffix}" if file.suffix else "without an ending"] += 1
    masks = _masks(files, label, suffixes)
    others["masks of other files"] += len(masks)
    return [file for file in files if file not in masks], others


def _refuse_undecodable(folder: Path, files: Sequence[Path]) -> None:
    try:
        refuse_undecodable(map(str, files))
    except UnreadableError as error:
        raise ManifestError(str(folder), [Problem(str(error))]) from error


def _has_dicom_mark(file: Path) -> bool:
    if file.name.upper() == "DICOMDIR":  # a list of files, not a scan
        return False
    with file.open("rb") as opened:
        opened.seek(DICOM_PLACE)
        return opened.read(len(DICOM_MARK)) == DICOM_MARK


def _stem(file: Path, suffixes: Sequence[str]) -> str:
    ending = max((one for one in suffixes if file.name.lower().endswith(one)), key=len, default="")
    return file.name[: len(file.name) - len(ending)]


def _masks(files: Sequence[Path], label: Path, suffixes: Sequence[str]) -> set[Path]:
    """Files called like another one with `mask` behind, or lying in a folder of masks beside the scans."""
    stems = {(file.parent, _stem(file, suffixes)) for file in files}
    in_folders = {file for file in files
                  if any(part.lower() in MASK_FOLDERS for part in file.relative_to(label).parts[:-1])}  # fmt: skip
    beside = set()
    for file in files:
        name = MASK_NAME.fullmatch(_stem(file, suffixes))
        if name is not None and (file.parent, name[1]) in stems:
            beside.add(file)
    return beside | (in_folders if len(in_folders) < len(files) else set())


def _refuse_masks(folder: Path, table: pd.DataFrame) -> None:
    """A folder of masks beside the folder of their scans would be a class of its own."""
    labels = set(table["label"])
    masks = sorted(label for label in labels if label.lower() in MASK_FOLDERS)
    if masks and len(labels) > len(masks):
        raise ManifestError(str(folder), [Problem(
            f"the folder {masks[0]!r} would be learnt as a class: write a table with the columns path and mask, or "
            "give the folder another name if it is one"
        )])  # fmt: skip


def _patient(file: Path, label: Path) -> str:
    """The folder below the class that a file lies in, "" where it lies in none."""
    inside = file.relative_to(label).parts
    return composed(inside[0]) if len(inside) > 1 else ""


def _with_groups(folder: Path, table: pd.DataFrame) -> pd.DataFrame:
    below = table[table["group"] != ""]
    counts = table.groupby("label")["group"].nunique()
    if len(below) == len(table) and counts.min() >= LEAST_FOLDERS:
        log.warning("%s: all files lie in folders below the classes (%s, …): these %d are taken for the groups "
                    "(patients, speakers) that splits keep together", folder, table["group"].iloc[0],
                    table["group"].nunique())  # fmt: skip
        return table
    if len(below):
        log.warning("%s: %d of %d files lie in folders below the classes: if these are patients or speakers, write a "
                    "table with a column group", folder, len(below), len(table))  # fmt: skip
    return table.drop(columns="group")
