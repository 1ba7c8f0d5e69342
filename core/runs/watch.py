"""`predict --watch`: files that appear in a folder are predicted one after another, and appended to a table."""

from __future__ import annotations

import csv
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from graftwork.core.compute.runtime import start_runtime
from graftwork.core.csv_cells import escaped, unescaped
from graftwork.core.errors import OutputError, SettingsError
from graftwork.core.example import File
from graftwork.core.inference.adapter_record import prediction_recipe, read_record
from graftwork.core.inference.hub import adapter_folder
from graftwork.core.inference.table import predict_table
from graftwork.core.inference.together import GraftGroup
from graftwork.core.runs.predict import learnt_masks, open_groups
from graftwork.core.types import OutsideMode

if TYPE_CHECKING:
    from graftwork.core.model.backbone import Backbone

log = logging.getLogger(__name__)

POLL_SECONDS = 2.0


@dataclass
class Watched:
    """What has been done. predicted, unreadable: how many files in all, an earlier start included. sizes: bytes of
    those that are not done yet, as the last poll found them."""

    done: set[str] = field(default_factory=set)
    predicted: int = 0
    unreadable: int = 0
    sizes: dict[str, int] = field(default_factory=dict)


def watch(
    run: str | Path, folder: str | Path, load_backbone: Callable[..., Backbone], out: str | Path, *,
    wait: Callable[[float], bool], weights: str | None = None, outside: OutsideMode = "flag", batch_size: int = 16,
    device: str = "auto", poll_seconds: float = POLL_SECONDS,
) -> Watched:  # fmt: skip
    """Predicts the files that are in the folder, and those that appear in it, until `wait` says to end.

    A file is taken when its size has been the same for two polls in a row, and is above zero; of files that the domain
    reads, in folders below as well. Its row is appended to the CSV file `out`, in which files of an earlier start are
    not predicted again. Files that cannot be read have an `error`, and are not tried again: take their rows out of the
    table for that. wait: seconds to wait -> whether to end.

    Raises SettingsError for a run of masks, and for a folder that is none; OutputError for a table of other columns;
    and what `predict` raises.
    """
    place, table = Path(folder), Path(out)
    if not place.is_dir():
        raise SettingsError(f"--watch: expected a folder, found {'a file' if place.exists() else 'nothing'}: {place}")
    if learnt_masks(run):
        raise SettingsError("--watch: masks are written into files, which it cannot do; predict them by name")
    recipe = prediction_recipe([read_record(adapter_folder(run))], device, batch_size)
    group = open_groups([run], load_backbone, weights, start_runtime(recipe))[0]
    columns = _columns(group)
    watched = _begun(table, columns)
    suffixes = group.backbone.domain.suffixes
    log.info("watching %s for %s every %g s; Ctrl-C ends", place, ", ".join(suffixes), poll_seconds)
    while True:
        ready = _ready(place, suffixes, watched)
        for start in range(0, len(ready), batch_size):
            part = ready[start : start + batch_size]
            examples = [File(name) for name in part]
            found = predict_table([group], examples, recipe, named=False, skip_unreadable=True, outside=outside).table
            errors = int(found["error"].notna().sum()) if "error" in found else 0
            rows = escaped(found.assign(path=part).reindex(columns=columns))
            # One write of whole lines: what a power cut leaves of it is looked at by the next start.
            with table.open("a", encoding="utf-8", newline="") as file:
                file.write(rows.to_csv(index=False, header=False, float_format="%.9g"))
                file.flush()
                os.fsync(file.fileno())
            watched.done.update(part)
            watched.predicted += len(part) - errors
            watched.unreadable += errors
            log.info("%d files predicted, %d could not be read", watched.predicted, watched.unreadable)
            if wait(0.0):
                return watched
        if wait(poll_seconds):
            return watched


def _columns(group: GraftGroup) -> list[str]:
    """The columns of the table, whatever is found."""
    graft, decisions = group.grafts[0], group.decisions[0]
    chances = np.full((1, max(1, len(graft.classes))), 1 / max(1, len(graft.classes)))
    blank = chances if graft.task.output == "vector" and graft.classes else np.zeros(1)
    if graft.task.output == "frames":
        blank = np.zeros((1, 1))
    columns = graft.task.prediction_columns(blank, graft.classes)
    if graft.task.one_class:
        columns |= decisions.columns(chances, graft.classes, None)
    return ["path", *columns, "error", "outside"]


def _begun(table: Path, columns: list[str]) -> Watched:
    """What an earlier start has written; the table with its header where there is none. Raises OutputError."""
    import pandas as pd

    if table.is_dir():
        raise OutputError(f"{table}: --out must be a file for predict, this is a folder")
    if not table.exists():
        with table.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(columns)
        return Watched()
    content = table.read_bytes()
    if not content.endswith(b"\n"):
        raise OutputError(f"{table}: its last line is cut off, as by a power cut: remove it, and its file is predicted "
                          "again")  # fmt: skip
    try:
        known = unescaped(pd.read_csv(table, dtype=str))
    except ValueError as error:
        raise OutputError(f"{table}: cannot be read ({error}); name another --out") from error
    if list(known) != columns:
        raise OutputError(f"{table}: expected the columns {', '.join(columns)}, found {', '.join(map(str, known))}; "
                          "name another --out")  # fmt: skip
    errors = int(known["error"].notna().sum())
    return Watched(set(known["path"]), len(known) - errors, errors)


def _ready(folder: Path, suffixes: tuple[str, ...], watched: Watched) -> list[str]:
    """The files whose size is what the poll before found, in order of their names."""
    sizes: dict[str, int] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.absolute())
        if name in watched.done or path.name.startswith(".") or not path.name.lower().endswith(suffixes):
            continue
        try:
            if path.is_file():
                sizes[name] = path.stat().st_size
        except FileNotFoundError:
            continue  # moved away since it was listed
    ready = [name for name, size in sizes.items() if size and watched.sizes.get(name) == size]
    watched.sizes = sizes
    return ready
