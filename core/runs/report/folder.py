"""What lies in the folder of a run, as far as it has it; nothing is computed here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftwork.core.csv_cells import unescaped
from graftwork.core.errors import ReportError, UnreadableError
from graftwork.core.files import read_json
from graftwork.core.inference.adapter_record import RECORD, read_record
from graftwork.core.runs.audit import DATA
from graftwork.core.runs.provenance import COSTS
from graftwork.core.runs.run_folder import RUN
from graftwork.core.tasks import Task, find_task

COMPARISON, METRICS, PREDICTIONS = "comparison.json", "metrics.json", "predictions.csv"

GENERIC = {
    "decision": "Operating point",
    "subgroups": "Subgroups",
    "corruptions": "Robustness to corruptions",
    "recalibration": "Recalibration",
    "abstention": "Abstention",
    "repeats": "Repeated folds",
    "open_set": "Open-set identification",
}
"""Keys of `metrics.json` that have a section of their own, in this order, and what it is called."""

LAST_PARTS = ("test", "out-of-fold", "val", "train")
"""Of several evaluated parts the first of these is what a run is judged by."""


@dataclass(frozen=True, eq=False)
class Predicted:
    """Rows of `predictions.csv`: all columns as text, and the targets and predictions in them."""

    columns: dict[str, list[str]]
    values: NDArray[np.generic]
    predictions: NDArray[np.float64]


@dataclass(frozen=True)
class RunFolder:
    """The files of a run, of an evaluation, of a comparison, or of trials. Raises ReportError or
    AdapterError for one that is there and cannot be read."""

    path: Path

    @cached_property
    def run(self) -> dict[str, Any]:
        return self._json(RUN)

    @cached_property
    def metrics(self) -> dict[str, Any]:
        return self._json(METRICS)

    @cached_property
    def data(self) -> dict[str, Any]:
        return self._json(DATA)

    @cached_property
    def costs(self) -> dict[str, Any]:
        return self._json(COSTS)

    @cached_property
    def comparison(self) -> dict[str, Any]:
        return self._json(COMPARISON)

    @cached_property
    def adapter(self) -> dict[str, Any]:
        """The record of the adapter that was trained, or that was evaluated."""
        return read_record(self.path) if (self.path / RECORD).is_file() else self.run.get("adapter") or {}

    @cached_property
    def task(self) -> Task | None:
        name = self.adapter.get("task")
        return None if name is None else find_task(name)

    @cached_property
    def parts(self) -> dict[str, dict[str, Any]]:
        """The metrics of every evaluated part, that which the run is judged by first."""
        found = {name: one for name, one in self.metrics.items()
                 if isinstance(one, dict) and "about" in one and name not in ("random_split", *GENERIC)}  # fmt: skip
        place = {name: number for number, name in enumerate(LAST_PARTS)}
        return dict(sorted(found.items(), key=lambda item: place.get(item[0], -1)))

    @cached_property
    def predicted(self) -> Predicted | None:
        """The rows of the first of `parts`, as `predictions.csv` has them; None where there are none."""
        import pandas as pd

        path, task = self.path / PREDICTIONS, self.task
        if task is None or not self.parts or not path.is_file():
            return None
        try:
            table = unescaped(pd.read_csv(path, dtype=str, keep_default_na=False))
            table = table[table["part"] == next(iter(self.parts))]
            if "repeat" in table:  # folds that were drawn several times: the plots are of the first
                table = table[table["repeat"] == "1"]
            columns: dict[str, list[str]] = {str(name): table[name].tolist() for name in table}
            values, predictions = task.read_columns(columns, self.adapter["classes"])
        except (OSError, ValueError, KeyError) as error:
            raise ReportError(f"{path}: cannot be read ({type(error).__name__}: {error})") from error
        return Predicted(columns, values, predictions) if len(table) else None

    def picture(self, name: str) -> bytes | None:
        """A plot that lies in the folder."""
        path = self.path / name
        return path.read_bytes() if path.is_file() else None

    def _json(self, name: str) -> dict[str, Any]:
        """The object in a file, {} where there is none."""
        if not (self.path / name).is_file():
            return {}
        try:
            return read_json(self.path / name)
        except UnreadableError as error:
            raise ReportError(str(error)) from error
