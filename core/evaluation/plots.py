"""Several strategies in one plot, as a PNG file; what one evaluation looks like is its task's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from graftwork.core.files import atomic_write
from graftwork.core.tasks.plots import new_figure, plot_style

if TYPE_CHECKING:
    from graftwork.core.evaluation.comparison import Comparison


def draw_comparison(path: Path, comparison: Comparison) -> None:
    """One line a strategy: its metric with the interval, and beside its name the seconds it took."""
    with plot_style():
        figure = new_figure(7, 1.4 + 0.45 * len(comparison.results))
        axes = figure.subplots()
        names = []
        for place, result in enumerate(comparison.results):
            found, seconds = result.metrics[comparison.metric], result.seconds
            chosen = result.strategy in (comparison.best, comparison.cheapest)
            colour = "C0" if chosen else "grey"
            axes.plot([found.low, found.high], [place, place], color=colour)
            axes.plot([found.value], [place], "o", color=colour)
            names.append(result.strategy + ("" if seconds is None else f"\n{seconds:.3g} s"))
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        title = f"best: {comparison.best or 'undefined'}; cheapest as good: {comparison.cheapest or 'unknown'}"
        axes.set(xlabel=f"{comparison.metric} ({comparison.part}), 95% interval", title=title)
        axes.grid(axis="x")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110, metadata={"Software": None})
