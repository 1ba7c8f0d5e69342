"""Tables of text, CSV and TSV: which character separates cells, and whether quotation marks enclose them.

Programs that write tabs mostly do not quote, as Common Voice's tables, so that a sentence may begin with a quotation
mark; those that write commas do (RFC 4180). A table that can be read in both ways is refused: rows would be lost.
"""

from __future__ import annotations

import csv
import io
import logging
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from graftwork.core.csv_cells import unescaped
from graftwork.core.data.table_encoding import read_text
from graftwork.core.errors import ManifestError, Problem
from graftwork.core.example import ending
from graftwork.core.names import composed

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

MOST_BYTES = 1 << 30
"""A larger file is no table of examples."""

PATH_NAMES = ("path", "file_name", "filename", "file", "image", "audio", "wav")
"""Columns that hold paths, whose endings are alike."""

Rows = list[list[str]]


@dataclass(frozen=True)
class _Quoted:
    """A table read with quotation marks around cells. first_lines: number of the line, from 0, at which every row
    begins. broken: the row, from 0, whose quotation marks do not close, None where all do."""

    rows: Rows
    first_lines: list[int]
    broken: int | None


def refuse_irregular(path: Path, most_bytes: int | None = MOST_BYTES) -> None:
    """Raises ManifestError for what is no regular file, as pipes and devices that have no end, or a larger one."""
    state = path.stat()
    if not stat.S_ISREG(state.st_mode):
        raise ManifestError(str(path), [Problem("is no regular file: write the table to a file first")])
    if most_bytes is not None and state.st_size > most_bytes:
        raise ManifestError(str(path), [Problem(f"is no table of examples: it has {state.st_size / 1e9:.1f} GB")])


def read_delimited(path: Path) -> pd.DataFrame:
    """The cells as text, one row an example, blank lines included, under the names of the header.

    Names of columns lose the spaces around them and are in normal form C. An apostrophe that keeps a text from being a
    formula is none of the text. Raises ManifestError.
    """
    import pandas as pd

    refuse_irregular(path)
    text = read_text(path)
    text = text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n")
    if not text.strip():
        raise ManifestError(str(path), [Problem("cannot be read as a table: it is empty")])
    header, *rows = _rows(path, text, _separator(path, text.partition("\n")[0]))
    longer = next((place for place, row in enumerate(rows) if len(row) > len(header)), None)
    if longer is not None:
        raise ManifestError(str(path), [Problem(
            f"cannot be read as a table: rows have more cells than the {len(header)} columns of the header, the first "
            f"in line {longer + 2}"
        )])  # fmt: skip
    names = [composed(name.strip()) for name in header]
    refuse_doubled(path, names)
    table = pd.DataFrame([row + [""] * (len(names) - len(row)) for row in rows], columns=names, dtype=object)
    return unescaped(table)


def refuse_doubled(path: Path, names: list[str]) -> None:
    """Raises ManifestError where two columns have one name: nobody could say which is meant."""
    doubled = [name for name in dict.fromkeys(names) if name and names.count(name) > 1]
    if doubled:
        raise ManifestError(str(path), [Problem("two columns have this name: rename or remove one", 1, name)
                                        for name in doubled])  # fmt: skip


def _separator(path: Path, header: str) -> str:
    if "\t" in header or (path.suffix.lower() in (".tsv", ".tab") and "," not in header):
        return "\t"
    return ";" if ";" in header and "," not in header else ","


def _rows(path: Path, text: str, separator: str) -> Rows:
    lines = text.split("\n")
    plain = [line.split(separator) if line else [] for line in lines]
    if not re.search(f'(?:^|{re.escape(separator)})"', text, re.MULTILINE):
        return plain
    quoted = _read_quoted(text, separator)
    whole_lines = all(len(row) in (0, len(plain[0])) for row in plain)
    swallowed = _swallowed(quoted, plain)
    wrong = quoted.broken if quoted.broken is not None else swallowed
    if wrong is None and not (separator == "\t" and whole_lines and not _encloses(quoted, plain)):
        return quoted.rows
    if whole_lines:
        first = next(place for place, row in enumerate(plain) if any(cell.startswith('"') for cell in row))
        count = sum(cell.startswith('"') for row in plain for cell in row)
        log.warning("%s: quotation marks are taken as part of the text: %d cells begin with one, the first in row %d; "
                    "where they should enclose cells, write the table as CSV", path, count, first + 1)  # fmt: skip
        return plain
    odd = next(place for place, row in enumerate(plain) if len(row) not in (0, len(plain[0])))
    raise ManifestError(str(path), [Problem(
        "a cell begins with a quotation mark, and it cannot be told where it ends: as text, line "
        f"{odd + 1} has {len(plain[odd])} cells and the header {len(plain[0])}; double the mark and enclose the cell, "
        "or remove the mark", (wrong or 0) + 1)])  # fmt: skip


def _read_quoted(text: str, separator: str) -> _Quoted:
    rows: Rows = []
    first_lines: list[int] = []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    line = 0
    try:
        for row in reader:
            rows.append(row)
            first_lines.append(line)
            line = reader.line_num
    except csv.Error:
        return _Quoted(rows, first_lines, len(rows))
    longer = next((place for place, row in enumerate(rows) if len(row) > len(rows[0])), None)
    return _Quoted(rows, first_lines, longer)


def _swallowed(quoted: _Quoted, plain: Rows) -> int | None:
    """The first row that holds lines which are rows themselves: as wide as the header, with a path that ends like the
    others."""
    names = [name.strip().strip('"').lower() for name in plain[0]]
    place = next((names.index(name) for name in PATH_NAMES if name in names), 0)
    ends = [*quoted.first_lines[1:], len(plain) if quoted.broken is None else None]
    spans = list(zip(quoted.rows, quoted.first_lines, ends, strict=False))[1:]
    sure = [row for row, start, end in spans if end == start + 1]
    sure += [row for row in plain[1:] if not any('"' in cell for cell in row)]
    endings = {_ending(row[place]) for row in sure if len(row) == len(names)} - {""}

    def is_row(line: int) -> bool:
        row = plain[line]
        return len(row) == len(names) and (not endings or _ending(row[place]) in endings)

    for number, (_, start, end) in enumerate(spans, start=1):
        if end is None or end - start < 2:
            continue
        if (is_row(start) and is_row(end - 1)) or any(is_row(line) for line in range(start + 1, end - 1)):
            return number
    return None


def _ending(cell: str) -> str:
    return ending(cell.strip().strip('"'))


def _encloses(quoted: _Quoted, plain: Rows) -> bool:
    """Whether the marks of a table that can be read with them and without evidently enclose cells: in the header, in
    whole columns, or doubled inside; never where marks also stand in the middle of cells."""
    if len(quoted.rows) != len(plain) or any('"' in cell and cell[0] != '"' for row in plain for cell in row):
        return False
    marked = [[cell.startswith('"') for cell in row] for row in plain]
    if any(marked[0]) or any('""' in cell[1:-1] for row in plain for cell in row if cell.startswith('"')):
        return True
    columns = [[row[place] for row in marked[1:] if row] for place in range(len(plain[0]))]
    return any(column and all(column) for column in columns)
