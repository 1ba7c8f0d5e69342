"""A progress bar on stderr while somebody is looking; silence where nobody is. Messages go through `logging`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int, str], None]
"""`advance(steps, note)` moves the bar on and shows a note such as the loss beside it."""


_silenced = False


def silence() -> None:
    """No bar is shown from here on, as for `--quiet`."""
    global _silenced
    _silenced = True


@contextmanager
def progress(description: str, total: int) -> Iterator[Advance]:
    """A bar of `total` steps that disappears when the block ends; nothing where stderr is not a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if _silenced or not (console.is_terminal or console.is_jupyter):
        yield lambda steps, note: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
               TextColumn("{task.fields[note]}"))  # fmt: skip
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(description, total=total, note="")
        yield lambda steps, note: bar.update(task, advance=steps, note=note)
