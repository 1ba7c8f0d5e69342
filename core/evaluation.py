"""What a set of predictions is worth: every number with an interval, resampled by group where there are groups."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftwork.core import metrics
from graftwork.core.bootstrap import LEVEL, RESAMPLES, Interval, Metrics, bootstrap
from graftwork.core.calibration import expected_calibration_error
from graftwork.core.manifest import Task
from graftwork.core.masks import MEASURES
from graftwork.core.transcripts import decode, error_counts

Floats = NDArray[np.float64]

FEW = 10
"""Rows or groups below which a percentile bootstrap covers clearly less than it says (Efron and Tibshirani 1993)."""

SHOWN = 5
"""Names in a sentence; the others are counted."""

CHANCE = 0.5
"""AUROC of predictions that know nothing of the labels, however many of each there are."""


@dataclass(frozen=True)
class Evaluation:
    """Metrics of one set of predictions.

    metrics: name to value and interval. confusion: (classes, classes) counts, truth down, prediction
    across; None unless the task is single labels. groups: how many were resampled, None without groups.
    """

    task: Task
    classes: tuple[str, ...]
    rows: int
    groups: int | None
    metrics: dict[str, Interval]
    confusion: NDArray[np.int64] | None

    @property
    def _units(self) -> int:
        """What is resampled: groups, or rows without groups."""
        return self.rows if self.groups is None else self.groups

    def to_json(self) -> dict[str, Any]:
        """Plain values; an undefined metric is None."""
        numbers: dict[str, Any] = {
            name: {part: _plain(getattr(interval, part)) for part in ("value", "low", "high")}
            for name, interval in self.metrics.items()
        }
        resampled = "rows" if self.groups is None else "groups"
        about: dict[str, Any] = {
            "rows": self.rows,
            "groups": self.groups,
            "interval": None if self._units < 2 else f"{LEVEL:.0%} percentile bootstrap over {resampled}",
            "caution": self.caution,
        }
        if self.confusion is not None:
            about |= {"classes": list(self.classes), "confusion": self.confusion.tolist()}
        return numbers | {"about": about}

    @property
    def cautions(self) -> tuple[str, ...]:
        """A sentence for each reason not to take the metrics at their face: labels told worse than by chance, with the
        whole interval; classes without a row and labels of one value, which means over them leave out; classes that are
        never predicted."""
        found = [worse_than_chance(self.metrics["auroc"], self.groups)] if "auroc" in self.metrics else []
        if self.task == "multi-label":
            found.append(_named(self.classes, [bool(np.isnan(self.metrics[f"auroc_{name}"].value))
                                               for name in self.classes], LEFT_OUT))  # fmt: skip
        if self.confusion is not None:
            truth, predicted = self.confusion.sum(1), self.confusion.sum(0)
            if len(self.classes) > 2:  # of two, scores are then undefined and say so themselves
                found.append(_named(self.classes, truth == 0, NO_ROW))
            found.append(_named(self.classes, (truth > 0) & (predicted == 0), NEVER_PREDICTED))
        return tuple(one for one in found if one is not None)

    @property
    def caution(self) -> str | None:
        """All of them as one text; None where there are none."""
        return "; ".join(self.cautions) or None

    def __str__(self) -> str:
        resampled = counted(self.rows, "row")
        if self.groups is not None:
            resampled += f" in {counted(self.groups, 'group')}"
        if self._units < 2:
            lines = [f"{resampled}, too few for intervals"]
        else:
            few = ", so few that intervals are too narrow" if self._units < FEW else ""
            lines = [f"{resampled}{few}, {LEVEL:.0%} intervals"]
        width = max(map(len, self.metrics))
        lines += [f"{name:<{width}}  {interval}" for name, interval in self.metrics.items()]
        return "\n".join(lines if self.caution is None else [*lines, self.caution])


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
    """What it usually means if the whole interval of an AUROC lies below one half; None where it does not."""
    if not auroc.high < CHANCE:
        return None
    said = f"worse than chance: the whole interval of auroc lies below {CHANCE}"
    if groups is None:
        return said
    return (
        f"{said}; with groups kept apart this usually means that few groups carry each class, so that the model "
        "learnt the groups, and one that it has not seen looks to it like another class"
    )


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def headline(task: Task) -> str:
    """The metric by which epochs, stages and strategies are compared; higher is better."""
    return {"regression": "r2", "text": "word_accuracy", "mask": "dice"}.get(task, "auroc")


def evaluate_predictions(
    task: Task,
    classes: Sequence[str],
    truth: NDArray[np.generic],
    predictions: Floats,
    groups: Sequence[Hashable] | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Evaluation:
    """The evaluation of predictions against the truth.

    truth: (rows,) class indices, (rows, labels) 0/1, or (rows,) numbers. predictions: (rows, classes)
    probabilities, (rows, labels) probabilities, or (rows,) numbers; for text both are (rows, longest) numbers of
    characters, zeros behind; for masks (rows, classes without the background, measures), what each is worth, the first
    of `masks.MEASURES`; the truth is not looked at.
    """
    expected = np.asarray(predictions, dtype=np.float64)
    intervals = bootstrap(
        _measures(task, classes, truth, expected), len(expected), groups, resamples=resamples, seed=seed
    )
    matrix = None
    if task == "single-label":
        counts = metrics.confusion(
            np.asarray(truth, dtype=np.int64), expected.argmax(1), len(classes), np.ones((1, len(expected)))
        )
        matrix = counts[0].astype(np.int64)
    return Evaluation(
        task, tuple(classes), len(expected), None if groups is None else len(set(groups)), intervals, matrix
    )


def compare_predictions(
    task: Task,
    truth: NDArray[np.generic],
    predictions: Floats,
    reference: Floats,
    groups: Sequence[Hashable] | None = None,
    *,
    classes: Sequence[str] = (),
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Interval]:
    """By how much every metric of `predictions` exceeds that of `reference` on the same rows.

    The bootstrap is paired: both are measured on the same draws, so what the rows do to both cancels.
    """
    first = _measures(task, classes, truth, np.asarray(predictions, dtype=np.float64))
    second = _measures(task, classes, truth, np.asarray(reference, dtype=np.float64))

    def measure(weights: Floats) -> dict[str, Floats]:
        baseline = second(weights)
        return {name: value - baseline[name] for name, value in first(weights).items()}

    return bootstrap(measure, len(predictions), groups, resamples=resamples, seed=seed)


def point_metrics(
    task: Task, truth: NDArray[np.generic], predictions: Floats, classes: Sequence[str] = ()
) -> dict[str, float]:
    """The same metrics without intervals; text needs its classes. NaN where the rows do not define one."""
    measured = _measures(task, classes, truth, np.asarray(predictions, dtype=np.float64))
    return {name: float(value[0]) for name, value in measured(np.ones((1, len(predictions)))).items()}


def _measures(task: Task, classes: Sequence[str], truth: NDArray[np.generic], predictions: Floats) -> Metrics:
    if task == "mask":
        return _masks(classes, predictions)
    if task == "text":
        return _text(decode(truth, classes), decode(predictions, classes))
    if task == "regression":
        return _regression(np.asarray(truth, dtype=np.float64), predictions.reshape(len(predictions)))
    if task == "multi-label":
        return _multi_label(np.asarray(truth, dtype=np.float64), predictions, classes)
    return _single_label(np.asarray(truth, dtype=np.int64), predictions)


def _single_label(truth: NDArray[np.int64], predicted: Floats) -> Metrics:
    """Two classes: AUROC and average precision of the second; more: the mean over classes, one against the rest."""
    classes = predicted.shape[1]
    guess = predicted.argmax(1)
    onehot = np.eye(classes)[truth]
    correct, confidence = (guess == truth).astype(np.float64), predicted.max(1)
    scored = [1] if classes == 2 else range(classes)

    def measure(weights: Floats) -> dict[str, Floats]:
        matrix = metrics.confusion(truth, guess, classes, weights)
        ranked = [metrics.ranking(truth == k, predicted[:, k], weights) for k in scored]
        return {
            "auroc": metrics.macro([auroc for auroc, _ in ranked]),
            "average_precision": metrics.macro([precision for _, precision in ranked]),
            "accuracy": metrics.accuracy(matrix),
            "balanced_accuracy": metrics.balanced_accuracy(matrix),
            "f1": metrics.f1(matrix),
            "brier": metrics.brier(onehot, predicted, weights),
            "ece": expected_calibration_error(correct, confidence, weights),
        }

    return measure


def _multi_label(truth: Floats, predicted: Floats, classes: Sequence[str]) -> Metrics:
    """The mean over labels of each label's own metric, and those of every label; accuracy is the share of right
    cells."""
    labels = range(truth.shape[1])
    guess = (predicted >= 0.5).astype(np.int64)
    positive = truth > 0.5

    def measure(weights: Floats) -> dict[str, Floats]:
        matrices = [metrics.confusion(positive[:, k].astype(np.int64), guess[:, k], 2, weights) for k in labels]
        ranked = [metrics.ranking(positive[:, k], predicted[:, k], weights) for k in labels]
        own = {
            "auroc": [auroc for auroc, _ in ranked],
            "average_precision": [precision for _, precision in ranked],
            "accuracy": [metrics.accuracy(matrix) for matrix in matrices],
            "balanced_accuracy": [metrics.balanced_accuracy(matrix) for matrix in matrices],
            "f1": [metrics.positive_f1(matrix) for matrix in matrices],
        }
        together = {name: metrics.macro(values) for name, values in own.items()} | {
            "brier": metrics.brier(truth, predicted, weights) / truth.shape[1],
            "ece": metrics.macro([expected_calibration_error(truth[:, k], predicted[:, k], weights) for k in labels]),
        }
        return together | {f"{name}_{label}": values[k] for k, label in enumerate(classes)
                           for name, values in own.items()}  # fmt: skip

    return measure


def _text(truth: list[str], predicted: list[str]) -> Metrics:
    """Word and character error rates, errors over all rows divided by what there is in all rows."""
    counts = error_counts(truth, predicted)

    def measure(weights: Floats) -> dict[str, Floats]:
        rates = {name: metrics.rate(errors, lengths, weights) for name, (errors, lengths) in counts.items()}
        return rates | {"word_accuracy": 1.0 - rates["wer"]}

    return measure


def _masks(classes: Sequence[str], scores: Floats) -> Metrics:
    """Every measure's mean over the cases in which it is defined: for every class, and the mean over classes."""

    def measure(weights: Floats) -> dict[str, Floats]:
        found = {}
        for place, name in enumerate(MEASURES[: scores.shape[2]]):
            own = [metrics.mean_defined(scores[:, k, place], weights) for k in range(scores.shape[1])]
            found[name] = metrics.macro(own)
            found |= {f"{name}_{label}": value for label, value in zip(classes[1:], own, strict=True)}
        return found

    return measure


def _regression(truth: Floats, guess: Floats) -> Metrics:
    def measure(weights: Floats) -> dict[str, Floats]:
        return {
            "mae": metrics.mean_absolute_error(truth, guess, weights),
            "rmse": metrics.root_mean_squared_error(truth, guess, weights),
            "r2": metrics.r2(truth, guess, weights),
        }

    return measure


def _plain(number: float) -> float | None:
    return None if math.isnan(number) else number
