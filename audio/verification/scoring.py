"""What verification scores are worth: EER, minDCF, Cllr and minCllr from one sort, with intervals by speaker.

Scores (trials,) are any numbers that are higher for the same speaker; targets (trials,) are True where the speakers are
the same. Everything counts trials by weights, so that the same code serves the plain value and every resample.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graftwork.core.errors import SettingsError
from graftwork.core.metrics.intervals import LEVEL, Interval

Floats = NDArray[np.float64]
Measure = Callable[["Counts"], float]

RESAMPLES = 500
RESAMPLED_LEVELS = 4096
"""For intervals, scores are rounded to so many quantiles; values themselves are never rounded."""


@dataclass(frozen=True)
class DetectionCost:
    """p_target: prior of a target trial, between 0 and 1; c_miss, c_false_alarm: costs of the two errors, above 0."""

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


@dataclass(frozen=True)
class Calibration:
    """Log-likelihood ratio = scale * score + offset (natural logarithm)."""

    scale: float
    offset: float

    def ratios(self, scores: Floats) -> Floats:
        """Log-likelihood ratios of scores (trials,)."""
        return self.scale * np.asarray(scores, dtype=np.float64) + self.offset

    def probability(self, score: float, p_target: float = 0.5) -> float:
        """Probability that the speakers are the same, if `p_target` of all trials were."""
        odds = self.scale * score + self.offset + np.log(p_target / (1 - p_target))
        return float(1.0 / (1.0 + np.exp(-odds)))


def calibrate(scores: Floats, targets: NDArray[np.bool_]) -> Calibration:
    """Logistic regression of targets on scores in which both kinds of trials weigh alike: its logit is then the
    log-likelihood ratio (Brümmer and du Preez 2006). A little shrinkage keeps it finite for separable scores."""
    from sklearn.linear_model import LogisticRegression

    values, same = np.asarray(scores, dtype=np.float64), np.asarray(targets, dtype=bool)
    centre, spread = float(values.mean()), float(values.std()) or 1.0
    model = LogisticRegression(C=1.0 / max(1e-3, 1.0 / len(values)), class_weight="balanced")
    model.fit(((values - centre) / spread)[:, None], same)
    scale = float(model.coef_[0, 0]) / spread
    return Calibration(scale, float(model.intercept_[0]) - scale * centre)


@dataclass(frozen=True)
class Verification:
    """eer, min_dcf, min_cllr, and cllr (of calibrated scores, None without): values with intervals. trials, targets:
    how many. speakers: how many were resampled, None where they are not known, and with them the intervals."""

    eer: Interval
    min_dcf: Interval
    min_cllr: Interval
    cllr: Interval | None
    cost: DetectionCost
    trials: int
    targets: int
    speakers: int | None


def evaluate_scores(
    scores: Floats,
    targets: NDArray[np.bool_],
    speakers: tuple[Sequence[str], Sequence[str]] | None = None,
    *,
    ratios: Floats | None = None,
    cost: DetectionCost | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Verification:
    """What the scores are worth; speakers: of both sides of every trial, by which intervals are drawn.

    ratios: calibrated log-likelihood ratios (trials,), for Cllr. Speakers are drawn with replacement: a trial between
    two speakers counts as often as both were drawn, times each other; one of a speaker with himself as often as he
    was. (Two copies of one speaker would be a trial that is neither.)
    """
    cost = cost or DetectionCost()
    same = np.asarray(targets, dtype=bool)
    measures: dict[str, Measure] = {
        "eer": equal_error_rate,
        "min_dcf": lambda one: min_detection_cost(one, cost),
        "min_cllr": min_cllr,
    }
    values = {name: (np.asarray(scores, dtype=np.float64), measure) for name, measure in measures.items()}
    if ratios is not None:
        values["cllr"] = (np.asarray(ratios, dtype=np.float64), cllr)
    drawn = None if speakers is None else _speaker_numbers(speakers)
    found: dict[str, Interval] = {}
    for own in {id(numbers): numbers for numbers, _ in values.values()}.values():
        named = {name: measure for name, (numbers, measure) in values.items() if numbers is own}
        counts = count(own, same)
        plain = {name: measure(counts) for name, measure in named.items()}
        resampled = {} if drawn is None else _resampled(own, same, drawn, named, resamples, seed)
        for name, value in plain.items():
            low, high = (np.nan, np.nan) if drawn is None else _ends(resampled[name])
            found[name] = Interval(value, float(low), float(high))
    return Verification(found["eer"], found["min_dcf"], found["min_cllr"], found.get("cllr"), cost, len(same),
                        int(same.sum()), None if drawn is None else int(drawn.max()) + 1)  # fmt: skip


def _ends(values: Floats) -> tuple[float, float]:
    defined = values[~np.isnan(values)]
    if not len(defined):
        return np.nan, np.nan
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _speaker_numbers(speakers: tuple[Sequence[str], Sequence[str]]) -> NDArray[np.int64]:
    """(2, trials) numbers from 0."""
    _, numbers = np.unique(np.concatenate([np.asarray(side) for side in speakers]), return_inverse=True)
    found: NDArray[np.int64] = numbers.reshape(2, -1)
    return found


def _resampled(
    scores: Floats,
    same: NDArray[np.bool_],
    speakers: NDArray[np.int64],
    measures: Mapping[str, Measure],
    resamples: int,
    seed: int,
) -> dict[str, Floats]:
    """Values of every resample; NaN where a resample has one kind of trial only."""
    levels = np.unique(scores)
    if len(levels) > RESAMPLED_LEVELS:
        levels = np.unique(np.quantile(scores, np.linspace(0, 1, RESAMPLED_LEVELS), method="lower"))
    place = np.searchsorted(levels, scores, side="right") - 1
    # Targets behind the others, so that one count serves both.
    place = np.where(same, place + len(levels), place)
    first, second = speakers
    alike = first == second
    generator = np.random.default_rng(seed)
    total = int(speakers.max()) + 1
    found: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(resamples):
        often = np.bincount(generator.integers(0, total, total), minlength=total).astype(np.float32)
        weights = np.where(alike, often[first], often[first] * often[second])
        by_level = np.bincount(place, weights=weights, minlength=2 * len(levels))
        counts = Counts(levels, by_level[len(levels) :].astype(np.float64), by_level[: len(levels)].astype(np.float64))
        defined = counts.targets.sum() > 0 and counts.others.sum() > 0
        for name, measure in measures.items():
            found[name].append(measure(counts) if defined else np.nan)
    return {name: np.asarray(values) for name, values in found.items()}
