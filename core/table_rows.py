"""A table of text while it is being checked: its cells, and everything that is wrong with them so far."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from graftwork.core.content import absolute_path, channel_files, example_exists
from graftwork.core.errors import ManifestError, Problem

if TYPE_CHECKING:
    import pandas as pd

HEADER_ROWS = 2
"""Added to a zero-based row to get the number a spreadsheet shows: one for the header, one to count from 1."""


class TableRows:
    """A table of text and the problems found in it so far."""

    def __init__(self, source: Path, table: pd.DataFrame) -> None:
        self.source = source
        self.table = table
        self.numbers = [int(row) + HEADER_ROWS for row in table.index]
        self.problems: list[Problem] = []

    def note(self, message: str, index: int | None = None, column: str | None = None) -> None:
        problem = Problem(message, None if index is None else self.numbers[index], column)
        if problem not in self.problems:
            self.problems.append(problem)

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
        return self.files("path", "files")

    def files(self, name: str, what: str = "target") -> list[str]:
        """The absolute paths in a column; files that are listed twice or are not there are reported."""
        cells = self.column(name, what)
        if cells is None:
            return []
        root = self.source if self.source.is_dir() else self.source.parent
        paths = [absolute_path(cell, root) for cell in cells]
        seen: dict[str, int] = {}
        for index, (cell, path) in enumerate(zip(cells, paths, strict=True)):
            if not cell:
                continue
            if path in seen:
                self.note(f"{cell!r} is listed twice, first in row {self.numbers[seen[path]]}", index, name)
            elif not example_exists(path):
                missing = ", ".join(file for file in channel_files(path) if not example_exists(file))
                self.note(f"no such file: {cell!r} (looked for {missing})", index, name)
            seen.setdefault(path, index)
        return paths

    def refuse_files(self, name: str) -> None:
        """Notes a problem where all cells of a target name files: masks would be learnt as labels."""
        root = self.source if self.source.is_dir() else self.source.parent
        cells = {str(cell).strip() for cell in self.table[name]}
        if all(cell and Path(absolute_path(cell, root)).is_file() for cell in cells):
            self.note("names files: if they are masks, add --task mask; if these are labels, --task single-label", None,
                      name)  # fmt: skip

    def stop_if_wrong(self) -> None:
        if self.problems:
            raise ManifestError(str(self.source), sorted(self.problems, key=lambda p: p.row or 0))
