"""Which column of a table names its examples, and which name the seconds of a recording that are meant."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation

from graftwork.core.data.table_rows import Seconds, TableRows
from graftwork.core.example import Kinds, Span

PATH = "path"
PATH_COLUMNS = ("file_name", "filename", "file")
"""Columns that are taken for the paths where there is no `path`, the first that is there."""

FROM_AND_TO = ("start", "end")
FROM_AND_LENGTH = ("offset", "duration")
SAMPLES = ("start", "stop")
"""SpeechBrain counts samples in them."""


def path_column(
    rows: TableRows, expected: str, others: Sequence[str], asked: str | None, targets: Sequence[str]
) -> str:
    """The column of the examples: the one that was asked for, else the expected one, else, said, the first of others.

    targets: columns that are learnt, and are not taken for paths.
    """
    if asked is not None or rows.find(expected) is not None or expected != PATH:
        return asked or expected
    found = rows.first_of([name for name in others if name not in targets])
    if found is None:
        return expected
    rows.warn(f"column {found!r} is taken for the paths; --path-column names another")
    return found


def named_seconds(rows: TableRows, kinds: Kinds, column: str) -> list[Seconds | None] | None:
    """The seconds that every row means of its recording, None for all of it, out of `start` and `end`, or of `offset`
    and `duration`; None where recordings are not read in seconds, or no columns say any."""
    if Span not in kinds:
        return None
    if column == "wav" and _has_cells(rows, SAMPLES):
        rows.note("counts samples in SpeechBrain's manifests: write seconds into the columns start and end", None,
                  "stop")  # fmt: skip
        return None
    names = next((pair for pair in (FROM_AND_TO, FROM_AND_LENGTH) if _has_cells(rows, pair)), None)
    if names is None:
        return None
    first, last = ([str(cell).strip() for cell in rows.table[rows.find(name)]] for name in names)
    if not any(_number(cell) is not None for cell in first):
        rows.warn(f"columns {names[0]!r} and {names[1]!r} hold no seconds and are not used")
        return None
    found: list[Seconds | None] = []
    for index, (begin, other) in enumerate(zip(first, last, strict=True)):
        start, end = _number(begin), _number(other)
        if not begin and (not other or names == FROM_AND_LENGTH):
            found.append(None)
            continue
        if start is None or end is None:
            wrong = names[0] if start is None else names[1]
            rows.note(f"expected seconds, found {begin if start is None else other!r}", index, wrong)
            found.append(None)
            continue
        end = start + end if names == FROM_AND_LENGTH else end
        found.append((_written(start), _written(end)))
    rows.warn(f"columns {names[0]!r} and {names[1]!r} are taken for seconds of the recordings")
    return found


def _has_cells(rows: TableRows, names: Sequence[str]) -> bool:
    columns = [rows.find(name) for name in names]
    return all(column is not None and any(str(cell).strip() for cell in rows.table[column]) for column in columns)


def _number(cell: str) -> Decimal | None:
    try:
        number = Decimal(cell.replace(",", "."))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _written(seconds: Decimal) -> str:
    return format(seconds, "f")
