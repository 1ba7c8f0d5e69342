"""Metrics by subgroup, as of each sex or scanner, and the largest gap between two of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftwork.core.errors import SettingsError
from graftwork.core.evaluation.evaluation import (
    EvaluatedPart,
    Evaluation,
    Repeat,
    evaluate_predictions,
    measured,
    plain_intervals,
)
from graftwork.core.metrics.folds import mean_of
from graftwork.core.metrics.intervals import Floats, Interval, Metrics, between_repeats, intervals
from graftwork.core.metrics.scales import largest_difference

BLANK = "(blank)"
"""What rows are called that a column says nothing of."""

MOST_SUBGROUPS = 50
"""A column with more values than this names rows, and no subgroups."""


@dataclass(frozen=True, eq=False)
class Gap:
    """By how much the metric that decides is better in the subgroup `best` than in `worst`. The interval holds for the
    largest of all pairs: its level is divided by their number (Bonferroni)."""

    best: str
    worst: str
    difference: Interval


@dataclass(frozen=True, eq=False)
class Subgroups:
    """column: whose values, sorted, are the subgroups; evaluations: of the rows of each. gap: the largest between two
    in the metric that decides; None unless two have it."""

    column: str
    metric: str
    evaluations: dict[str, Evaluation]
    gap: Gap | None

    def to_json(self) -> dict[str, Any]:
        """Plain values; an undefined metric is None."""
        gap = self.gap
        return {
            "metric": self.metric,
            "groups": {name: one.to_json() for name, one in self.evaluations.items()},
            "largest_gap": None
            if gap is None
            else {"best": gap.best, "worst": gap.worst} | plain_intervals({self.metric: gap.difference})[self.metric],
        }

    def table(self) -> tuple[list[str], list[tuple[str, ...]]]:
        """Column names and rows for people."""
        rows: list[tuple[str, ...]] = [
            (name, str(one.rows), str(one.metrics[self.metric])) for name, one in self.evaluations.items()
        ]
        return [self.column, "rows", self.metric], rows

    def sentence(self) -> str:
        """The largest gap in words."""
        if self.gap is None:
            return f"{self.column}: no two subgroups define {self.metric}"
        return (f"{self.column}: {self.metric} differs most between {self.gap.best!r} and {self.gap.worst!r}, by "
                f"{self.gap.difference}, an interval that holds for the largest of all pairs")  # fmt: skip


def find_subgroups(part: EvaluatedPart, column: str) -> Subgroups:
    """The evaluation of the rows of every value of a column that the part's manifest was read with.

    Out-of-fold predictions are ranked within folds only where every subgroup has enough rows in every fold for an
    interval, else all together. Raises SettingsError for a column that was not read, and for one with more values than
    `MOST_SUBGROUPS`: these name rows.
    """
    manifest = part.manifest
    cells = np.array([cell or BLANK for cell in manifest.column(column)], dtype=object)
    names = sorted(set(cells))
    if len(names) > MOST_SUBGROUPS:
        raise SettingsError(f"--by {column}: expected at most {MOST_SUBGROUPS} different values, found {len(names)}")
    members = {name: np.flatnonzero(cells == name) for name in names}
    metric = manifest.task.metric
    evaluations = {name: _evaluated(_rows_of(part, rows)) for name, rows in members.items()}
    if part.folds is not None and any(math.isnan(one.metrics[metric].low) for one in evaluations.values()):
        part = replace(part, folds=None, repeats=())
        evaluations = {name: _evaluated(_rows_of(part, rows)) for name, rows in members.items()}
    defined = {name: one.metrics[metric].value for name, one in evaluations.items()
               if not math.isnan(one.metrics[metric].value)}  # fmt: skip
    gap = None
    if len(defined) > 1:
        best, worst = max(defined, key=defined.__getitem__), min(defined, key=defined.__getitem__)
        gap = Gap(best, worst, _difference(part, members[best], members[worst], math.comb(len(defined), 2)))
    return Subgroups(column, metric, evaluations, gap)


def _rows_of(part: EvaluatedPart, rows: NDArray[np.int64]) -> EvaluatedPart:
    """The part with these rows only; its evaluation is still that of all."""
    repeats = tuple(Repeat(one.predictions[rows], one.folds[rows]) for one in part.repeats)
    return replace(part, manifest=part.manifest.subset(rows), predictions=part.predictions[rows], repeats=repeats,
                   folds=None if part.folds is None else part.folds[rows])  # fmt: skip


def _evaluated(part: EvaluatedPart) -> Evaluation:
    manifest = part.manifest
    return evaluate_predictions(manifest.task, manifest.classes, manifest.values, part.predictions, manifest.groups,
                                part.folds, part.repeats)  # fmt: skip


def _difference(
    part: EvaluatedPart, best: NDArray[np.int64], worst: NDArray[np.int64], pairs: int
) -> Interval:  # fmt: skip
    """By how much the metric that decides is larger for the rows `best`, without every row or group in turn."""
    task, classes, rows = part.manifest.task, part.manifest.classes, np.concatenate([best, worst])
    both = [_rows_of(part, own) for own in (best, worst)]

    def of(repeat: int) -> Metrics:
        first, second = (
            measured(task, classes, own.manifest.values, again.predictions, again.folds)
            for own in both
            for again in [own.repeats[repeat - 1] if repeat else own]
        )

        def measure(weights: Floats) -> dict[str, Floats]:
            found = first(weights[:, : len(best)])[task.metric], second(weights[:, len(best) :])[task.metric]
            return {task.metric: found[0] - found[1]}

        return measure

    repeated = [of(repeat) for repeat in range(len(part.repeats) + 1)]
    between = between_repeats([{task.metric: float(own(np.ones((1, len(rows))))[task.metric][0])} for own in repeated])
    found = intervals(mean_of(repeated), len(rows), part.manifest.subset(rows).groups,
                      scale=largest_difference(pairs), between=between)  # fmt: skip
    return found[task.metric]


def find_all_subgroups(part: EvaluatedPart, columns: Sequence[str]) -> tuple[Subgroups, ...]:
    """Those of every column. Raises SettingsError as `find_subgroups` does."""
    return tuple(find_subgroups(part, column) for column in columns)


def subgroups_to_json(found: Sequence[Subgroups]) -> dict[str, Any]:
    """A field `subgroups` with those of every column; none without columns."""
    return {"subgroups": {one.column: one.to_json() for one in found}} if found else {}
