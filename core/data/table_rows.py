"""A table of text while it is being checked: its cells, and everything that is wrong with them so far."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from graftwork.core.errors import ManifestError, Problem, UnreadableError
from graftwork.core.example import (
    ON_DISK,
    Example,
    File,
    Kinds,
    Span,
    Text,
    WithMask,
    absolute,
    existing,
    missing,
    parse_example,
    refusal,
    span_problem,
)
from graftwork.core.names import composed, name_key

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

HEADER_ROWS = 2
"""Added to a zero-based row to get the number a spreadsheet shows: one for the header, one to count from 1."""

SHOWN = 5

Seconds: TypeAlias = tuple[str, str]
"""Start and end of what is meant of a recording, as they are written."""

PLACEHOLDER = re.compile(r"(?:\{[A-Za-z_]+\}|\$[A-Za-z_]+|\$\{[A-Za-z_]+\})[/\\]")
"""What some manifests write for the folder of their files, as `{data_root}/a.wav`."""


class TableRows:
    """A table of text and the problems found in it so far.

    source: for people. root: the folder that relative paths are seen from, by default the source's own. places: where
    every row of the whole table stands, by its index, where that is not a row of `source`.
    """

    def __init__(
        self,
        source: Path,
        table: pd.DataFrame,
        root: Path | None = None,
        places: Sequence[tuple[str, int]] | None = None,
    ) -> None:
        self.source = source
        self.table = table
        self.numbers = [int(row) + HEADER_ROWS for row in table.index]
        self._root = root if root is not None else source if source.is_dir() else source.parent
        self._places = places
        self._problems: dict[Problem, None] = {}
        self._said: set[str] = set()

    @property
    def problems(self) -> list[Problem]:
        """Everything noted so far, each once, in order."""
        return list(self._problems)

    def note(self, message: str, index: int | None = None, column: str | None = None) -> None:
        """Adds a problem of the table, or of the row at `index`."""
        row = None if index is None else self.numbers[index]
        if row is not None and self._places is not None:
            file, line = self._places[row - HEADER_ROWS]
            message, row = f"{message} ({file}, row {line})", None
        self._problems.setdefault(Problem(message, row, column))

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

    def column(self, name: str, what: str, empty: str | None = "empty") -> list[str] | None:
        """The cells of a column in Unicode's normal form C, reported where it or a cell of it is missing. empty: what
        is said of a cell that is, None where it may be."""
        found = self.find(name)
        if found is None:
            self.note(f"no column {name!r} for the {what}; there are {', '.join(map(repr, self.table.columns))}")
            return None
        cells = [composed(str(cell).strip()) for cell in self.table[found]]
        for index, cell in enumerate(cells):
            if not cell and empty is not None:
                self.note(empty, index, name)
        return cells

    def optional_cells(self, name: str) -> tuple[str, ...] | None:
        """The cells of a column that may be empty, in Unicode's normal form C; its absence is reported."""
        found = self.find(name)
        if found is None:
            self.note(f"no column {name!r}; there are {', '.join(map(repr, self.table.columns))}")
            return None
        return tuple(self.same_names(name, [composed(str(cell).strip()) for cell in self.table[found]]))

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

    def examples(
        self,
        name: str,
        what: str,
        kinds: Kinds = ON_DISK,
        seconds: Sequence[Seconds | None] | None = None,
        empty: Example | None = None,
    ) -> list[Example]:
        """What the cells of a column name, files absolute. What cannot be read where only these kinds can, is not there
        or, unless it is a text, is listed twice is reported. seconds: that rows mean of the recordings they name.
        empty: what an empty cell stands for, None where that is an error."""
        cells = self.column(name, what, "empty" if empty is None else None)
        if cells is None:
            return []
        # As they are written: a file's name need not be in normal form C.
        written = [str(cell).strip() for cell in self.table[self.find(name)]]
        found: list[Example] = []
        first: dict[Example, int] = {}
        for index, cell in enumerate(written):
            example: Example = File(cell) if cell or empty is None else empty
            if cell:
                try:
                    example = self._parsed(cell, kinds)
                    shown = cells[index]
                    if seconds is not None and (own := seconds[index]) is not None:
                        if not isinstance(example, File):
                            raise UnreadableError(f"{shown!r}: other columns name the seconds that are meant: "
                                                  "expected a whole file")  # fmt: skip
                        example = Span(example.path, *own)
                        shown = f"{shown}#t={','.join(own)}"
                    wrong = self._wrong(shown, example, kinds, first)
                except UnreadableError as error:
                    wrong = str(error)
                if wrong is not None:
                    self.note(wrong, index, name)
                first.setdefault(example, index)
            found.append(example)
        return found

    def refuse_files(self, name: str) -> None:
        """Notes a problem where all cells of a target name files: masks would be learnt as labels."""
        cells = {str(cell).strip() for cell in self.table[self.find(name)]}
        if all(cell and os.path.isfile(self._file(cell)) for cell in cells):
            self.note("names files: if they are masks, add --task mask; if these are labels, --task single-label", None,
                      name)  # fmt: skip

    def _parsed(self, cell: str, kinds: Kinds) -> Example:
        if Text in kinds:
            return parse_example(cell, kinds)
        return existing(absolute(parse_example(self._path(cell), kinds, self._root), self._root))

    def _file(self, cell: str) -> str:
        return str(existing(absolute(File(self._path(cell)), self._root)))

    def _path(self, cell: str) -> str:
        """The path as it is meant here: without a placeholder for the root, and with this system's separators."""
        if ("\\" not in cell and not PLACEHOLDER.match(cell)) or os.path.lexists(os.path.join(self._root, cell)):
            return cell
        path = cell
        if (found := PLACEHOLDER.match(path)) is not None:
            self._say_once(f"{found[0][:-1]!r} in paths stands for {self._root} (--root names another folder)")
            path = path[found.end() :]
        if "\\" in path and os.sep == "/":
            self._say_once("backslashes in paths are taken for separators of folders")
            path = path.replace("\\", "/")
        return path

    def _say_once(self, message: str) -> None:
        if message not in self._said:
            self._said.add(message)
            self.warn(message)

    def _wrong(self, cell: str, example: Example, kinds: Kinds, first: dict[Example, int]) -> str | None:
        """What is wrong with an example; None where nothing is. first: the rows of those that came before."""
        if isinstance(example, WithMask):
            return f"{cell!r}: names an image and its mask: name the mask in a column of its own"
        reason = refusal(example, kinds) or span_problem(example)
        if reason is not None:
            return f"{cell!r}: {reason}"
        if example in first and not isinstance(example, Text):
            return f"{cell!r} is listed twice, first in row {self.numbers[first[example]]}"
        lost = missing(example)
        return f"no such file: {cell!r} (looked for {', '.join(map(str, lost))})" if lost else None

    def stop_if_wrong(self) -> None:
        """Raises ManifestError with everything noted so far, in the order of the rows."""
        if self._problems:
            raise ManifestError(str(self.source), sorted(self._problems, key=lambda p: p.row or 0))
