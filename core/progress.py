"""A progress bar on stderr while somebody is looking; silence where nobody is. Messages go through `logging`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

Advance = Callable[[int, str], None]
"""`advance(steps, note)` moves the bar on and shows a note such as the loss beside it."""

PLAIN_SECONDS = 10.0
"""How often a notebook that can draw no bar says in text how far it is."""

_silenced = False


def silence() -> None:
    """No bar is shown from here on, as for `--quiet`."""
    global _silenced
    _silenced = True


@contextmanager
def progress(description: str, total: int) -> Iterator[Advance]:
    """A bar of `total` steps that disappears when the block ends; nothing where stderr is not a terminal. A notebook
    without ipywidgets has a line of text every ten seconds instead. Without a description, or steps, there is none."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if _silenced or not (description and total) or not (console.is_terminal or console.is_jupyter):
        yield lambda steps, note: None
        return
    if console.is_jupyter and find_spec("ipywidgets") is None:
        yield _plain(description, total)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
               TextColumn("{task.fields[note]}"))  # fmt: skip
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(description, total=total, note="")
        yield lambda steps, note: bar.update(task, advance=steps, note=note)


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
