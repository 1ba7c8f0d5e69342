"""Long recordings in parts: a window is seconds of a recording, and a row of its own until the recording is evaluated.
Seconds that a manifest names are examples, and no windows."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from graftwork.core.data.manifest import Manifest
from graftwork.core.domain import Domain
from graftwork.core.errors import SettingsError
from graftwork.core.example import Example, Span, recording_of, span_of
from graftwork.core.tasks import Task
from graftwork.core.types import InputContract

if TYPE_CHECKING:
    import pandas as pd


def windows_of(example: Example, duration_s: float, window_s: float, overlap: float) -> list[Example]:
    """The windows of a recording, or of seconds of one, in order; itself where it is no longer than one.

    Windows follow each other by window_s * (1 - overlap) seconds; the last one ends where the recording ends.
    """
    if duration_s <= window_s:
        return [example]
    step = window_s * (1.0 - overlap)
    # Names count milliseconds: windows closer than that would be one.
    count = max(0, int(np.ceil((duration_s - window_s - 0.001) / step)))
    starts = [*(step * number for number in range(count)), duration_s - window_s]
    first = example.start_s if isinstance(example, Span) else 0.0
    return [span_of(example, first + start, first + start + window_s) for start in starts]


def in_windows(manifest: Manifest, windows: Sequence[Sequence[Example]]) -> Manifest:
    """A row for every window of every row. Windows of a recording are a group where nothing else is known."""
    rows = np.repeat(np.arange(len(manifest)), [len(own) for own in windows])
    found = manifest.subset(rows)
    groups = found.groups if found.groups is not None else found.paths
    examples = tuple(window for own in windows for window in own)
    return replace(found, examples=examples, groups=groups, recordings=found.examples)


def cut_windows(domain: Domain, manifest: Manifest, contract: InputContract) -> Manifest:
    """A row for every window, where the contract cuts long recordings. Raises SettingsError for transcripts."""
    if domain.windows is None or has_windows(manifest):
        return manifest
    windows = domain.windows(manifest.examples, contract)
    if all(len(own) == 1 for own in windows):
        return manifest
    if manifest.task.output == "frames":
        raise SettingsError("--window-seconds cuts words in two: transcripts need whole clips")
    return in_windows(manifest, windows)


def has_windows(manifest: Manifest) -> bool:
    """Whether the rows are windows of what is evaluated."""
    return manifest.recordings is not None


def join_windows(
    manifest: Manifest, predictions: NDArray[np.float64], folds: NDArray[np.int64] | None = None
) -> tuple[Manifest, NDArray[np.float64], NDArray[np.int64] | None]:
    """One row for every example that was cut, with the mean of its windows' predictions (rows, …)."""
    places: dict[Example, list[int]] = {}
    for row, example in enumerate(manifest.recordings or manifest.examples):
        places.setdefault(example, []).append(row)
    first = np.array([rows[0] for rows in places.values()], dtype=np.int64)
    joined = replace(manifest.subset(first), examples=tuple(places), recordings=None)
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


def timeline(
    tables: Sequence[pd.DataFrame], errors: Mapping[str, str], windows: Iterable[Example], examples: Sequence[Example]
) -> pd.DataFrame:
    """The windows of tables of predictions, one of every backbone, with the seconds at which they start and end (none
    for whole clips), in the order of the recordings and of time.

    Windows that several tables have are one row. errors: why a window could not be read; without any there is no such
    column. windows: all that the tables and the errors name. examples: those that they were cut from, in order.
    """
    import pandas as pd

    failed = pd.DataFrame({"path": list(errors)}, dtype=object)
    whole = functools.reduce(lambda one, other: one.merge(other, how="outer", on="path"), [*tables, failed])
    if errors:
        whole["error"] = whole["path"].map(errors)
    known = {str(window): window for window in windows}
    spans = [_placed(known[path]) for path in whole["path"]]
    placed = whole.assign(path=[one[0] for one in spans])
    placed.insert(1, "start_s", [one[1] for one in spans])
    placed.insert(2, "end_s", [one[2] for one in spans])
    order = {str(one): place for place, one in enumerate(dict.fromkeys(map(recording_of, examples)))}
    placed = placed.assign(order=placed["path"].map(order)).sort_values(["order", "start_s", "end_s"], kind="stable")
    return placed.drop(columns="order").reset_index(drop=True)


def _placed(window: Example) -> tuple[str, float | None, float | None]:
    """Its recording, and the seconds at which it starts and ends."""
    return (window.file, window.start_s, window.end_s) if isinstance(window, Span) else (str(window), None, None)
