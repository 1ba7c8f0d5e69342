"""Probabilities made to mean what they say: a temperature or isotonic steps, kept only where held-out rows are better.

Temperature scaling is that of Guo et al. (2017), isotonic regression scikit-learn's, slope and intercept Cox's (1958).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from graftwork.core.metrics.intervals import Metrics

Floats = NDArray[np.float64]
Kind = Literal["none", "temperature", "isotonic"]

LEAST = 1e-7
"""Probabilities are at least this before their logarithm is taken."""
LONGEST = 1.0
"""Newton's steps are at most this long."""
STEEPEST = 40.0
"""A slope above this is of classes that are told perfectly, and is no number."""


@dataclass(frozen=True)
class Recalibration:
    """kind: "temperature" divides logarithms by `temperature`; "isotonic" maps the second of two probabilities by the
    rising line through `points`; "none" changes nothing."""

    kind: Kind = "none"
    temperature: float = 1.0
    points: tuple[tuple[float, float], ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        return f"temperature {self.temperature:.3g}" if self.kind == "temperature" else self.kind

    def apply(self, probabilities: Floats) -> Floats:
        """Recalibrated probabilities (rows, classes)."""
        if self.kind == "none":
            return probabilities
        if self.kind == "temperature":
            return tempered(probabilities, self.temperature)
        given, mapped = zip(*self.points, strict=True)
        second = np.interp(probabilities[:, 1], given, mapped)
        return np.stack([1 - second, second], axis=1)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"kind": self.kind, "temperature": self.temperature, "points": [list(one) for one in self.points]}


def recalibration_from_json(record: dict[str, Any]) -> Recalibration:
    """What `Recalibration.to_json` has written. Raises KeyError, TypeError or ValueError for anything else."""
    kind = record["kind"]
    if kind not in ("none", "temperature", "isotonic"):
        raise ValueError(f"no such recalibration: {kind!r}")
    return Recalibration(kind, float(record["temperature"]),
                         tuple((float(given), float(mapped)) for given, mapped in record["points"]))  # fmt: skip


def tempered(probabilities: Floats, temperature: float) -> Floats:
    """Softmax of logarithms divided by the temperature, (rows, classes)."""
    logits = np.log(probabilities.clip(LEAST)) / temperature
    powers = np.exp(logits - logits.max(1, keepdims=True))
    divided: Floats = powers / powers.sum(1, keepdims=True)
    return divided


def log_losses(probabilities: Floats, truth: NDArray[np.int64]) -> Floats:
    """Minus the logarithm of the true class' probability, (rows,)."""
    losses: Floats = -np.log(probabilities[np.arange(len(truth)), truth].clip(LEAST))
    return losses


def fit_recalibration(kind: Kind, probabilities: Floats, truth: NDArray[np.int64]) -> Recalibration:
    """The recalibration of that kind that fits probabilities (rows, classes) to the classes (rows,) best. Raises
    ValueError for isotonic steps of other than two classes."""
    if kind == "temperature":
        from scipy.optimize import minimize_scalar

        best = minimize_scalar(lambda power: log_losses(tempered(probabilities, float(np.exp(power))), truth).mean(),
                               bounds=(-3.0, 3.0), method="bounded")  # fmt: skip
        return Recalibration("temperature", temperature=float(np.exp(best.x)))
    if kind == "isotonic":
        from sklearn.isotonic import IsotonicRegression

        if probabilities.shape[1] != 2:
            raise ValueError(f"isotonic steps are for two classes, found {probabilities.shape[1]}")
        # Steps of 0 and 1 would be surer than so many rows can be.
        edge = 1 / (len(truth) + 2)
        steps = IsotonicRegression(y_min=edge, y_max=1 - edge, out_of_bounds="clip")
        fitted = steps.fit(probabilities[:, 1], truth == 1)
        points = zip(fitted.X_thresholds_.tolist(), fitted.y_thresholds_.tolist(), strict=True)
        return Recalibration("isotonic", points=tuple(points))
    return Recalibration()


def choose_recalibration(
    kinds: Sequence[Kind], probabilities: Floats, truth: NDArray[np.int64], folds: NDArray[np.int64]
) -> Recalibration:
    """Of these kinds the one with the lowest log loss on folds (rows,) that it was not fitted on, fitted on all rows;
    "none" unless that is lower than unchanged by a standard error of the difference over folds at least."""
    before = log_losses(probabilities, truth)
    best, lowest = Recalibration(), 0.0
    for kind in kinds:
        if kind == "isotonic" and probabilities.shape[1] != 2:
            continue
        after = np.zeros(len(truth))
        for fold in np.unique(folds):
            own = folds == fold
            fitted = fit_recalibration(kind, probabilities[~own], truth[~own])
            after[own] = log_losses(fitted.apply(probabilities[own]), truth[own])
        by_fold = np.array([(after - before)[folds == fold].mean() for fold in np.unique(folds)])
        change, error = float((after - before).mean()), float(by_fold.std(ddof=1) / np.sqrt(len(by_fold)))
        if change < lowest and change < -error:
            best, lowest = fit_recalibration(kind, probabilities, truth), change
    return best


def calibration_line(scores: Floats, positive: NDArray[np.bool_]) -> Metrics:
    """Slope and intercept of a logistic regression of the truth on the log odds of probabilities (rows,): 1 and 0 where
    they mean what they say; a slope below 1 where they are too sure. The intercept is that of slope 1, "calibration in
    the large". NaN where the classes are told perfectly."""
    chance = scores.clip(LEAST, 1 - LEAST)
    logits, truth = np.log(chance / (1 - chance)), positive.astype(np.float64)

    def measure(weights: Floats) -> dict[str, Floats]:
        return {"calibration_slope": _newton(logits, truth, weights, sloped=True),
                "calibration_intercept": _newton(logits, truth, weights, sloped=False)}  # fmt: skip

    return measure


def _newton(logits: Floats, truth: Floats, weights: Floats, *, sloped: bool) -> Floats:
    """The slope, or the intercept of slope 1, of weighted logistic regressions (weightings,), by Newton's steps."""
    intercept, slope = np.zeros(len(weights)), np.full(len(weights), 0.0 if sloped else 1.0)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for _ in range(50):
            chance = 1 / (1 + np.exp(-(intercept[:, None] + slope[:, None] * logits)))
            rest, curve = weights * (truth - chance), weights * chance * (1 - chance)
            a, b, c = curve.sum(1), curve @ logits, curve @ logits**2
            first, second = rest.sum(1), rest @ logits
            if sloped:
                determinant = a * c - b**2
                step = np.stack([(c * first - b * second) / determinant, (a * second - b * first) / determinant])
            else:
                step = np.stack([first / a, np.zeros(len(weights))])
            # A step that is too long would leap over the solution.
            step *= np.minimum(1.0, LONGEST / np.abs(step).max(0).clip(1e-12))
            intercept, slope = intercept + step[0], slope + step[1]
            if np.nanmax(np.abs(step), initial=0.0) < 1e-9:
                break
    found = slope if sloped else intercept
    wrong = ~np.isfinite(found) | (np.abs(found) > STEEPEST) | ~(np.abs(step).max(0) < 1e-4)
    return np.where(wrong, np.nan, found)
