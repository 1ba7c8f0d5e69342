"""The column of a table that says train, val or test: what it may hold, and what must not lie in several parts."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from graftwork.core.data.class_folders import PART_NAMES
from graftwork.core.data.table_rows import TableRows

log = logging.getLogger(__name__)


def split_parts(rows: TableRows, split: str) -> list[str] | None:
    """The part of every row, "" where its cell is empty; None without that column. Other words are noted."""
    cells = rows.column(split, "split")
    if cells is None:
        return None
    for index, cell in enumerate(cells):
        if cell and cell.lower() not in PART_NAMES:
            rows.note(f"expected train, val or test, found {cell!r}", index, split)
    return [PART_NAMES.get(cell.lower(), "") for cell in cells]


def warn_of_unused_parts(rows: TableRows, names: Sequence[str]) -> None:
    """Says where a column looks like a split under another name, and is not used."""
    for column in rows.table.columns:
        cells = {str(cell).strip().lower() for cell in rows.table[column]} - {""}
        if len(cells) > 1 and cells <= set(PART_NAMES) and column not in names:
            rows.warn(f"column {column!r} names parts ({', '.join(sorted(cells))}) and is not used: call it split if "
                      "it should be")  # fmt: skip


def check_parts(rows: TableRows, parts: list[str], groups: list[str] | None, *, named: bool) -> None:
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


def check_training(rows: TableRows, parts: list[str], classes: Sequence[str], values: NDArray[np.generic]) -> None:
    """Notes classes (of rows that have one) that have rows, and none for training."""
    if "train" not in parts:
        rows.note("the split column names no row for training")
        return
    own = np.array(parts)
    for place, name in enumerate(classes):
        if (values == place).any() and not (values[own == "train"] == place).any():
            rows.note(f"label {name!r} has no row for training")
