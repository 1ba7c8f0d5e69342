"""A table of text while it is being checked: its cells, and everything that is wrong with them so far."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from graftwork.core.data.content import CHANNEL_MARK, absolute_path, channel_files, example_exists
from graftwork.core.data.spans import span_problem
from graftwork.core.errors import ManifestError, Problem
from graftwork.core.names import composed, existing_path, name_key

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

HEADER_ROWS = 2
"""Added to a zero-based row to get the number a spreadsheet shows: one for the header, one to count from 1."""

SHOWN = 5


class TableRows:
    """A table of text and the problems found in it so far."""

    def __init__(self, source: Path, table: pd.DataFrame) -> None:
        self.source = source
        self.table = table
        self.numbers = [int(row) + HEADER_ROWS for row in table.index]
        self._problems: dict[Problem, None] = {}

    @property
    def problems(self) -> list[Problem]:
        """Everything noted so far, each once, in order."""
        return list(self._problems)

    def note(self, message: str, index: int | None = None, column: str | None = None) -> None:
        """Adds a problem of the table, or of the row at `index`."""
        self._problems.setdefault(Problem(message, None if index is None else self.numbers[index], column))

    def warn(self, message: str) -> None:
        """Says what was assumed of the table."""
        log.warning("%s: %s", self.source, message)

    def find(self, name: str) -> str | None:
        """The column of that name; where there is none, the only one that differs from it in case alone."""
        wanted = composed(name.strip())
        if wanted in self.table:
            return wanted
        alike = [str(column) for column in self.table.columns if str(column).casefold() == wanted.casefold()]
        return alike[0] if len(alike) == 1 else None

    def first_of(self, names: Sequence[str]) -> str | None:
        """The first of these columns that is there."""
        return next((found for found in map(self.find, names) if found is not None), None)

    def column(self, name: str, what: str) -> list[str] | None:
        """The cells of a column in Unicode's normal form C, reported where it or a cell of it is missing."""
        found = self.find(name)
        if found is None:
            self.note(f"no column {name!r} for the {what}; there are {', '.join(map(repr, self.table.columns))}")
            return None
        cells = [composed(str(cell).strip()) for cell in self.table[found]]
        for index, cell in enumerate(cells):
            if not cell:
                self.note("empty", index, name)
        return cells

    def same_names(self, name: str, cells: list[str]) -> list[str]:
        """The cells, where one whole number that is written in several ways, as 1, 1.0 and 01, is one name."""
        forms: dict[str, dict[str, int]] = {}
        for cell in cells:
            counts = forms.setdefault(name_key(cell), {})
            counts[cell] = counts.get(cell, 0) + 1
        several = {key: counts for key, counts in forms.items() if len(counts) > 1}
        if several:
            shown = "; ".join(f"{', '.join(map(repr, sorted(counts)))} for {key!r}"
                              for key, counts in list(several.items())[:SHOWN])  # fmt: skip
            more = "" if len(several) <= SHOWN else f" and {len(several) - SHOWN} more"
            self.warn(f"column {name!r}: numbers that are written in several ways are one name in "
                      f"{sum(sum(counts.values()) for counts in several.values())} rows: {shown}{more}")  # fmt: skip
        return [key if (key := name_key(cell)) in several else cell for cell in cells]

    def paths(self) -> list[str]:
        """Absolute paths; files that are listed twice or are not there are reported."""
        return self.files("path", "files")

    def files(self, name: str, what: str = "target") -> list[str]:
        """The absolute paths in a column; files that are listed twice or are not there are reported."""
        cells = self.column(name, what)
        if cells is None:
            return []
        root = self.source if self.source.is_dir() else self.source.parent
        # As they are written: a file's name need not be in normal form C.
        written = [str(cell).strip() for cell in self.table[self.find(name)]]
        paths = [_existing(absolute_path(cell, root)) for cell in written]
        seen: dict[str, int] = {}
        for index, (cell, path) in enumerate(zip(cells, paths, strict=True)):
            if not cell:
                continue
            wrong = span_problem(path)
            if wrong is not None:
                self.note(f"{cell!r}: {wrong}", index, name)
            elif path in seen:
                self.note(f"{cell!r} is listed twice, first in row {self.numbers[seen[path]]}", index, name)
            elif not example_exists(path):
                missing = ", ".join(file for file in channel_files(path) if not example_exists(file))
                self.note(f"no such file: {cell!r} (looked for {missing})", index, name)
            seen.setdefault(path, index)
        return paths

    def refuse_files(self, name: str) -> None:
        """Notes a problem where all cells of a target name files: masks would be learnt as labels."""
        root = self.source if self.source.is_dir() else self.source.parent
        cells = {str(cell).strip() for cell in self.table[self.find(name)]}
        if all(cell and Path(_existing(absolute_path(cell, root))).is_file() for cell in cells):
            self.note("names files: if they are masks, add --task mask; if these are labels, --task single-label", None,
                      name)  # fmt: skip

    def stop_if_wrong(self) -> None:
        """Raises ManifestError with everything noted so far, in the order of the rows."""
        if self._problems:
            raise ManifestError(str(self.source), sorted(self._problems, key=lambda p: p.row or 0))


def _existing(path: str) -> str:
    """The path, or every one of several, in the form of Unicode in which it exists."""
    return CHANNEL_MARK.join(map(existing_path, channel_files(path)))
