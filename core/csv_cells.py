"""Text in written CSV tables that a spreadsheet would take for a formula: it gets an apostrophe in front, which reading
takes away again (https://owasp.org/www-community/attacks/CSV_Injection)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_ESCAPED = re.compile(r"'+[=+\-@\t\r]")


def escape_cell(text: str) -> str:
    """The text as it is written: `'=1+1` for `=1+1`. Numbers are none, and what only looks escaped is escaped once
    more, so that `unescape_cell` gives every text back."""
    return f"'{text}" if _FORMULA.match(text) and not _is_number(text) else text


def unescape_cell(text: str) -> str:
    """The text that `escape_cell` was given."""
    return text[1:] if _ESCAPED.match(text) and not _is_number(text) else text


def escaped(table: pd.DataFrame) -> pd.DataFrame:
    """The table with its texts and names of columns as they are written; itself where nothing changes."""
    return _changed(table, escape_cell)


def unescaped(table: pd.DataFrame) -> pd.DataFrame:
    """The table that `escaped` was given."""
    return _changed(table, unescape_cell)


def _changed(table: pd.DataFrame, change: Any) -> pd.DataFrame:
    def cell(value: Any) -> Any:
        return change(value) if isinstance(value, str) else value

    renamed = [cell(name) for name in table.columns]
    found = table if renamed == list(table.columns) else table.set_axis(renamed, axis=1)
    for place in range(found.shape[1]):
        values = found.iloc[:, place]
        if values.dtype.kind in "biufc":
            continue
        new = [cell(value) for value in values]
        if any(isinstance(other, str) and one != other for one, other in zip(new, values, strict=True)):
            if found is table:
                found = table.copy()
            found.isetitem(place, new)
    return found


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
