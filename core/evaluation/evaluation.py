"""Metrics of a set of predictions, every one with an interval, by group where there are groups."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graftwork.core.data.manifest import Manifest
from graftwork.core.metrics.folds import averaged_names, cross_validated, fold_values, mean_of, of_each_fold
from graftwork.core.metrics.intervals import LEVEL, Averaged, Interval, Metrics, between_repeats, intervals
from graftwork.core.metrics.scales import DIFFERENCE
from graftwork.core.tasks import Task, find_task
from graftwork.core.tasks.plots import draw_side_by_side
from graftwork.core.tasks.task import Drawn

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

FEW = 6
"""Rows or groups below which an interval is a rough one."""

SHOWN = 5
"""Names in a sentence; the others are counted."""

CHANCE = 0.5
"""AUROC of predictions that know nothing of the labels, however many of each there are."""


FAR_BELOW = 0.25
"""An AUROC below which even few rows are said to be told worse than by chance."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Metrics of one set of predictions.

    metrics: name to value and interval. confusion: (classes, classes) counts, truth down, prediction
    across; None unless every row has one class. groups: how many were resampled, None without groups. Of
    cross-validation, metrics that rank rows are means over folds; pooled: what one ranking of the predictions of all
    folds gives instead, which mixes the scales of several models; folds: all metrics of each. repeats: all metrics of
    each, where folds were drawn several times; the confusion, `pooled` and `folds` are then those of the first. doubts:
    what is said of the predictions as they are, whatever the metrics.
    """

    task: Task
    classes: tuple[str, ...]
    rows: int
    groups: int | None
    metrics: dict[str, Interval]
    confusion: NDArray[np.int64] | None
    folds: tuple[dict[str, float], ...] = ()
    pooled: dict[str, Interval] = field(default_factory=dict)
    repeats: tuple[dict[str, float], ...] = ()
    doubts: tuple[str, ...] = ()

    @property
    def _units(self) -> int:
        """What is resampled: groups, or rows without groups."""
        return self.rows if self.groups is None else self.groups

    def to_json(self) -> dict[str, Any]:
        """Plain values; an undefined metric is None."""
        numbers = plain_intervals(self.metrics)
        resampled = "rows" if self.groups is None else "groups"
        about: dict[str, Any] = {
            "rows": self.rows,
            "groups": self.groups,
            "interval": None if self._units < 2 else f"{LEVEL:.0%}, by the jackknife over {resampled}",
            "caution": self.caution,
        }
        if self.folds:
            about["folds"] = [{name: _plain(value) for name, value in fold.items()} for fold in self.folds]
            about["pooled"] = plain_intervals(self.pooled)
        if self.repeats:
            about["repeats"] = [{name: _plain(value) for name, value in one.items()} for one in self.repeats]
        if self.confusion is not None:
            about |= {"classes": list(self.classes), "confusion": self.confusion.tolist()}
        return numbers | {"about": about}

    @property
    def cautions(self) -> tuple[str, ...]:
        """A sentence for each reason not to take the metrics at their face: labels told worse than by chance, with the
        whole interval; classes without a row and labels of one value, which means over them leave out; classes that are
        never predicted."""
        found = [worse_than_chance(self.metrics["auroc"], self.groups)] if "auroc" in self.metrics else []
        labels = [name for name in self.classes if f"auroc_{name}" in self.metrics]
        undefined = [math.isnan(self.metrics[f"auroc_{name}"].value) for name in labels]
        found.append(_named(labels, undefined, LEFT_OUT))
        if self.confusion is not None:
            truth, predicted = self.confusion.sum(1), self.confusion.sum(0)
            if len(self.classes) > 2:  # of two, scores are then undefined and say so themselves
                found.append(_named(self.classes, truth == 0, NO_ROW))
            found.append(_named(self.classes, (truth > 0) & (predicted == 0), NEVER_PREDICTED))
        found += [self._lost_folds, *self.doubts]
        return tuple(one for one in found if one is not None)

    @property
    def _lost_folds(self) -> str | None:
        """What is said of the metric that decides where folds do not define it."""
        metric, count = self.task.metric, len(self.folds)
        lost = sum(math.isnan(fold[metric]) for fold in self.folds)
        if lost and metric in self.pooled:
            return f"{metric} is the mean of {count - lost} of {count} folds: the others lack a class"
        if lost and lost == count and not math.isnan(self.metrics[metric].value):
            return f"{metric} is of one ranking of all rows, of several models: no fold has rows of two classes"
        return None

    @property
    def caution(self) -> str | None:
        """All of them as one text; None where there are none."""
        return "; ".join(self.cautions) or None

    def to_frame(self) -> pd.DataFrame:
        """A row a metric, by its name, with the columns value, low, high and method; NaN for what is undefined."""
        import pandas as pd

        columns = ["value", "low", "high", "method"]
        rows = [[getattr(interval, column) for column in columns] for interval in self.metrics.values()]
        return pd.DataFrame(rows, columns=columns, index=pd.Index(self.metrics, name="metric"))

    def _repr_html_(self) -> str:
        """What a notebook shows: the metrics as a table, under what they are of and above the cautions."""
        table = self.to_frame().drop(columns="method").map(lambda number: "" if math.isnan(number) else f"{number:.3f}")
        cautions = "".join(f"<p>{escape(one)}</p>" for one in self.cautions)
        return f"<p>{escape(self._about)}</p>{table.to_html()}{cautions}"

    def __str__(self) -> str:
        width = max(map(len, self.metrics))
        lines = [self._about, *(f"{name:<{width}}  {interval}" for name, interval in self.metrics.items())]
        if self.task.metric in self.pooled:
            lines.append(f"{self.task.metric} is the mean over folds; one ranking of all: "
                         f"{self.pooled[self.task.metric]}")  # fmt: skip
        return "\n".join(lines if self.caution is None else [*lines, self.caution])

    @property
    def _about(self) -> str:
        """What the metrics are of, and how sure their intervals are."""
        resampled = counted(self.rows, "row")
        if self.groups is not None:
            resampled += f" in {counted(self.groups, 'group')}"
        if self.folds:
            again = f" repeated {len(self.repeats)} times" if self.repeats else ""
            resampled = f"{len(self.folds)}-fold cross-validation{again}, out-of-fold: {resampled}"
        if self._units < 2:
            return f"{resampled}, too few for intervals"
        few = ", so few that intervals are rough" if self._units < FEW else ""
        return f"{resampled}{few}, {LEVEL:.0%} intervals"


@dataclass(frozen=True, eq=False)
class Repeat:
    """predictions (rows, …) of rows by models that did not see their fold, and folds (rows,), drawn anew."""

    predictions: NDArray[np.float64]
    folds: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class EvaluatedPart:
    """Rows with what was predicted for them.

    part: "test", "val", "out-of-fold" or, where a run is evaluated on it again, "train". predictions: (rows, classes)
    probabilities, (rows, labels), or (rows,) numbers; of masks their measures, (rows, classes without the background,
    measures).
    folds: the fold of every row, None without cross-validation. repeats: the same of further drawings of folds.
    """

    part: str
    manifest: Manifest
    predictions: NDArray[np.float64]
    evaluation: Evaluation
    folds: NDArray[np.int64] | None = None
    repeats: tuple[Repeat, ...] = ()

    def plot(self) -> Figure:
        """What the task draws of predictions: ROC, precision and recall, reliability and confusion of labels, a scatter
        of numbers, a box a class of masks."""
        manifest = self.manifest
        return draw_side_by_side(manifest.task.panels(
            Drawn(np.asarray(manifest.values), self.predictions, manifest.classes, manifest.target,
                  self.evaluation.confusion, manifest.groups)
        ))  # fmt: skip


LEFT_OUT = "have rows of one value only: they are left out of the mean over labels"
NO_ROW = "have no row here: means over classes leave them out"
NEVER_PREDICTED = (
    "are never predicted, though there are rows of them: look at balanced_accuracy, and try --class-weights"
)


def _named(classes: Sequence[str], chosen: Sequence[bool] | NDArray[np.bool_], said: str) -> str | None:
    """What is said of the chosen classes, with their number and the first names; None where there is none."""
    names = [name for name, one in zip(classes, chosen, strict=True) if one]
    if not names:
        return None
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{len(names)} of {len(classes)} ({', '.join(map(repr, names[:SHOWN]))}{more}) {said}"


def worse_than_chance(auroc: Interval, groups: int | None) -> str | None:
    """What it usually means if the whole interval of an AUROC lies below one half, or the AUROC itself below
    `FAR_BELOW`; None where neither does."""
    if auroc.high < CHANCE:
        said = f"worse than chance: the whole interval of auroc lies below {CHANCE}"
    elif auroc.value < FAR_BELOW:
        said = f"worse than chance: auroc is {auroc.value:.3f}, if of too little for its interval to say so"
    else:
        return None
    if groups is None:
        return said
    return (
        f"{said}; with groups kept apart this usually means that few groups carry each class, so that the model "
        "learnt the groups, and one that it has not seen looks to it like another class"
    )


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def evaluate_predictions(
    task: Task | str,
    classes: Sequence[str],
    truth: NDArray[np.generic],
    predictions: Floats,
    groups: Sequence[Hashable] | None = None,
    folds: NDArray[np.int64] | None = None,
    repeats: Sequence[Repeat] = (),
) -> Evaluation:
    """The evaluation of predictions against the truth.

    truth: (rows,) class indices, (rows, labels) 0/1, or (rows,) numbers. predictions: (rows, classes)
    probabilities, as for grades, (rows, labels) probabilities, or (rows,) numbers; for text both are (rows, longest)
    numbers of characters, zeros behind; for masks (rows, classes without the background, measures), of each,
    the first of `masks.MEASURES`; the truth is not looked at. folds (rows,): of cross-validation, where metrics that
    rank rows are means over folds. repeats: further predictions of the same rows, by folds that were drawn anew;
    metrics are means over all of them.

    >>> truth = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    >>> of_second = np.array([0.1, 0.2, 0.4, 0.7, 0.3, 0.6, 0.8, 0.9])
    >>> probabilities = np.stack([1 - of_second, of_second], axis=1)
    >>> found = core.evaluate_predictions("single-label", ("healthy", "tumour"), truth, probabilities)
    >>> round(found.metrics["auroc"].value, 4)  # 13 of 16 pairs are in the right order
    0.8125
    """
    task = find_task(task)
    expected = np.asarray(predictions, dtype=np.float64)
    classes_of = partial(task.metric_classes, truth, expected, classes)
    pooled = intervals(task.measures(truth, expected, classes), len(expected), groups, classes_of=classes_of)
    matrix = task.confusion(truth, expected, classes)
    count = None if groups is None else len(set(groups))
    doubts = task.doubts(expected, classes)
    if folds is None:
        return Evaluation(task, tuple(classes), len(expected), count, pooled, matrix, doubts=doubts)
    every = [Repeat(expected, folds), *repeats]
    alone = [measured(task, classes, truth, one.predictions, one.folds) for one in every]
    values = fold_values(of_each_fold(folds, lambda rows: task.measures(truth[rows], expected[rows], classes)))
    averaged = Averaged([one.folds for one in every], averaged_names(values))
    once = [_at_once(measure, len(expected)) for measure in alone]
    found = intervals(mean_of(alone), len(expected), groups, classes_of=classes_of, averaged=averaged,
                      between=between_repeats(once))  # fmt: skip
    ranked = {name: interval for name, interval in pooled.items() if name in averaged.names}
    return Evaluation(task, tuple(classes), len(expected), count, found, matrix, tuple(values), ranked,
                      tuple(once) if repeats else (), doubts)  # fmt: skip


def _at_once(measure: Metrics, rows: int) -> dict[str, float]:
    """Every metric of all rows."""
    return {name: float(value[0]) for name, value in measure(np.ones((1, rows))).items()}


def measured(
    task: Task, classes: Sequence[str], truth: NDArray[np.generic], predictions: Floats,
    folds: NDArray[np.int64] | None = None, repeats: Sequence[Repeat] = (), *, strict: bool = True,
) -> Metrics:  # fmt: skip
    """The metrics of predictions; with folds (rows,) as `cross_validated` has them, and `strict` of it. repeats: of
    further predictions, over which metrics are means."""
    pooled = task.measures(truth, predictions, classes)
    if folds is None:
        return pooled
    parts = of_each_fold(folds, lambda rows: task.measures(truth[rows], predictions[rows], classes))
    own = cross_validated(pooled, parts, strict=strict)
    return mean_of([own, *(measured(task, classes, truth, one.predictions, one.folds, strict=strict)
                           for one in repeats)])  # fmt: skip


def compare_predictions(
    task: Task | str,
    truth: NDArray[np.generic],
    predictions: Floats,
    reference: Floats,
    groups: Sequence[Hashable] | None = None,
    *,
    classes: Sequence[str] = (),
    folds: NDArray[np.int64] | None = None,
    repeats: Sequence[tuple[Repeat, Repeat]] = (),
) -> dict[str, Interval]:
    """By how much every metric of `predictions` exceeds that of `reference` on the same rows.

    Both are measured without the same rows, or groups, in turn, so what the rows do to both cancels. folds (rows,): of
    cross-validation. repeats: further predictions and references, by folds that were drawn anew.

    >>> truth = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    >>> good = np.array([0.1, 0.2, 0.4, 0.7, 0.3, 0.6, 0.8, 0.9])
    >>> poor = np.array([0.5, 0.2, 0.6, 0.7, 0.3, 0.4, 0.8, 0.1])
    >>> both = [np.stack([1 - one, one], axis=1) for one in (good, poor)]
    >>> round(core.compare_predictions("single-label", truth, *both)["auroc"].value, 4)
    0.4375
    """
    task, both = find_task(task), [np.asarray(one, dtype=np.float64) for one in (predictions, reference)]
    pairs = [_difference(*(measured(task, classes, truth, own, folds) for own in both))]
    pairs += [_difference(*(measured(task, classes, truth, one.predictions, one.folds) for one in pair))
              for pair in repeats]  # fmt: skip
    between = between_repeats([_at_once(pair, len(both[0])) for pair in pairs])
    return intervals(mean_of(pairs), len(predictions), groups, scale=DIFFERENCE, between=between)


def _difference(first: Metrics, second: Metrics) -> Metrics:
    def measure(weights: Floats) -> dict[str, Floats]:
        baseline = second(weights)
        return {name: value - baseline[name] for name, value in first(weights).items()}

    return measure


def point_metrics(
    task: Task | str, truth: NDArray[np.generic], predictions: Floats, classes: Sequence[str] = ()
) -> dict[str, float]:
    """The same metrics without intervals; text needs its classes. NaN where the rows do not define one."""
    return _at_once(find_task(task).measures(truth, np.asarray(predictions, dtype=np.float64), classes),
                    len(predictions))  # fmt: skip


def plain_intervals(found: Mapping[str, Interval]) -> dict[str, Any]:
    """Of every metric its value, the ends of its interval and its method; None for what is not defined."""
    return {name: {part: _plain(getattr(one, part)) for part in ("value", "low", "high")} | {"method": one.method}
            for name, one in found.items()}  # fmt: skip


def _plain(number: float) -> float | None:
    return None if math.isnan(number) else number
