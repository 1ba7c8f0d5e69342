"""What is to be learnt, out of the cells of a table: labels, numbers, several labels, or text."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from graftwork.core.manifest import Task
from graftwork.core.table_rows import TableRows
from graftwork.core.transcripts import encode, normalise_text, vocabulary

TRUTH = {"0": 0.0, "1": 1.0, "0.0": 0.0, "1.0": 1.0, "false": 0.0, "true": 1.0, "no": 0.0, "yes": 1.0}


def guessed_task(columns: list[list[str]]) -> Task:
    if len(columns) > 1:
        return "multi-label"
    numbers = [_number(cell) for cell in columns[0] if cell]
    whole = [number for number in numbers if number is not None and number == int(number)]
    return "regression" if None not in numbers and len(whole) < len(numbers) else "single-label"


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
    rows: TableRows, name: str, cells: list[str], classes: Sequence[str] | None
) -> tuple[tuple[str, ...], NDArray[np.generic]]:
    texts = [normalise_text(cell) for cell in cells]
    known = vocabulary(texts) if classes is None else tuple(classes)
    for index, text in enumerate(texts):
        strange = sorted(set(text) - set(known))
        if strange:
            rows.note(f"characters outside the vocabulary: {' '.join(map(repr, strange))}", index, name)
    return known, encode(texts, known)


def _labels(
    rows: TableRows, name: str, cells: list[str], classes: Sequence[str] | None
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


def _number(cell: str) -> float | None:
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _label_order(label: str) -> tuple[int, float, str]:
    number = _number(label)
    return (1, 0.0, label) if number is None else (0, number, label)
