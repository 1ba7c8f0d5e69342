"""Where to cut scores: thresholds by what they have to reach, and what deciding by them is worth.

Decision curves are those of Vickers and Elkin (2006).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Rule = Literal["sensitivity", "specificity", "youden"]

CURVE = tuple(round(0.01 * step, 2) for step in range(1, 100))
"""Threshold probabilities of a decision curve."""


@dataclass(frozen=True)
class OperatingPoint:
    """positive: number of the class that a probability of at least `threshold` decides for. rule, least: what the
    threshold had to reach, on the rows that it was chosen on."""

    positive: int
    threshold: float
    rule: Rule
    least: float | None = None

    def __str__(self) -> str:
        return "the largest Youden index" if self.rule == "youden" else f"{self.rule} of at least {self.least:g}"

    def decide(self, probabilities: Floats) -> NDArray[np.int64]:
        """The class (rows,) that every row of probabilities (rows, classes) is decided for: the positive one, or the
        likeliest of the others."""
        others = probabilities.copy()
        others[:, self.positive] = -1.0
        chosen: NDArray[np.int64] = np.where(probabilities[:, self.positive] >= self.threshold, self.positive,
                                             others.argmax(1)).astype(np.int64)  # fmt: skip
        return chosen


def choose_threshold(scores: Floats, positive: NDArray[np.bool_], rule: Rule, least: float | None = None) -> float:
    """The threshold, 0 to 1, of scores (rows,) by a rule: the highest that finds a share `least` of the positive rows,
    the lowest that spares such a share of the others, or that of the largest sum of both (Youden 1950).

    It lies half-way between two neighbouring scores. Raises ValueError unless there are rows of both kinds.
    """
    if positive.all() or not positive.any():
        raise ValueError("expected positive rows and others")
    levels = np.unique(scores)
    cuts = np.concatenate(
        [[min(0.0, levels[0])], (levels[:-1] + levels[1:]) / 2, [max(1.0, np.nextafter(levels[-1], 2))]]
    )
    above = len(scores) - np.searchsorted(np.sort(scores), cuts)
    found = positive.sum() - np.searchsorted(np.sort(scores[positive]), cuts)
    sensitivity = found / positive.sum()
    specificity = 1 - (above - found) / (~positive).sum()
    slack = 1e-12
    if rule == "sensitivity":
        return float(cuts[np.flatnonzero(sensitivity >= (least or 0.0) - slack)[-1]])
    if rule == "specificity":
        return float(cuts[np.flatnonzero(specificity >= (least or 0.0) - slack)[0]])
    return float(cuts[int((sensitivity + specificity).argmax())])


def net_benefit(decided: NDArray[np.bool_], positive: NDArray[np.bool_], odds: Floats, weights: Floats) -> Floats:
    """True positives less false ones at these odds (rows,), a row: of decisions and truth (rows,) under weights
    (weightings, rows) -> (weightings,)."""
    gain = (decided & positive).astype(np.float64) - (decided & ~positive) * odds
    value: Floats = weights @ gain / weights.sum(1)
    return value


def decision_curve(scores: Floats, positive: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """The net benefit of deciding by probabilities (rows,), and of calling all rows positive, at every threshold
    probability; that of calling none positive is 0."""
    once, everywhere = np.ones((1, len(scores))), np.ones(len(scores), dtype=bool)
    return [{"threshold": level,
             "net_benefit": float(net_benefit(scores >= level, positive, odds, once)[0]),
             "treat_all": float(net_benefit(everywhere, positive, odds, once)[0])}
            for level in CURVE for odds in [np.full(len(scores), level / (1 - level))]]  # fmt: skip
