"""A progress bar on stderr while somebody is looking; silence where nobody is. Messages go through `logging`."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress

Advance = Callable[[int, str], None]
"""`advance(steps, note)` moves the bar on and shows a note such as the loss beside it."""

PLAIN_SECONDS = 10.0
"""How often a notebook that can draw no bar says in text how far it is."""

_silenced = False
_shown: Progress | None = None


class StderrHandler(logging.StreamHandler[Any]):
    """Writes to what stderr is at that moment: while bars are shown, lines go above them instead of through them."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> Any:
        return sys.stderr


def silence() -> None:
    """No bar is shown from here on, as for `--quiet`."""
    global _silenced
    _silenced = True


@contextmanager
def progress(description: str, total: int) -> Iterator[Advance]:
    """A bar of `total` steps that disappears when the block ends; nothing where stderr is not a terminal. A bar within
    another one's block is a line below it. A notebook without ipywidgets has a line of text every ten seconds instead.
    Without a description, or steps, there is none."""
    global _shown
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if _silenced or not (description and total) or not (console.is_terminal or console.is_jupyter):
        yield lambda steps, note: None
        return
    if console.is_jupyter and find_spec("ipywidgets") is None:
        yield _plain(description, total)
        return
    if _shown is not None:  # a terminal has room for one display alone
        with _line_of(_shown, description, total) as advance:
            yield advance
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
               TextColumn("{task.fields[note]}"))  # fmt: skip
    with Progress(*columns, console=console, transient=True) as _shown:
        try:
            with _line_of(_shown, description, total) as advance:
                yield advance
        finally:
            _shown = None


@contextmanager
def _line_of(bars: Progress, description: str, total: int) -> Iterator[Advance]:
    """A line of what is shown, while the block runs."""
    task = bars.add_task(description, total=total, note="")
    try:
        yield lambda steps, note: bars.update(task, advance=steps, note=note)
    finally:
        bars.remove_task(task)


def _plain(description: str, total: int) -> Advance:
    """Says how far it is in a line of text on stderr, every `PLAIN_SECONDS`."""
    done, said = 0, time.monotonic()

    def advance(steps: int, note: str) -> None:
        nonlocal done, said
        done += steps
        if time.monotonic() - said >= PLAIN_SECONDS:
            said = time.monotonic()
            print(f"{description}: {done} of {total} {note}".rstrip(), file=sys.stderr)

    return advance
