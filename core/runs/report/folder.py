"""What lies in the folder of a run, as far as it has it; nothing is computed here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graftwork.core.errors import ReportError, UnreadableError
from graftwork.core.files import read_json
from graftwork.core.inference.adapter_record import RECORD
from graftwork.core.runs.audit import DATA
from graftwork.core.runs.provenance import COSTS
from graftwork.core.runs.run_folder import RUN
from graftwork.core.tasks import Task, find_task

if TYPE_CHECKING:
    import pandas as pd

COMPARISON, METRICS, PREDICTIONS = "comparison.json", "metrics.json", "predictions.csv"

LAST_PARTS = ("test", "out-of-fold", "val", "train")
"""Of several evaluated parts the first of these is what a run is judged by."""


@dataclass(frozen=True)
class RunFolder:
    """The files of a run, of an evaluation, of a comparison, or of trials. Raises ReportError for one that is there and
    cannot be read."""

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
        return self._json(RECORD) or self.run.get("adapter") or {}

    @cached_property
    def task(self) -> Task | None:
        name = self.adapter.get("task")
        return None if name is None else find_task(name)

    @cached_property
    def parts(self) -> dict[str, dict[str, Any]]:
        """The metrics of every evaluated part, that which the run is judged by first."""
        found = {name: one for name, one in self.metrics.items()
                 if isinstance(one, dict) and "about" in one and name != "random_split"}  # fmt: skip
        place = {name: number for number, name in enumerate(LAST_PARTS)}
        return dict(sorted(found.items(), key=lambda item: place.get(item[0], -1)))

    @cached_property
    def predictions(self) -> pd.DataFrame | None:
        """`predictions.csv`, all columns as text; None where there is none."""
        import pandas as pd

        path = self.path / PREDICTIONS
        if not path.is_file():
            return None
        try:
            return pd.read_csv(path, dtype=str, keep_default_na=False)
        except (OSError, ValueError) as error:
            raise ReportError(f"{path}: cannot be read ({error})") from error

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
