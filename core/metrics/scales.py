"""The scale on which a metric's interval is made, one record a kind of metric, and which metric has which."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

TAIL = 0.975

Ends = Callable[[float, float, float, int], tuple[float, float]]
"""Value, variance, degrees of freedom, units -> ends of the 95 % interval."""


Freedom = Literal["units", "classes", "spread"]
"""Degrees of freedom from the number of units, from the numbers of units of each class, or from how unequally the units
carry the variance."""


@dataclass(frozen=True)
class Scale:
    """How an interval is made from a value and its variance.

    said: for records and reports. units: below so many no interval covers; least: the same of the rarest class. of_all:
    whether a metric that is perfect is as sure as all units make it, or as those of the rarest class. certain: whether
    there is an interval where nothing varies: of shares, of which units still tell how sure they are, and of
    differences of predictions that are the same.
    """

    said: str
    ends: Ends
    freedom: Freedom = "spread"
    units: int = 2
    least: int = 0
    of_all: bool = True
    certain: bool = False


def _quantile(freedom: float, comparisons: int = 1) -> float:
    from scipy.stats import t

    return float(t.ppf(1 - (1 - TAIL) / comparisons, freedom))


def wilson(value: float, variance: float, freedom: float, units: int) -> tuple[float, float]:
    """Wilson's (1927) interval with as many rows as would give a share this variance (Korn and Graubard 1998), and with
    `units` where it has none."""
    inside = 0 < value < 1 and variance > 0
    rows = value * (1 - value) / variance if inside else units
    z = _quantile(freedom if inside else max(units - 1, 1))
    middle = (value + z**2 / (2 * rows)) / (1 + z**2 / rows)
    half = z / (1 + z**2 / rows) * float(np.sqrt(value * (1 - value) / rows + z**2 / (4 * rows**2)))
    return max(0.0, middle - half), min(1.0, middle + half)


def logit(value: float, variance: float, freedom: float, units: int) -> tuple[float, float]:
    """Student's t on the logit; Wilson's at 0 and 1, and where nothing varies."""
    if not 0 < value < 1 or variance == 0:
        return wilson(value, 0.0, freedom, units)
    place, half = np.log(value / (1 - value)), _quantile(freedom) * np.sqrt(variance) / (value * (1 - value))
    low, high = (1 / (1 + np.exp(-end)) for end in (place - half, place + half))
    return float(low), float(high)


def logarithm(value: float, variance: float, freedom: float, units: int) -> tuple[float, float]:
    """Student's t on the logarithm of what is above 0; NaN at 0."""
    if value <= 0:
        return math.nan, math.nan
    factor = float(np.exp(_quantile(freedom) * np.sqrt(variance) / value))
    return value / factor, value * factor


def rest_to_one(value: float, variance: float, freedom: float, units: int) -> tuple[float, float]:
    """Student's t on the logarithm of what is missing to 1; NaN at 1."""
    low, high = logarithm(1 - value, variance, freedom, units)
    return 1 - high, 1 - low


def fisher(value: float, variance: float, freedom: float, units: int) -> tuple[float, float]:
    """Student's t on Fisher's z, of what lies between -1 and 1; NaN at both."""
    if abs(value) >= 1:
        return math.nan, math.nan
    half = _quantile(freedom) * np.sqrt(variance) / (1 - value**2)
    return float(np.tanh(np.arctanh(value) - half)), float(np.tanh(np.arctanh(value) + half))


def itself(value: float, variance: float, freedom: float, units: int) -> tuple[float, float]:
    """Student's t on the value itself."""
    half = _quantile(freedom) * float(np.sqrt(variance))
    return value - half, value + half


def largest_of(comparisons: int) -> Ends:
    """Student's t on the value itself, wide enough for so many intervals to hold together (Bonferroni), and so for the
    largest value."""

    def ends(value: float, variance: float, freedom: float, units: int) -> tuple[float, float]:
        half = _quantile(freedom, comparisons) * float(np.sqrt(variance))
        return value - half, value + half

    return ends


def above_zero(value: float, variance: float, freedom: float, units: int) -> tuple[float, float]:
    """The same, cut at 0."""
    low, high = itself(value, variance, freedom, units)
    return max(0.0, low), high


RANKING = Scale("logit, t with Satterthwaite's degrees of freedom by class", logit, "classes", least=4, of_all=False,
                certain=True)  # fmt: skip
SHARE = Scale("Wilson with the effective number of rows", wilson, "units", certain=True)
MEAN_OF_SHARES = Scale("Wilson with the effective number of rows, by class", wilson, "classes", least=4, of_all=False,
                       certain=True)  # fmt: skip
PROPORTION = Scale("logit, t", logit, certain=True)
POSITIVE = Scale("logarithm, t", logarithm)
BELOW_ONE = Scale("logarithm of the rest to 1, t", rest_to_one)
AGREEMENT = Scale("Fisher's z, t", fisher)
FROM_ZERO = Scale("t, cut at 0", above_zero, "units", units=100)
DIFFERENCE = Scale("t", itself, certain=True)


def largest_difference(comparisons: int) -> Scale:
    """The scale of the largest of so many differences."""
    return Scale(f"t, the largest of {comparisons} (Bonferroni)" if comparisons > 1 else "t", largest_of(comparisons),
                 certain=True)  # fmt: skip


SCALES = {
    "auroc": RANKING, "average_precision": RANKING,
    "accuracy": SHARE, "balanced_accuracy": MEAN_OF_SHARES, "f1": MEAN_OF_SHARES,
    "brier": POSITIVE, "ece": FROM_ZERO, "quadratic_kappa": AGREEMENT,
    "mae": POSITIVE, "rmse": POSITIVE, "r2": BELOW_ONE,
    "dice": PROPORTION, "false_positive": PROPORTION, "hd95_mm": POSITIVE, "surface_distance_mm": POSITIVE,
    "wer": POSITIVE, "cer": POSITIVE, "word_accuracy": BELOW_ONE,
}  # fmt: skip
"""Scale of every metric by its name; a metric of one label or class has that name and an underscore before it."""


def find_scale(name: str) -> Scale:
    """The scale of a metric, also of one label or class. Raises KeyError for a metric of no kind."""
    known = [metric for metric in SCALES if name == metric or name.startswith(f"{metric}_")]
    if not known:
        raise KeyError(name)
    return SCALES[max(known, key=len)]
