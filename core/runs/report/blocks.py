"""What a report is made of: sections of blocks, as plain values. How they look is the template's matter."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

SHOWN_DIGITS = 3


@dataclass(frozen=True)
class Text:
    """A paragraph; `code` is a command or a digest."""

    text: str
    style: str = "plain"
    kind: ClassVar[str] = "text"


@dataclass(frozen=True)
class Table:
    """Columns and rows of text; the first column names the row. Numbers are aligned to the right by the template where
    `numeric` says so, by column."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    numeric: tuple[int, ...] = ()
    folded: bool = False
    kind: ClassVar[str] = "table"


@dataclass(frozen=True)
class Picture:
    """An image inside the file. says: the same in words. wide: whether it takes the whole width."""

    uri: str
    says: str
    caption: str = ""
    wide: bool = False


@dataclass(frozen=True)
class Pictures:
    """Several images in a grid: plots, or small ones of examples."""

    pictures: tuple[Picture, ...]
    size: str = "plots"
    kind: ClassVar[str] = "pictures"


@dataclass(frozen=True)
class Card:
    """One example: its name, lines that say more, and small images; what cannot be shown says why in `missing`."""

    title: str
    lines: tuple[str, ...]
    pictures: tuple[Picture, ...] = ()
    missing: str = ""


@dataclass(frozen=True)
class Cards:
    """Several examples. shows_maps: whether beside some stands what a model looks at."""

    cards: tuple[Card, ...]
    shows_maps: bool = False
    kind: ClassVar[str] = "cards"


Block: TypeAlias = Text | Table | Pictures | Cards


@dataclass(frozen=True)
class Section:
    """id: of the anchor, and by which checklists name it."""

    id: str
    title: str
    blocks: tuple[Block, ...]


def data_uri(content: bytes) -> str:
    """PNG or SVG as a URI that needs no other file."""
    kind = "image/png" if content.startswith(b"\x89PNG") else "image/svg+xml"
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def facts(pairs: Mapping[str, Any], caption: str = "") -> Table:
    """A row a fact; None is left out."""
    rows = tuple((name, said(value)) for name, value in pairs.items() if value is not None)
    return Table(("", ""), rows, caption)


def said(value: Any) -> str:
    """A plain value for people: numbers with a few digits, lists with commas, objects as `name: value`."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping):
        if is_interval(value):
            return interval(value)
        return ", ".join(f"{name}: {said(one)}" for name, one in value.items())
    if isinstance(value, Iterable) and not isinstance(value, str):
        return ", ".join(said(one) for one in value)
    return str(value)


def number(value: float) -> str:
    """Three digits behind the point for what is near one, three that count for others."""
    if not math.isfinite(value):
        return "–"
    return f"{value:.{SHOWN_DIGITS}f}" if 0.001 <= abs(value) < 100 or abs(value) < 1e-9 else f"{value:.4g}"


def is_interval(value: Any) -> bool:
    """Whether a value of a JSON file is a metric with its interval."""
    return isinstance(value, Mapping) and {"value", "low", "high"} <= value.keys()


def interval(value: Mapping[str, Any]) -> str:
    """A metric with the ends of its interval."""
    if value["value"] is None:
        return "undefined"
    ends = "" if value["low"] is None else f" [{number(value['low'])}, {number(value['high'])}]"
    return f"{number(value['value'])}{ends}"


def tables_of(value: Any, name: str = "") -> list[Block]:
    """Any JSON value as tables: lists of objects and objects of objects a row each, plain values a row each."""
    if isinstance(value, Mapping) and not is_interval(value):
        plain = {key: one for key, one in value.items() if _is_plain(one)}
        found: list[Block] = [facts({words(key): one for key, one in plain.items()}, name)] if plain else []
        alike = {key: one for key, one in value.items() if key not in plain and isinstance(one, Mapping)
                 and all(_is_plain(cell) for cell in one.values())}  # fmt: skip
        if len(alike) > 1 and len({frozenset(one) for one in alike.values()}) == 1:
            found.append(_rows([{"": words(key)} | dict(one) for key, one in alike.items()], name))
        else:
            alike = {}
        for key, one in value.items():
            if key not in plain and key not in alike:
                found += tables_of(one, f"{name}: {words(key)}" if name else words(key))
        return found
    if isinstance(value, Sequence) and not isinstance(value, str) and value and all(
        isinstance(one, Mapping) for one in value
    ):  # fmt: skip
        return [_rows(value, name)]
    if isinstance(value, Mapping) or _is_plain(value):
        return [facts({name: value})]
    return [Text(f"{name}: {said(value)}")]


def words(name: str) -> str:
    """A key of a JSON file as people write it."""
    return name.replace("_", " ")


def _rows(rows: Sequence[Mapping[str, Any]], caption: str) -> Table:
    columns = list(dict.fromkeys(name for row in rows for name in row if name != "method"))
    numeric = tuple(place for place, name in enumerate(columns) if all(_is_number(row.get(name)) for row in rows))
    cells = tuple(tuple(said(row[name]) if row.get(name) is not None else "–" for name in columns) for row in rows)
    return Table(tuple(map(words, columns)), cells, caption, numeric, folded=len(rows) > MOST_ROWS)


MOST_ROWS = 25
"""A longer table is folded."""


def _is_number(value: Any) -> bool:
    return value is None or isinstance(value, (int, float)) or is_interval(value)


def _is_plain(value: Any) -> bool:
    """Whether a value goes into one cell: no object, and no list of these or of many."""
    if is_interval(value):
        return True
    if isinstance(value, Mapping):
        return False
    if isinstance(value, Sequence) and not isinstance(value, str):
        return len(value) <= 12 and not any(isinstance(one, (Mapping, list)) for one in value)
    return True
