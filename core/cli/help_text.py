"""`--help` on narrow terminals: a word that is wider than its column goes on below, and none is cut."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand

if TYPE_CHECKING:
    import click


class FoldedHelp(TyperCommand):
    """A verb, whose help is folded where Typer cuts it; Typer has no setting for that."""

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # type: ignore[override]
        """Writes the help."""
        with _folding_tables():
            super().format_help(ctx, formatter)  # type: ignore[arg-type]


@contextmanager
def _folding_tables() -> Iterator[None]:
    from rich.console import Group
    from rich.table import Table
    from typer import rich_utils

    class FoldingTable(Table):
        def add_row(self, *cells: Any, **options: Any) -> None:
            super().add_row(*cells, **options)
            for column in self.columns:
                column.overflow = "fold"

    before: dict[str, Any] = {name: vars(rich_utils)[name] for name in ("Table", "Columns")}
    folding = {"Table": FoldingTable, "Columns": lambda parts: Group(*parts)}
    try:
        vars(rich_utils).update(folding)
        yield
    finally:
        vars(rich_utils).update(before)
