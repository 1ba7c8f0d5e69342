"""Error rates and costs of verification scores from one sort: EER, minDCF, actual DCF, Cllr and minCllr.

Scores (trials,) are any numbers that are higher for the same speaker; targets (trials,) are True where the speakers are
the same. Everything counts trials by weights, so that the same code serves all trials and those that leave some out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graftwork.core.errors import SettingsError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class DetectionCost:
    """The operating point at which decisions are evaluated and made.

    p_target: prior of a target trial, between 0 and 1; c_miss, c_false_alarm: costs of the two errors, above 0. Raises
    SettingsError for others.
    """

    p_target: float = 0.01
    c_miss: float = 1.0
    c_false_alarm: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.p_target < 1 or self.c_miss <= 0 or self.c_false_alarm <= 0:
            raise SettingsError(
                "expected p_target between 0 and 1 and costs above 0, found "
                f"p_target {self.p_target}, c_miss {self.c_miss}, c_false_alarm {self.c_false_alarm}"
            )

    def threshold(self) -> float:
        """Log-likelihood ratio (natural logarithm) from which on accepting costs less (Bayes' decision)."""
        return float(np.log(self.c_false_alarm * (1 - self.p_target) / (self.c_miss * self.p_target)))


@dataclass(frozen=True, eq=False)
class Counts:
    """Trials by level of score, from the lowest: levels (n,), and the weight of targets and others at each (n,)."""

    levels: Floats
    targets: Floats
    others: Floats


def count(scores: Floats, targets: NDArray[np.bool_]) -> Counts:
    """Equal scores together. Raises SettingsError where one kind of trial is missing or a score is not finite."""
    values, same = np.asarray(scores, dtype=np.float64), np.asarray(targets, dtype=bool)
    if not np.isfinite(values).all():
        raise SettingsError(f"{int((~np.isfinite(values)).sum())} of {len(values)} scores are not finite")
    if same.all() or not same.any():
        kind = "target (same speaker)" if not same.any() else "non-target (different speakers)"
        raise SettingsError(f"error rates need both kinds of trials; there is no {kind} trial among {len(same)}")
    order = np.argsort(values)
    sorted_values = values[order]
    first = np.flatnonzero(np.concatenate([[True], sorted_values[1:] != sorted_values[:-1]]))
    positive = np.add.reduceat(same[order].astype(np.float64), first)
    every = np.diff(np.append(first, len(values))).astype(np.float64)
    return Counts(sorted_values[first], positive, every - positive)


def error_rates(counts: Counts) -> tuple[Floats, Floats]:
    """Share of targets below, and of the others at or above, each level and beyond the highest: (n + 1,) each."""
    miss = np.concatenate([[0.0], np.cumsum(counts.targets)]) / counts.targets.sum()
    false_alarm = 1.0 - np.concatenate([[0.0], np.cumsum(counts.others)]) / counts.others.sum()
    return miss, np.clip(false_alarm, 0.0, 1.0)


def equal_error_rate(counts: Counts) -> float:
    """Where misses equal false alarms, on the straight lines between neighbouring thresholds; 0 to 1."""
    miss, false_alarm = error_rates(counts)
    place = int(np.argmax(miss >= false_alarm))
    before = false_alarm[place - 1] - miss[place - 1]
    after = miss[place] - false_alarm[place]
    share = before / (before + after)
    return float(miss[place - 1] + share * (miss[place] - miss[place - 1]))


def min_detection_cost(counts: Counts, cost: DetectionCost) -> float:
    """Least cost of any threshold, divided by that of accepting all or none, whichever is less (NIST SRE); 0 to 1."""
    miss, false_alarm = error_rates(counts)
    at_miss, at_false_alarm = cost.c_miss * cost.p_target, cost.c_false_alarm * (1 - cost.p_target)
    return float((at_miss * miss + at_false_alarm * false_alarm).min() / min(at_miss, at_false_alarm))


def actual_detection_cost(counts: Counts, cost: DetectionCost) -> float:
    """Cost of accepting where Bayes' decision is to accept, divided as minDCF is (NIST SRE); above 1 it is worse than
    accepting all or none. The levels are natural log-likelihood ratios."""
    accepted = counts.levels >= cost.threshold()
    miss = counts.targets[~accepted].sum() / counts.targets.sum()
    false_alarm = counts.others[accepted].sum() / counts.others.sum()
    at_miss, at_false_alarm = cost.c_miss * cost.p_target, cost.c_false_alarm * (1 - cost.p_target)
    return float((at_miss * miss + at_false_alarm * false_alarm) / min(at_miss, at_false_alarm))


def cllr(counts: Counts) -> float:
    """Cost of the log-likelihood ratios themselves, in bits (Brümmer and du Preez 2006, equation 8).

    The levels are natural log-likelihood ratios. 0 is perfect, 1 is as good as saying nothing, above 1 is misleading.
    """
    return _cost_in_bits(counts, counts.levels)


def min_cllr(counts: Counts) -> float:
    """Cllr after the best increasing change of the scores, found by pooling adjacent violators (ibid., section 5)."""
    from sklearn.isotonic import isotonic_regression

    every = counts.targets + counts.others
    there = every > 0
    share = isotonic_regression(counts.targets[there] / every[there], sample_weight=every[there])
    prior = np.log(counts.targets.sum() / counts.others.sum())
    with np.errstate(divide="ignore"):
        ratios = np.log(share) - np.log1p(-share) - prior
    return _cost_in_bits(Counts(ratios, counts.targets[there], counts.others[there]), ratios)


def _cost_in_bits(counts: Counts, ratios: Floats) -> float:
    def mean(weights: Floats, signed: Floats) -> float:
        chosen = weights > 0  # a level without such trials may be infinite
        return float((weights[chosen] * np.logaddexp(0.0, signed[chosen])).sum() / weights.sum())

    return (mean(counts.targets, -ratios) + mean(counts.others, ratios)) / (2.0 * math.log(2.0))
