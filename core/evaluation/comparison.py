"""Several strategies on the same rows: their metrics and costs, and which is as good as the best for less."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftwork.core.evaluation.evaluation import (
    Repeat,
    compare_predictions,
    evaluate_predictions,
    measured,
    worse_than_chance,
)
from graftwork.core.evaluation.selection import corrected_choice
from graftwork.core.metrics.intervals import LEVEL, Interval
from graftwork.core.tasks import find_task

MARGIN = 0.02
"""How much less of the metric counts as good as the best."""


@dataclass(frozen=True)
class Result:
    """One strategy that ran.

    seconds: wall time of its run, in which passes through frozen stages, whose outputs runs find that come later, are
    shared out among all that need them; None where the run was interrupted and resumed. peak_memory_mb: of this process
    during that run, or, if `memory_alone` is False, since the process began. parameters: how many learnt, of how many
    ("trained", "all"). metrics: on the same rows for all strategies. differences: by how much every metric
    exceeds the best strategy's, both without the same rows in turn; empty where no strategy is the best.
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
    """Results in the order asked for. metric: what decides. part: the evaluated part. rows, groups: of that part.

    best: highest value of the metric, None where it is undefined for all. corrected: the metric of the best on rows
    that did not choose it. margin: how much less of the metric counts as good as the best. cheapest: fewest seconds
    among those that are shown to be within the margin, the best among them. refused: strategies that could not run,
    with the reason. cautions: sentences that the metrics must not be read without.
    """

    metric: str
    part: str
    rows: int
    groups: int | None
    best: str | None
    corrected: Interval
    margin: float
    cheapest: str | None
    results: tuple[Result, ...]
    refused: dict[str, str]
    cautions: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values; an undefined number is None."""
        return {
            "metric": self.metric,
            "part": self.part,
            "rows": self.rows,
            "groups": self.groups,
            "interval": f"{LEVEL:.0%}, by the jackknife over {'rows' if self.groups is None else 'groups'}",
            "best": self.best,
            "corrected": _plain({"best": self.corrected})["best"],
            "margin": self.margin,
            "cheapest": self.cheapest,
            "refused": self.refused,
            "cautions": list(self.cautions),
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
        """Which is best, what is left of that on rows that did not choose it, and which is as good for less."""
        if self.best is None:
            return f"{self.metric} is undefined on the {self.part} rows: no strategy is the best."
        by_name = {one.strategy: one for one in self.results}
        value = by_name[self.best].metrics[self.metric]
        said = f"Best by {self.metric}: {self.best}, {value}."
        caution = worse_than_chance(value, self.groups) if self.metric == "auroc" else None
        if caution is not None:
            said += f" Even that is {caution}."
        if len(self.results) > 1 and not math.isnan(self.corrected.value):
            high = value.value - self.corrected.value
            said += (f" It is the best of {len(self.results)} on the rows that chose it: on new ones expect, and "
                     f"publish, {self.corrected}, {abs(high):.3f} {'less' if high >= 0 else 'more'}.")  # fmt: skip
        if self.cheapest is None:
            return f"{said} Which is cheapest is not known: the runs were interrupted."
        within = f"at most {self.margin:g} below the best"
        if self.cheapest == self.best:
            return f"{said} No cheaper one is shown to be {within}."
        cheap = by_name[self.cheapest]
        return (f"{said} Cheapest that is shown to be {within}: {self.cheapest}, {cheap.seconds:.1f} s, "
                f"difference {cheap.differences[self.metric]}.")  # fmt: skip


@dataclass(frozen=True)
class Part:
    """What is kept of one finished strategy, so that a resumed comparison need not run it again; the first fields are
    `Result`'s. seconds: of the run alone. settings: what was asked for. evaluated: rows, truth and predictions, as
    plain values. pass_seconds, passes: of its seconds those in passes through frozen stages, and how many it asked for.
    cautions: sentences of this strategy alone.
    """

    settings: dict[str, Any]
    strategy: str
    seconds: float | None
    peak_memory_mb: float
    memory_alone: bool
    parameters: dict[str, int]
    evaluated: dict[str, Any]
    pass_seconds: float = 0.0
    passes: int = 0
    cautions: list[str] = field(default_factory=list)


def compare_parts(parts: Sequence[Part], refused: dict[str, str], margin: float = MARGIN) -> Comparison:
    """The comparison of parts that were evaluated on the same rows. Raises RuntimeError if they were not."""
    about = parts[0].evaluated
    for part in parts[1:]:
        for name in ("part", "task", "classes", "paths", "rows", "values", "groups", "folds"):
            if part.evaluated.get(name) != about.get(name):
                raise RuntimeError(f"{part.strategy} and {parts[0].strategy} were evaluated on other {name}")
    task, groups = find_task(about["task"]), about["groups"]
    truth, folds = np.asarray(about["values"]), about.get("folds")
    if truth.dtype == object:  # a label that is not known is written as null
        truth = truth.astype(np.float64)
    folds = None if folds is None else np.asarray(folds)
    predictions: dict[str, NDArray[np.float64]] = {
        part.strategy: np.asarray(part.evaluated["predictions"], dtype=np.float64) for part in parts
    }
    again = {part.strategy: _repeats(part) for part in parts}
    metrics = {
        name: evaluate_predictions(task, about["classes"], truth, own, groups, folds, again[name]).metrics
        for name, own in predictions.items()
    }
    metric = task.metric
    best = find_best({name: own[metric].value for name, own in metrics.items()})
    differences: dict[str, dict[str, Interval]] = {name: {} for name in predictions}
    if best is not None:
        differences = {
            name: compare_predictions(
                task,
                truth,
                own,
                predictions[best],
                groups,
                classes=about["classes"],
                folds=folds,
                repeats=list(zip(again[name], again[best], strict=True)),
            )
            for name, own in predictions.items()
        }
    seconds = shared_out(parts)
    cheapest = None
    models = [measured(task, about["classes"], truth, own, folds, again[name], strict=False)
              for name, own in predictions.items()]  # fmt: skip
    corrected = corrected_choice(models, metric, len(truth), groups)
    if best is not None:
        cheapest = find_cheapest({name: own[metric] for name, own in differences.items()}, seconds, margin)
    results = tuple(
        Result(
            part.strategy, seconds[part.strategy], part.peak_memory_mb, part.memory_alone, part.parameters,
            metrics[part.strategy], differences[part.strategy],
        )
        for part in parts
    )  # fmt: skip
    count = None if groups is None else len(set(groups))
    cautions = tuple(f"{part.strategy}: {caution}" for part in parts for caution in part.cautions)
    return Comparison(metric, about["part"], len(truth), count, best, corrected, margin, cheapest, results, refused,
                      cautions)  # fmt: skip


def shared_out(parts: Sequence[Part]) -> dict[str, float | None]:
    """Seconds of every strategy, with all passes through frozen stages divided among those that asked for some: the
    first one computes what the others find, and which comes first says nothing of a strategy."""
    needing = [part for part in parts if part.passes]
    share = sum(part.pass_seconds for part in needing) / max(1, len(needing))
    return {part.strategy: None if part.seconds is None else
            part.seconds - part.pass_seconds + (share if part.passes else 0.0) for part in parts}  # fmt: skip


def _repeats(part: Part) -> list[Repeat]:
    return [Repeat(np.asarray(one["predictions"], dtype=np.float64), np.asarray(one["folds"]))
            for one in part.evaluated.get("repeats", [])]  # fmt: skip


def find_best(values: Mapping[str, float]) -> str | None:
    """The name with the highest value, the first of equals; None where all are undefined."""
    defined = {name: value for name, value in values.items() if not math.isnan(value)}
    return max(defined, key=lambda name: defined[name]) if defined else None


def find_cheapest(
    differences: Mapping[str, Interval], seconds: Mapping[str, float | None], margin: float = MARGIN
) -> str | None:
    """The name with the fewest seconds among those whose difference to the best has an interval above minus the margin:
    which are shown to be no worse (non-inferiority), and not only not shown to be worse.

    Names whose seconds are not known cannot be the cheapest. None where nothing is left.
    """
    equal = {
        name: spent
        for name, interval in differences.items()
        if interval.low > -margin and (spent := seconds[name]) is not None
    }
    return min(equal, key=lambda name: equal[name]) if equal else None


def _plain(intervals: Mapping[str, Interval]) -> dict[str, dict[str, float | str | None]]:
    return {
        name: {
            end: None if math.isnan(number) else number
            for end, number in (("value", interval.value), ("low", interval.low), ("high", interval.high))
        }
        | {"method": interval.method}
        for name, interval in intervals.items()
    }
