"""Sets of classes that hold the true one as often as asked for, whatever the model's probabilities are like.

Class-conditional conformal prediction (Vovk 2012) with whole groups as what is exchangeable: every group of a class has
the same weight, however many rows it has, as in hierarchical conformal prediction (Dunn et al. 2022; Lee et al. 2023).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MOST_POINTS = 1000
"""Quantiles that are kept of each class."""


@dataclass(frozen=True, eq=False)
class Conformal:
    """curves: of each class rising scores (1 less the probability of the true class) and the weight up to each, below
    1: what is missing stands for the row to come."""

    curves: tuple[tuple[Floats, Floats], ...]

    def limit(self, place: int, alpha: float) -> float:
        """The largest score with which a class is in the set, infinite where it has too few groups for so small an
        alpha."""
        scores, weight = self.curves[place]
        reached = np.flatnonzero(weight >= 1 - alpha - 1e-12)
        return float(scores[reached[0]]) if len(reached) else math.inf

    def sets(self, probabilities: Floats, alpha: float) -> NDArray[np.bool_]:
        """Which classes are in the set of every row, (rows, classes), of probabilities of that shape; the true one is
        left out of at most a share `alpha`, 0 to 1, of the rows of each class."""
        limits = np.array([self.limit(place, alpha) for place in range(len(self.curves))])
        inside: NDArray[np.bool_] = 1 - probabilities <= limits + 1e-12
        return inside

    def to_json(self) -> list[list[list[float]]]:
        """Plain values."""
        return [[[float(one) for one in part] for part in curve] for curve in self.curves]


def conformal_from_json(record: Any) -> Conformal:
    """What `Conformal.to_json` has written. Raises TypeError or ValueError for anything else."""
    curves = tuple((np.asarray(scores, dtype=np.float64), np.asarray(weight, dtype=np.float64))
                   for scores, weight in record)  # fmt: skip
    if any(scores.shape != weight.shape or scores.ndim != 1 for scores, weight in curves):
        raise ValueError("expected scores and weights of the same length")
    return Conformal(curves)


def fit_conformal(
    probabilities: Floats, truth: NDArray[np.int64], groups: Sequence[Hashable] | None = None
) -> Conformal:
    """The curves of probabilities (rows, classes) that were not fitted to these rows, of classes (rows,)."""
    numbers: dict[Hashable, int] = {}
    keys: Sequence[Hashable] = range(len(truth)) if groups is None else groups
    unit = np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)
    return Conformal(tuple(_curve(1 - probabilities[truth == place, place], unit[truth == place])
                           for place in range(probabilities.shape[1])))  # fmt: skip


def _curve(scores: Floats, unit: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Rising scores and the weight up to each, of the rows of one class; at most `MOST_POINTS` of them."""
    names, counts = np.unique(unit, return_counts=True)
    share = dict(zip(names.tolist(), (1 / (len(names) + 1) / counts).tolist(), strict=True))
    order = np.argsort(scores, kind="stable")
    weight = np.cumsum([share[one] for one in unit[order].tolist()])
    rising = scores[order]
    last = np.append(rising[1:] != rising[:-1], True)[: len(rising)]  # of equal scores the last has the weight of all
    rising, weight = rising[last], weight[last]
    if len(rising) > MOST_POINTS:
        # The last of each share of the weight is kept: limits become larger, never smaller.
        kept = np.unique(np.searchsorted(weight, np.linspace(0, weight[-1], MOST_POINTS + 1)[1:] - 1e-12))
        rising, weight = rising[kept], weight[kept]
    return rising, weight
