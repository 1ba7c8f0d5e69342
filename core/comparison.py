"""Several strategies on the same rows: what each is worth and costs, and which is as good as the best for less."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from graftwork.core.adapter import read_record
from graftwork.core.bootstrap import LEVEL, Interval
from graftwork.core.errors import OutputError, SettingsError, TrainingError
from graftwork.core.evaluation import compare_predictions, evaluate_predictions
from graftwork.core.files import write_json
from graftwork.core.manifest import Task
from graftwork.core.recipe import PLACE
from graftwork.core.run_folder import FINISHED, RUN, UNFINISHED, Judged
from graftwork.core.runtime import is_first, recent_peak_memory_mb, reset_peak_memory
from graftwork.core.strategies import parse_strategy
from graftwork.core.study import Study, run_study

log = logging.getLogger(__name__)

COMPARISON, PICTURE, PARTS = "comparison.json", "comparison.png", "parts"


@dataclass(frozen=True)
class Result:
    """One strategy that ran.

    seconds: wall time of its run, None where the run was interrupted and resumed. peak_memory_mb: of this process
    during that run, or, if `memory_alone` is False, since the process began. parameters: how many learnt, of how many
    ("trained", "all"). metrics: on the rows that all strategies were judged on. differences: by how much every metric
    exceeds the best strategy's, from a paired bootstrap; empty where no strategy is the best.
    """

    strategy: str
    seconds: float | None
    peak_memory_mb: float
    memory_alone: bool
    parameters: dict[str, int]
    metrics: dict[str, Interval]
    differences: dict[str, Interval]


@dataclass(frozen=True)
class Comparison:
    """Results in the order asked for. metric: what decides. part: the judged part. rows, groups: of that part.

    best: highest value of the metric, None where it is undefined for all. cheapest: fewest seconds among those whose
    difference to the best has an interval around zero. refused: strategies that could not run, with the reason.
    """

    metric: str
    part: str
    rows: int
    groups: int | None
    best: str | None
    cheapest: str | None
    results: tuple[Result, ...]
    refused: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """Plain values; an undefined number is None."""
        return {
            "metric": self.metric,
            "part": self.part,
            "rows": self.rows,
            "groups": self.groups,
            "interval": f"{LEVEL:.0%} percentile bootstrap over {'rows' if self.groups is None else 'groups'}",
            "best": self.best,
            "cheapest": self.cheapest,
            "refused": self.refused,
            "strategies": [
                vars(one) | {"metrics": _plain(one.metrics), "differences": _plain(one.differences)}
                for one in self.results
            ],
        }

    def table(self) -> tuple[list[str], list[tuple[str, ...]]]:
        """Column names and rows for people; strategies that could not run come last, with their reason."""
        others = [name for name in ("accuracy", "mae") if self.results and name in self.results[0].metrics]
        shown = list(dict.fromkeys([self.metric, *others]))
        rows = []
        for one in self.results:
            difference = one.differences.get(self.metric)
            rows.append((
                one.strategy,
                *(str(one.metrics[name]) for name in shown),
                "" if difference is None else "best" if one.strategy == self.best else str(difference),
                "resumed" if one.seconds is None else f"{one.seconds:.1f}",
                f"{one.peak_memory_mb:.0f}",
                f"{one.parameters['trained']:,}",
            ))  # fmt: skip
        blank = [""] * (len(shown) - 1)
        rows += [(name, f"cannot: {reason}", *blank, "", "", "", "") for name, reason in self.refused.items()]
        return ["strategy", *shown, "difference to the best", "seconds", "peak MB", "trained"], rows

    def sentence(self) -> str:
        """Which is best, and which is cheapest among those that cannot be told apart from it."""
        if self.best is None:
            return f"{self.metric} is undefined on the {self.part} rows: no strategy is the best."
        by_name = {one.strategy: one for one in self.results}
        said = f"Best by {self.metric}: {self.best}, {by_name[self.best].metrics[self.metric]}."
        if self.cheapest is None:
            return f"{said} Which is cheapest is not known: the runs were interrupted."
        if self.cheapest == self.best:
            return f"{said} It is also the cheapest of those that cannot be told apart from it."
        cheap = by_name[self.cheapest]
        return (f"{said} Cheapest that cannot be told apart from the best: {self.cheapest}, {cheap.seconds:.1f} s, "
                f"difference {cheap.differences[self.metric]}.")  # fmt: skip


@dataclass(frozen=True)
class _Part:
    """What is kept of one finished strategy, so that a resumed comparison need not run it again."""

    settings: dict[str, Any]
    strategy: str
    seconds: float | None
    peak_memory_mb: float
    memory_alone: bool
    judged: dict[str, Any]


def compare_strategies(study: Study, strategies: Sequence[str]) -> Comparison | None:
    """Runs every strategy as `train` would, into a folder of its own under the study's `out`, and compares them.

    A strategy that the backbone cannot carry, or whose training breaks off, is left out with its reason. None in all
    processes but the first, which writes `comparison.json` and `comparison.png`.

    Raises SettingsError for an unknown strategy, for one that is named twice, and where none can run; OutputError for
    a folder that holds something else.
    """
    names = [str(parse_strategy(text)) for text in strategies]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SettingsError(f"--strategies: {', '.join(twice)} is there more than once")
    _claim(study.out, study.resume)
    settings = _settings(study)
    known = {name: _known(study.out, name, settings) for name in names} if study.resume else {}
    refused: dict[str, SettingsError | TrainingError] = {}
    for number, name in enumerate(names, start=1):
        if known.get(name) is not None:
            log.info("strategy %d of %d: %s has finished before", number, len(names), name)
            continue
        log.info("strategy %d of %d: %s", number, len(names), name)
        try:
            _run(study, name, settings)
        except (SettingsError, TrainingError) as error:
            log.warning("%s: left out: %s", name, error)
            refused[name] = error
    if len(refused) == len(names):
        raise refused[names[0]]
    if not is_first():
        return None
    parts = [_read_part(study.out, name) for name in names if name not in refused]
    _check_same_start(study.out, parts)
    comparison = _compare(study.out, parts, {name: str(error) for name, error in refused.items()})
    write_json(study.out / COMPARISON, comparison.to_json())
    from graftwork.core.pictures import draw_comparison

    draw_comparison(study.out / PICTURE, comparison)
    return comparison


def find_best(values: Mapping[str, float]) -> str | None:
    """The name with the highest value, the first of equals; None where all are undefined."""
    defined = {name: value for name, value in values.items() if not math.isnan(value)}
    return max(defined, key=lambda name: defined[name]) if defined else None


def find_cheapest(differences: Mapping[str, Interval], seconds: Mapping[str, float | None]) -> str | None:
    """The name with the fewest seconds among those whose difference to the best has an interval around zero.

    Names whose seconds are not known cannot be the cheapest. None where nothing is left.
    """
    equal = {
        name: spent
        for name, interval in differences.items()
        if interval.low <= 0 <= interval.high and (spent := seconds[name]) is not None
    }
    return min(equal, key=lambda name: equal[name]) if equal else None


def run_folder(out: Path, strategy: str) -> Path:
    """Where the run of a strategy is; a colon is not allowed in file names everywhere."""
    return out / strategy.replace(":", "-")


def _claim(out: Path, resume: bool) -> None:
    """Checks that a comparison may write here; makes nothing."""
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out}: --out must be a folder, this is a file")
    if out.exists() and any(out.iterdir()):
        if not resume:
            raise OutputError(f"{out}: is not empty; go on with the comparison in it with --resume, or name another "
                              "--out")  # fmt: skip
        if not list(out.glob(f"*/{RUN}")):
            raise OutputError(f"{out}: --resume goes on with a comparison, found none")
    elif resume:
        raise OutputError(f"{out}: --resume goes on with a comparison, found none")


def _settings(study: Study) -> dict[str, Any]:
    """What was asked for, but for the strategy and the places that a resumed run may change."""
    recipe = {name: value for name, value in study.recipe.items() if name not in PLACE}
    asked = {"manifest": str(Path(study.manifest).expanduser().resolve()), "backbone": study.backbone,
             "weights": study.weights, **study.data, **study.input, **recipe}  # fmt: skip
    plain: dict[str, Any] = json.loads(json.dumps(asked))
    return plain


def _known(out: Path, strategy: str, settings: dict[str, Any]) -> _Part | None:
    """The kept result of a finished run; None if it has yet to finish. Raises OutputError for other settings."""
    folder = run_folder(out, strategy)
    if _state(folder) != FINISHED:
        return None
    if not _part_path(out, strategy).exists():
        raise OutputError(f"{folder}: finished, but what it cost was not written down; delete this folder and resume")
    part = _read_part(out, strategy)
    changed = sorted(name for name in settings.keys() | part.settings.keys()
                     if settings.get(name) != part.settings.get(name))  # fmt: skip
    if changed:
        raise OutputError(f"{folder}: the finished run had another {', '.join(changed)}; resume with the same")
    return part


def _run(study: Study, strategy: str, settings: dict[str, Any]) -> None:
    """One strategy from start to end, in its own folder, and what it cost beside it."""
    folder = run_folder(study.out, strategy)
    resumed = study.resume and _state(folder) == UNFINISHED
    alone, started = reset_peak_memory(), time.monotonic()
    outcome = run_study(replace(study, strategy=strategy, out=folder, resume=resumed))
    seconds, peak = time.monotonic() - started, recent_peak_memory_mb()
    if is_first():
        part = _Part(settings, strategy, None if resumed else seconds, peak, alone, _judged_to_json(outcome.judged[-1]))
        write_json(_part_path(study.out, strategy), vars(part))


def _judged_to_json(judged: Judged) -> dict[str, Any]:
    manifest = judged.manifest
    return {
        "part": judged.part,
        "task": manifest.task,
        "classes": list(manifest.classes),
        "paths": list(manifest.paths),
        "rows": list(manifest.rows),
        "values": np.asarray(manifest.values).tolist(),
        "groups": None if manifest.groups is None else list(manifest.groups),
        "predictions": judged.predictions.tolist(),
    }


def _part_path(out: Path, strategy: str) -> Path:
    return out / PARTS / f"{run_folder(out, strategy).name}.json"


def _read_part(out: Path, strategy: str) -> _Part:
    path = _part_path(out, strategy)
    try:
        return _Part(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        folder = run_folder(out, strategy)
        raise OutputError(f"{path}: cannot be read ({error}); delete {folder} and resume") from error


def _state(folder: Path) -> str | None:
    path = folder / RUN
    return None if not path.exists() else str(_record(path).get("state"))


def _record(path: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OutputError(f"{path}: cannot be read ({error}); name another --out") from error
    return record


def _check_same_start(out: Path, parts: Sequence[_Part]) -> None:
    """Raises OutputError where the table or the weights changed between runs: numbers would not be comparable."""
    folders = [run_folder(out, part.strategy) for part in parts]
    first, *others = [_record(folder / RUN) for folder in folders]
    for folder, record in zip(folders[1:], others, strict=True):
        changed = [name for name in ("manifest", "rows", "backbone", "input", "data", "recipe")
                   if record[name] != first[name]]  # fmt: skip
        if changed:
            raise OutputError(f"{folder}: was run with another {', '.join(changed)} than {folders[0]}; delete one of "
                              "them and resume")  # fmt: skip


def _compare(out: Path, parts: Sequence[_Part], refused: dict[str, str]) -> Comparison:
    """The comparison of parts that were judged on the same rows. Raises RuntimeError if they were not."""
    about = parts[0].judged
    for part in parts[1:]:
        for name in ("part", "task", "classes", "paths", "rows", "values", "groups"):
            if part.judged[name] != about[name]:
                raise RuntimeError(f"{part.strategy} and {parts[0].strategy} were judged on other {name}")
    task, groups = cast(Task, about["task"]), about["groups"]
    truth = np.asarray(about["values"])
    predictions: dict[str, NDArray[np.float64]] = {
        part.strategy: np.asarray(part.judged["predictions"], dtype=np.float64) for part in parts
    }
    metrics = {
        name: evaluate_predictions(task, about["classes"], truth, own, groups).metrics
        for name, own in predictions.items()
    }
    metric = "r2" if task == "regression" else "auroc"
    best = find_best({name: own[metric].value for name, own in metrics.items()})
    differences: dict[str, dict[str, Interval]] = {name: {} for name in predictions}
    if best is not None:
        differences = {
            name: compare_predictions(task, truth, own, predictions[best], groups) for name, own in predictions.items()
        }
    seconds = {part.strategy: part.seconds for part in parts}
    cheapest = None
    if best is not None:
        cheapest = find_cheapest({name: own[metric] for name, own in differences.items()}, seconds)
    results = tuple(
        Result(
            part.strategy, part.seconds, part.peak_memory_mb, part.memory_alone,
            read_record(run_folder(out, part.strategy))["parameters"],
            metrics[part.strategy], differences[part.strategy],
        )
        for part in parts
    )  # fmt: skip
    count = None if groups is None else len(set(groups))
    return Comparison(metric, about["part"], len(truth), count, best, cheapest, results, refused)


def _plain(intervals: Mapping[str, Interval]) -> dict[str, dict[str, float | None]]:
    return {
        name: {end: None if math.isnan(number) else number for end, number in vars(interval).items()}
        for name, interval in intervals.items()
    }
