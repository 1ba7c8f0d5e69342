"""Tables on stdout."""

from __future__ import annotations

from collections.abc import Sequence


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Plain columns under their names."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    console = Console()
    # Piped output has no width of its own: rows stay whole for grep.
    Console(width=None if console.is_terminal else 200).print(table)
