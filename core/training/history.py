"""The history of a training run, epoch by epoch: as rows, as a CSV and as a plot."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from graftwork.core.files import atomic_write

HistoryRow = dict[str, float | None]
"""`epoch` (or `update`), `learning_rate`, `train_loss`, and with a validation part `val_loss` and the metric that is
watched."""


def not_finished(improving: int, runs: int) -> tuple[str, ...]:
    """A caution where the last epoch was the best in some of so many runs, those of folds or one; else none."""
    if not improving:
        return ()
    where = "" if runs == 1 else f" in {improving} of {runs} folds"
    return (f"the last epoch was the best{where}: more of them (--epochs, --updates) may give a better model",)


def write_history(folder: Path, rows: Sequence[HistoryRow]) -> None:
    """Writes `history.csv` and `loss.png` where there are rows; a probe that is solved has none."""
    if not rows:
        return
    with atomic_write(folder / "history.csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    _draw(folder / "loss.png", rows)


def _draw(path: Path, rows: Sequence[HistoryRow]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    when = next(iter(rows[0]))
    steps = _numbers(rows, when)
    for name in ("train_loss", "val_loss"):
        if name in rows[0]:
            axes.plot(steps, _numbers(rows, name), label=name.replace("_", " "))
    axes.set(xlabel=when, ylabel="loss")
    watched = [name for name in rows[0] if name not in (when, "learning_rate", "train_loss", "val_loss")]
    for name in watched:
        right = axes.twinx()
        right.plot(steps, _numbers(rows, name), color="tab:green", linestyle="--", label=name)
        right.set_ylabel(name.replace("_", " "))
    figure.legend(loc="outside upper center", ncols=3)
    with atomic_write(path) as temporary:
        # Without metadata the same curve is the same bytes.
        figure.savefig(temporary, format="png", dpi=120, metadata={"Software": None})


def _numbers(rows: Sequence[HistoryRow], name: str) -> list[float]:
    """A column; NaN, which is not drawn, where an epoch has no value."""
    return [float("nan") if (value := row[name]) is None else value for row in rows]
