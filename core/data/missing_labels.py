"""Rows whose target is empty, and which are left out where that is asked for."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from graftwork.core.errors import ManifestError, Problem

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

MissingLabels = Literal["refuse", "drop"]
"""What happens to rows without a target."""

HINT = "empty; --missing-labels drop leaves out rows without a label"
BLANK_HINT = ", --blank says what an empty cell of several labels is"


def without_missing_labels(
    source: Path, table: pd.DataFrame, columns: Sequence[str], empty_cells: Literal["any", "all"] = "any"
) -> tuple[pd.DataFrame, int]:
    """The rows whose target has no empty cell, or not only such, and how many others there are, which is said. Raises
    ManifestError where no row is left."""
    there = [name for name in columns if name in table]
    cells = table[there].apply(lambda column: column.astype(str).str.strip()) == ""
    empty = cells.any(axis=1) if empty_cells == "any" else cells.all(axis=1)
    count = int(empty.sum())
    if count and count == len(table):
        raise ManifestError(str(source), [Problem("no row has a label")])
    if count:
        log.warning("%s: %d of %d rows have no label in %s and are left out", source, count, len(table),
                    ", ".join(map(repr, there)))  # fmt: skip
    return table[~empty], count
