"""Tables written as JSON, every cell a text: an object a line, a list of objects, or objects by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graftwork.core.data.delimited import refuse_irregular
from graftwork.core.data.table_encoding import read_text
from graftwork.core.errors import ManifestError, Problem
from graftwork.core.names import composed

if TYPE_CHECKING:
    import pandas as pd

JSON_LINES = (".jsonl", ".ndjson")
JSON_ENDINGS = (*JSON_LINES, ".json")

NAME_COLUMN = "id"
"""Where the names of objects by name go, unless these have such a cell themselves."""

BEFORE_FIRST_LINE = 2
"""Rows of other tables are counted from 2, behind a header; the first line of JSON is 1."""


def read_json_table(path: Path) -> pd.DataFrame:
    """The objects as rows under the names of all their cells, "" where one has none; numbers as they are written.

    An object inside a cell stays JSON, but one that names a `file`, as `{"file": "a.wav", "start": 0}`, which stands
    for its file, and for cells `start` and `stop`. Raises ManifestError.
    """
    import pandas as pd

    refuse_irregular(path)
    text = read_text(path)
    rows = _by_line(path, text) if path.suffix.lower() in JSON_LINES else _whole(path, text)
    if not rows:
        raise ManifestError(str(path), [Problem("cannot be read as a table: it is empty")])
    names = list(dict.fromkeys(name for _, row in rows for name in row))
    cells = [[row.get(name, "") for name in names] for _, row in rows]
    return pd.DataFrame(cells, columns=names, index=[line - BEFORE_FIRST_LINE for line, _ in rows], dtype=object)


def _by_line(path: Path, text: str) -> list[tuple[int, dict[str, str]]]:
    rows, problems = [], []
    for line, written in enumerate(text.split("\n"), start=1):
        if not written.strip():
            continue
        try:
            rows.append((line, _cells(_parsed(written))))
        except ValueError as error:
            problems.append(Problem(f"expected one JSON object: {error}", line))
    if problems:
        raise ManifestError(str(path), problems)
    return rows


def _whole(path: Path, text: str) -> list[tuple[int, dict[str, str]]]:
    """A `.json` that is one list or object, else an object a line, as NeMo writes its manifests."""
    try:
        found = _parsed(text)
    except json.JSONDecodeError:
        return _by_line(path, text)
    except ValueError as error:
        raise ManifestError(str(path), [Problem(f"cannot be read as a table: {error}")]) from error
    if isinstance(found, dict) and found and all(isinstance(row, dict) for row in found.values()):
        found = [{NAME_COLUMN: name} | row for name, row in found.items()]
    elif isinstance(found, dict):
        found = [found]
    rows, problems = [], []
    for number, row in enumerate(found if isinstance(found, list) else [found], start=1):
        try:
            rows.append((number, _cells(row)))
        except ValueError as error:
            problems.append(Problem(str(error), number))
    if problems:
        raise ManifestError(str(path), problems)
    return rows


def _parsed(text: str) -> Any:
    as_written: Callable[[str], str] = str
    return json.loads(text, parse_int=as_written, parse_float=as_written, parse_constant=as_written,
                      object_pairs_hook=_without_doubles)  # fmt: skip


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = {composed(name.strip()): value for name, value in pairs}
    if len(found) < len(pairs):
        raise ValueError("two cells of an object have one name")
    return found


def _cells(row: Any) -> dict[str, str]:
    if not isinstance(row, dict):
        raise ValueError(f"expected an object of cells, found {json.dumps(row)[:80]}")
    cells: dict[str, str] = {}
    for name, value in row.items():
        if isinstance(value, dict) and isinstance(value.get("file"), str):
            cells[name] = value["file"]
            cells |= {part: _cell(value[part]) for part in ("start", "stop") if part in value}
        else:
            cells[name] = _cell(value)
    return cells


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)
