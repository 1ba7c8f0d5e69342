"""Numbers in the cells of a table, as people and programs write them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from graftwork.core.tasks.task import TargetCells

NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")
_THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2},[0-9]{3}")


def number_in(cell: str) -> float | None:
    """The finite number that a cell holds, also with a decimal comma; None where it holds none."""
    plain = cell.replace(",", ".") if _DECIMAL_COMMA.fullmatch(cell) else cell
    number = float(plain) if NUMBER.fullmatch(plain) else math.nan
    return number if math.isfinite(number) else None


def check_commas(rows: TargetCells, name: str, cells: Sequence[str]) -> None:
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


def single_column(rows: TargetCells, names: Sequence[str], what: str) -> None:
    """Notes a problem where several target columns were named for what needs one."""
    if len(names) > 1:
        rows.note(f"{what} need one target column, found {len(names)}: {', '.join(names)}")
