"""Results on stdout, whatever it can show."""

from __future__ import annotations

import codecs
import functools
import io
import logging
import re
import sys
import textwrap
from collections.abc import Sequence

log = logging.getLogger(__name__)

_ESCAPED = "graftwork.escaped"


def accept_all_text() -> None:
    """Characters that stdout's encoding lacks are written as \\uXXXX from now on, which is said once, where printing
    them would end the program: elsewhere than in UTF-8, as on Windows behind a pipe."""
    codecs.register_error(_ESCAPED, _escape)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=_ESCAPED)


def _escape(error: UnicodeError) -> tuple[str | bytes, int]:
    if isinstance(error, UnicodeEncodeError):
        _say_escaped(sys.stdout.encoding)
    return codecs.backslashreplace_errors(error)


@functools.lru_cache(maxsize=8)
def _say_escaped(encoding: str) -> None:
    log.warning("stdout is %s, which lacks some characters: they are written as \\uXXXX; set PYTHONUTF8=1 to have them",
                encoding)  # fmt: skip


def plain_bars(text: str) -> str:
    """The text with bars that stdout can show: of blocks, or of number signs."""
    try:
        "█".encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return text.replace("█", "#")
    return text


INTERVAL = re.compile(r"[-\d.]+ \[[^\]]*\]")
"""A value with its interval, which is read as one word."""

PIPED_WIDTH = 200
"""Piped output has no width of its own: rows stay whole for grep."""


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Plain columns under their names; where no room is for the longest id and interval of every column, each row is
    its first cell, whole, above a paragraph of the others with their names."""
    from rich.console import Console
    from rich.table import Column, Table

    console = Console()
    width = console.width if console.is_terminal else PIPED_WIDTH
    least = [max(_longest_word(text) for text in (name, *(row[place] for row in rows)))
             for place, name in enumerate(columns)]  # fmt: skip
    if sum(least) + 2 * (len(columns) - 1) > width:
        print(stacked(columns, rows, width))
        return
    table = Table(*(Column(name, overflow="fold", min_width=own) for name, own in zip(columns, least, strict=True)),
                  box=None, pad_edge=False)  # fmt: skip
    for row in rows:
        table.add_row(*row)
    Console(width=width).print(table)


def stacked(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> str:
    """Rows one below the other: the first cell, and the others with their names, in lines of at most that width as far
    as their words allow."""
    lines = []
    for first, *others in rows:
        said = "; ".join(f"{name} {text}" for name, text in zip(columns[1:], others, strict=True) if text)
        whole = INTERVAL.sub(lambda found: found.group().replace(" ", _UNBROKEN), said)
        below = textwrap.wrap(whole, width, initial_indent="  ", subsequent_indent="  ", break_long_words=False,
                              break_on_hyphens=False)  # fmt: skip
        lines += [first, *(line.replace(_UNBROKEN, " ") for line in below)]
    return "\n".join(lines)


_UNBROKEN = "\xa0"


def _longest_word(text: str) -> int:
    whole = INTERVAL.sub(lambda found: found.group().replace(" ", _UNBROKEN), text)
    return max(map(len, re.split(r"[ \n]+", whole)))
