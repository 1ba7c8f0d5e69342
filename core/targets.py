"""What is to be learnt, out of the cells of a table: labels, numbers, several labels, or text."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from graftwork.core.manifest import Task
from graftwork.core.names import composed, name_key
from graftwork.core.table_rows import TableRows
from graftwork.core.transcripts import encode, normalise_text, spelt, vocabulary

TRUTH = {"0": 0.0, "1": 1.0, "0.0": 0.0, "1.0": 1.0, "false": 0.0, "true": 1.0, "no": 0.0, "yes": 1.0}

MISSING = ("nan", "na", "n/a", "null", "none", "inf", "+inf", "-inf", "infinity", "-infinity", "-", "--", "?", ".",
           "missing", "unknown", "#n/a", "#na", "#null!", "#num!", "#value!", "#ref!", "#div/0!", "#name?")  # fmt: skip
"""Cells, lower case, that programs and people write where there is no number."""

FEW_NUMBERS = 10
"""As many different whole numbers are classes, as digits are."""

ROWS_PER_CLASS = 10
"""With fewer rows for each of many different whole numbers it must be said whether these are classes."""

STRANGE_SHARE = 0.1
"""Words in so few cells of a column of numbers are taken for slips."""

SHOWN_CLASSES = 20

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")
_LIKE_A_NUMBER = re.compile(r"[+-]?[0-9][0-9.,'\s]*[^\W\d_%°]{0,6}[%°]?")
"""Digits with separators of thousands, or with a unit behind them."""

_THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2},[0-9]{3}")


def guessed_task(rows: TableRows, names: Sequence[str], columns: list[list[str]]) -> Task:
    """What the cells look like: several labels, numbers, or single labels. What is ambiguous is noted in `rows`."""
    if len(columns) > 1:
        return "multi-label"
    numbers = [_number(cell) for cell in columns[0]]
    found = [number for number in numbers if number is not None]
    whole = all(number == int(number) for number in found)
    many = len(set(found)) > FEW_NUMBERS
    strange = [index for index, (cell, number) in enumerate(zip(columns[0], numbers, strict=True))
               if cell and number is None]  # fmt: skip
    # What is written as a number and is none here is too large for one.
    absent = [index for index in strange
              if columns[0][index].lower() in MISSING or _NUMBER.fullmatch(columns[0][index])]  # fmt: skip
    alike = {columns[0][index] for index in strange if _LIKE_A_NUMBER.fullmatch(columns[0][index])}
    if len(alike) > max(FEW_NUMBERS, len(columns[0]) / 2) and not _names_people(names[0]):
        rows.note(f"{len(alike)} different cells such as {min(alike)!r} look like numbers with separators or units: "
                  "write plain numbers with a decimal point, or add --task single-label if these are classes", None,
                  names[0])  # fmt: skip
        return "single-label"
    if found and strange:
        slips = len(absent) == len(strange) or (
            (many or not whole) and len(strange) <= STRANGE_SHARE * (len(found) + len(strange))
        )
        for index in strange if slips else ():
            rows.note(f"is {columns[0][index]!r}, and {len(found)} other rows have numbers: mend or remove it; if all "
                      "are names of classes, add --task single-label", index, names[0])  # fmt: skip
        return "single-label"
    if absent and len(absent) < len(columns[0]):
        named = ", ".join(sorted({repr(columns[0][index]) for index in absent}))
        rows.warn(f"column {names[0]!r}: {named} in {len(absent)} rows is taken for a class of its own; where it means "
                  "that nobody knows, remove these rows")  # fmt: skip
    if not found or not whole:
        return "regression" if found else "single-label"
    if many and not _names_people(names[0]):
        kinds = len(set(found))
        if len(found) < ROWS_PER_CLASS * kinds:
            rows.note(f"{len(found)} rows have {kinds} different whole numbers: add --task regression if they are "
                      "numbers, or --task single-label if they are classes", None, names[0])  # fmt: skip
        else:
            rows.warn(f"column {names[0]!r}: {kinds} different whole numbers are taken for classes; if they are "
                      "numbers, add --task regression")  # fmt: skip
    return "single-label"


def _names_people(name: str) -> bool:
    return any(word in name.lower() for word in ("speaker", "patient", "subject", "client", "participant", "person"))


def target_values(
    rows: TableRows, names: list[str], columns: list[list[str]], task: Task, classes: Sequence[str] | None
) -> tuple[tuple[str, ...], NDArray[np.generic]]:
    """Classes in order and targets as a Manifest has them, from the target cells; problems are noted in `rows`.

    classes: given by a trained model, or None to take them from the cells. No classes for numbers; those of masks stand
    in their files.
    """
    if task == "single-label":
        if len(columns) > 1:
            rows.note(f"single labels need one target column, found {len(columns)}: {', '.join(names)}")
        return _labels(rows, names[0], columns[0], classes)
    if task == "mask":
        if len(columns) > 1:
            rows.note(f"masks need one target column, found {len(columns)}: {', '.join(names)}")
        return tuple(classes or ()), np.zeros(len(columns[0]))
    if task == "text":
        return _texts(rows, names[0], columns[0], classes)
    if task == "regression":
        _check_commas(rows, names[0], columns[0])
        numbers = [_number(cell) for cell in columns[0]]
        for index, (cell, number) in enumerate(zip(columns[0], numbers, strict=True)):
            if cell and number is None:
                rows.note(f"expected a finite number, found {cell!r}", index, names[0])
        return (), np.array([math.nan if number is None else number for number in numbers])
    table = np.zeros((len(columns[0]), len(columns)))
    for place, (name, cells) in enumerate(zip(names, columns, strict=True)):
        for index, cell in enumerate(cells):
            truth = TRUTH.get(cell.lower(), TRUTH.get(name_key(cell)))
            if cell and truth is None:
                rows.note(f"expected 0 or 1, found {cell!r}", index, name)
            table[index, place] = math.nan if truth is None else truth
    if classes is not None and list(map(composed, classes)) != names:
        rows.note(f"expected the label columns {', '.join(classes)}, found {', '.join(names)}")
    return tuple(names), table


def _texts(
    rows: TableRows, name: str, cells: list[str], classes: Sequence[str] | None
) -> tuple[tuple[str, ...], NDArray[np.generic]]:
    texts = [normalise_text(cell) for cell in cells]
    known = vocabulary(texts) if classes is None else tuple(classes)
    texts = [spelt(text, known) for text in texts]
    for index, text in enumerate(texts):
        strange = sorted(set(text) - set(known))
        if strange:
            rows.note(f"characters outside the vocabulary: {' '.join(map(repr, strange))}", index, name)
    return known, encode(texts, known)


def _labels(
    rows: TableRows, name: str, cells: list[str], classes: Sequence[str] | None
) -> tuple[tuple[str, ...], NDArray[np.generic]]:
    if classes is None:
        cells = rows.same_names(name, cells)
        found = sorted({cell for cell in cells if cell}, key=_label_order)
        _warn_of_case(rows, name, found)
        if len(found) == 1:
            rows.note(f"every row has the label {found[0]!r}: at least two classes are needed", None, name)
        classes = found
    # A model that exists may have learnt its classes in another spelling.
    number = {name_key(label): index for index, label in reversed(list(enumerate(classes)))}
    number |= {label: index for index, label in enumerate(classes)}
    found_numbers = [number.get(cell, number.get(name_key(cell), -1)) for cell in cells]
    more = "" if len(classes) <= SHOWN_CLASSES else f" and {len(classes) - SHOWN_CLASSES} more"
    known = ", ".join(map(repr, classes[:SHOWN_CLASSES])) + more
    for index, (cell, place) in enumerate(zip(cells, found_numbers, strict=True)):
        if cell and place < 0:
            rows.note(f"unknown label {cell!r}; the classes are {known}", index, name)
    return tuple(classes), np.array(found_numbers, dtype=np.int64)


def _warn_of_case(rows: TableRows, name: str, labels: Sequence[str]) -> None:
    folded: dict[str, list[str]] = {}
    for label in labels:
        folded.setdefault(label.casefold(), []).append(label)
    for alike in folded.values():
        if len(alike) > 1:
            rows.warn(f"column {name!r}: {', '.join(map(repr, alike))} differ in case alone and are different classes")


def _number(cell: str) -> float | None:
    """The finite number that a cell holds, also with a decimal comma; None where it holds none."""
    plain = cell.replace(",", ".") if _DECIMAL_COMMA.fullmatch(cell) else cell
    number = float(plain) if _NUMBER.fullmatch(plain) else math.nan
    return number if math.isfinite(number) else None


def _check_commas(rows: TableRows, name: str, cells: Sequence[str]) -> None:
    """Says that commas are taken for decimal ones; notes those that may separate thousands, or stand beside points."""
    commas = [index for index, cell in enumerate(cells) if _DECIMAL_COMMA.fullmatch(cell)]
    if not commas:
        return
    if any("." in cell for cell in cells) or all(_THOUSANDS.fullmatch(cells[index]) for index in commas):
        for index in commas:
            rows.note(f"expected a number with a decimal point, found {cells[index]!r}: it cannot be told whether its "
                      "comma is a decimal one", index, name)  # fmt: skip
        return
    rows.warn(f"column {name!r}: commas are taken for decimal ones in {len(commas)} rows, as in {cells[commas[0]]!r}")


def _label_order(label: str) -> tuple[int, float, str]:
    number = _number(label)
    return (1, 0.0, label) if number is None else (0, number, label)
