"""Results on stdout, whatever it can show."""

from __future__ import annotations

import codecs
import functools
import io
import logging
import sys
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


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Plain columns under their names. A word that is wider than its column goes on below, lest an id be cut."""
    from rich.console import Console
    from rich.table import Column, Table

    table = Table(*(Column(name, overflow="fold") for name in columns), box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    console = Console()
    # Piped output has no width of its own: rows stay whole for grep.
    Console(width=None if console.is_terminal else 200).print(table)
