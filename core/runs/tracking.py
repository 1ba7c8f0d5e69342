"""Runs in a tracker of experiments, beside their folder: settings, the history, metrics with their intervals, plots.

Every tracker is used through its own client, which writes on this machine. Names of files stay out of it unless they
are asked for."""

from __future__ import annotations

import csv
import importlib
import logging
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from graftwork.core.compute.runtime import is_first
from graftwork.core.errors import MissingPackageError, SettingsError
from graftwork.core.evaluation.evaluation import EvaluatedPart
from graftwork.core.metrics.intervals import Interval
from graftwork.core.runs.trackers import OPENERS, PACKAGES, Tracker
from graftwork.core.training.history import HistoryRow

log = logging.getLogger(__name__)

LogTo = Literal["tensorboard", "mlflow", "trackio", "wandb"]

PLOTS = ("loss.png", "evaluation.png", "cases.png")
"""Of a training."""
NAMING_FILES = ("cases.png", "report.html")
"""Files of a run that show names of the data, and what they hold."""

NAMING = ("manifest", "command")
"""Fields of a run's record that name files."""
DIGESTS = ("examples", "manifest_digest", "made_with", "verb")
"""Fields that say nothing to who compares runs."""


@dataclass(frozen=True)
class LogOptions:
    """to: the tracker; None for none. names: whether names of files may go there, and with them the report."""

    to: LogTo | None = None
    names: bool = False


@dataclass
class Tracking:
    """A run on its way into a tracker. A tracker that fails is said once and then left alone: no run is lost by it."""

    options: LogOptions
    name: str
    tracker: Tracker | None = None
    known: set[float] = field(default_factory=set)

    def begin(self, out: Path, record: Mapping[str, Any]) -> None:
        """Opens the tracker for the run in `out`, with what was asked for. Nothing where none is asked for."""
        if self.options.to is None or not is_first():
            return
        to, settings = self.options.to, flat_settings(record, names=self.options.names)
        try:
            with redirect_stdout(sys.stderr):
                self.tracker = OPENERS[to](out, self.name, settings)
        except Exception as error:  # noqa: BLE001  # clients raise anything, and none of it is worth a run
            log.warning("--log-to %s: nothing is logged, the run goes on without: %s: %s", to, type(error).__name__,
                        error)  # fmt: skip
            return
        log.info("logging to %s: %s", to, self.tracker.place)
        if not self.options.names:
            log.info("without names of files, and so without %s (--log-names)", " and ".join(NAMING_FILES))

    def epoch(self, row: HistoryRow) -> None:
        """One row of the history."""
        when = next(iter(row))
        step = row[when]
        if step is None or step in self.known:
            return
        self.known.add(step)
        self._values(row, int(step))

    def histories(self, history: Sequence[HistoryRow], out: Path) -> None:
        """What has not been told as it went: epochs of an earlier process, and those of folds."""
        for told in history:
            self.epoch(told)
        for path in sorted(out.glob("folds*/*/history.csv")):
            with path.open(encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file))
            for row in rows:
                step, *others = row
                own = {f"{path.parent.parent.name}/{path.parent.name}/{name}": float(row[name])
                       for name in others if row[name]}  # fmt: skip
                self._values(own, int(float(row[step])))

    def metrics(self, parts: Sequence[EvaluatedPart], cautions: Sequence[str]) -> None:
        """Every metric of every part, with the ends of its interval where it has one."""
        found = [with_ends(f"{part.part}/", part.evaluation.metrics) for part in parts]
        self.values({name: value for one in found for name, value in one.items()}, cautions)

    def values(self, found: Mapping[str, float], cautions: Sequence[str]) -> None:
        """Final values, and the sentences they must not be read without."""
        self._do(lambda tracker: tracker.write_metrics(_numbers(found)))
        if cautions:
            self._do(lambda tracker: tracker.write_text("cautions", "\n".join(cautions)))

    def files(self, out: Path, names: Sequence[str]) -> None:
        """Those of the files that are there and may be shown."""
        for name in names:
            if (out / name).is_file() and (self.options.names or name not in NAMING_FILES):
                self._file(out / name)

    def close(self, *, finished: bool) -> None:
        self._do(lambda tracker: tracker.close(finished))
        self.tracker = None

    def _values(self, values: Mapping[str, float | None], step: int) -> None:
        self._do(lambda tracker: tracker.write_values(_numbers(values), step))

    def _file(self, path: Path) -> None:
        self._do(lambda tracker: tracker.write_file(path))

    def _do(self, what: Callable[[Tracker], None]) -> None:
        if self.tracker is None:
            return
        try:
            with redirect_stdout(sys.stderr):  # stdout is for results
                what(self.tracker)
        except Exception as error:  # noqa: BLE001  # clients raise anything, and none of it is worth a run
            log.warning("--log-to %s: no more is logged, the run goes on without: %s: %s", self.options.to,
                        type(error).__name__, error)  # fmt: skip
            self.tracker = None


def check_tracker(options: LogOptions, out: Path | None) -> None:
    """Raises SettingsError for a tracker that does not exist and for a run without a folder, MissingPackageError where
    the tracker's package is not installed."""
    if options.to is None:
        if options.names:
            raise SettingsError("--log-names says what --log-to may write, which is not given")
        return
    if options.to not in get_args(LogTo):
        raise SettingsError(f"--log-to: expected one of {', '.join(get_args(LogTo))}, found {options.to!r}")
    if out is None:
        raise SettingsError(f"--log-to {options.to}: needs the folder of a run (out), found none")
    try:
        importlib.import_module(PACKAGES[options.to])
    except ImportError as error:
        raise MissingPackageError(f"--log-to {options.to} needs the package {PACKAGES[options.to]} ({error}): "
                                  f"pip install 'graftwork[{options.to}]'") from error  # fmt: skip


@contextmanager
def tracking(options: LogOptions, name: str) -> Iterator[Tracking]:
    """A run of that name, not yet begun; closed when the block ends, as finished where it ends without an error."""
    tracked, finished = Tracking(options, name), False
    try:
        yield tracked
        finished = True
    finally:
        tracked.close(finished=finished)


def flat_settings(record: Mapping[str, Any], *, names: bool, prefix: str = "") -> dict[str, str | int | float | bool]:
    """The fields of a run's record with dots between names of levels. names: also those that name files."""
    found: dict[str, str | int | float | bool] = {}
    for key, value in record.items():
        name = f"{prefix}{key}"
        if key in DIGESTS or (not names and name in NAMING):
            continue
        if isinstance(value, Mapping):
            found |= flat_settings(value, names=names, prefix=f"{name}.")
        elif name == "backbone.weights" and value not in (None, "random") and not names:
            found[name] = "a local file"
        elif value is None:
            found[name] = "none"
        else:
            found[name] = value if isinstance(value, str | int | float) else str(value)
    return found


def with_ends(prefix: str, metrics: Mapping[str, Interval]) -> dict[str, float]:
    """The metrics by name behind a prefix, with the ends of their intervals as `NAME_low` and `NAME_high`."""
    return {f"{prefix}{name}{end}": value for name, interval in metrics.items()
            for end, value in (("", interval.value), ("_low", interval.low), ("_high", interval.high))}  # fmt: skip


def _numbers(values: Mapping[str, float | None]) -> dict[str, float]:
    """Those that are finite numbers: trackers draw nothing else."""
    return {name: float(value) for name, value in values.items() if value is not None and math.isfinite(value)}
