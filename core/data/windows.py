"""Long recordings in parts: a window is named `recording.wav#t=12,22`, from second 12 to second 22, and is a row of its
own until its recording is judged as one. Seconds that a manifest names in this way are examples, and no windows."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from graftwork.core.data.content import recording_of, split_span
from graftwork.core.data.manifest import Manifest
from graftwork.core.tasks import Task

if TYPE_CHECKING:
    import pandas as pd


def windows_of(path: str, duration_s: float, window_s: float, overlap: float) -> list[str]:
    """The windows of a recording, or of seconds of one, in order; the path itself where it is no longer than one.

    Windows follow each other by window_s * (1 - overlap) seconds; the last one ends where the recording ends.
    """
    if duration_s <= window_s:
        return [path]
    step = window_s * (1.0 - overlap)
    # Names count milliseconds: windows closer than that would be one.
    count = max(0, int(np.ceil((duration_s - window_s - 0.001) / step)))
    starts = [*(step * number for number in range(count)), duration_s - window_s]
    recording, first, _ = split_span(path) or (path, 0.0, 0.0)
    return [f"{recording}#t={first + start:.3f},{first + start + window_s:.3f}" for start in starts]


def in_windows(manifest: Manifest, windows: Sequence[Sequence[str]]) -> Manifest:
    """A row for every window of every row. Windows of a recording are a group where nothing else is known."""
    rows = np.repeat(np.arange(len(manifest)), [len(own) for own in windows])
    found = manifest.subset(rows)
    groups = found.groups if found.groups is not None else found.paths
    paths = tuple(path for own in windows for path in own)
    return replace(found, paths=paths, groups=groups, recordings=found.paths)


def has_windows(manifest: Manifest) -> bool:
    """Whether the rows are windows of what is judged."""
    return manifest.recordings is not None


def join_windows(
    manifest: Manifest, predictions: NDArray[np.float64], folds: NDArray[np.int64] | None = None
) -> tuple[Manifest, NDArray[np.float64], NDArray[np.int64] | None]:
    """One row for every example that was cut, with the mean of its windows' predictions (rows, …)."""
    places: dict[str, list[int]] = {}
    for row, path in enumerate(manifest.recordings or manifest.paths):
        places.setdefault(path, []).append(row)
    first = np.array([rows[0] for rows in places.values()], dtype=np.int64)
    joined = replace(manifest.subset(first), paths=tuple(places), recordings=None)
    means = np.stack([predictions[rows].mean(axis=0) for rows in places.values()])
    return joined, means, None if folds is None else folds[first]


def join_table(
    table: pd.DataFrame, owners: Mapping[str, Sequence[str]], learnt: Mapping[str, tuple[Task, tuple[str, ...]]]
) -> pd.DataFrame:
    """A table of predictions with one row for every example: means of its windows, and the class they speak for.

    owners: the examples that every window was cut from. learnt: task and classes of every run, by what the names of its
    columns begin with.
    """
    rows = table.assign(path=table["path"].map(owners)).explode("path")
    joined = rows.groupby("path", sort=False).mean(numeric_only=True)
    for before, (task, classes) in learnt.items():
        if task.one_class and f"{before}prediction" in table:
            chances = joined[[f"{before}probability_{name}" for name in classes]].to_numpy()
            joined[f"{before}prediction"] = task.prediction_columns(chances, classes)["prediction"]
    return joined.reset_index()[list(table.columns)]


def timeline(tables: Sequence[pd.DataFrame], errors: Mapping[str, str], paths: Sequence[str]) -> pd.DataFrame:
    """The windows of tables of predictions, one of every backbone, with the seconds at which they start and end (none
    for whole clips), in the order of the recordings and of time.

    Windows that several tables have are one row. errors: why a window could not be read; without any there is no such
    column.
    """
    import pandas as pd

    failed = pd.DataFrame({"path": list(errors)}, dtype=object)
    whole = functools.reduce(lambda one, other: one.merge(other, how="outer", on="path"), [*tables, failed])
    if errors:
        whole["error"] = whole["path"].map(errors)
    spans = [split_span(path) or (path, None, None) for path in whole["path"]]
    placed = whole.assign(path=[one[0] for one in spans])
    placed.insert(1, "start_s", [one[1] for one in spans])
    placed.insert(2, "end_s", [one[2] for one in spans])
    order = {path: place for place, path in enumerate(dict.fromkeys(recording_of(path) for path in paths))}
    placed = placed.assign(order=placed["path"].map(order)).sort_values(["order", "start_s", "end_s"], kind="stable")
    return placed.drop(columns="order").reset_index(drop=True)
