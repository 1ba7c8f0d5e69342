"""Verification measured again without each speaker in turn: every trial that touches the speaker is left out.

Trials are dyadic data: each has a speaker on both sides, so that two trials depend on each other where they share one,
on whatever side. Leaving out rows, or speakers of one side, would take them for independent. Leaving out speakers with
all their trials is the jackknife of a statistic of pairs (Arvesen 1969; for networks Snijders and Borgatti 1999).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graftwork.audio.verification.scoring import Counts, count
from graftwork.core.metrics.intervals import MOST_UNITS, ROUNDING, Interval, LeftOut, spread
from graftwork.core.metrics.scales import TAIL, wilson

Floats = NDArray[np.float64]
Measure = Callable[[Counts], float]

LEAST_SPEAKERS = 10
"""Below so many no interval was found that covers (`docs/explained/intervals.md`)."""

WILSON = "Wilson with as many rows as speakers"
"""The method where nothing varies."""

LEVELS = 4096
"""What is left out is measured on scores rounded to so many quantiles; values themselves are never rounded."""


def speaker_numbers(sides: tuple[Sequence[str], Sequence[str]]) -> NDArray[np.int64]:
    """(2, trials) numbers from 0 of the speakers of both sides."""
    _, numbers = np.unique(np.concatenate([np.asarray(side) for side in sides]), return_inverse=True)
    found: NDArray[np.int64] = numbers.reshape(2, -1)
    return found


def speaker_blocks(speakers: int) -> NDArray[np.int64]:
    """The number (speakers,) of what every speaker is left out with: alone, or of more than 1000 in one of 500 blocks
    drawn by chance."""
    if speakers <= 2 * MOST_UNITS:
        return np.arange(speakers)
    return np.random.default_rng(0).permutation(speakers) % MOST_UNITS


def without_each_speaker(
    scores: Floats, targets: NDArray[np.bool_], speakers: NDArray[np.int64], measures: Mapping[str, Measure]
) -> LeftOut:
    """Every measure of all trials, and without each speaker's, or of more than 1000 speakers without blocks of them.

    scores, targets (trials,); speakers (2, trials) numbers from 0. NaN where one kind of trial is not left.
    """
    blocks = speaker_blocks(int(speakers.max()) + 1)
    levels = np.unique(scores)
    if len(levels) > LEVELS:
        levels = np.unique(np.quantile(scores, np.linspace(0, 1, LEVELS), method="lower"))
    # Targets behind the others, so that one count serves both.
    place = np.searchsorted(levels, scores, side="right") - 1 + np.where(targets, len(levels), 0)
    every = np.bincount(place, minlength=2 * len(levels))
    rows = _trials_of_blocks(blocks[speakers])
    without: dict[str, list[float]] = {name: [] for name in measures}
    for own in rows:
        rest = (every - np.bincount(place[own], minlength=2 * len(levels))).astype(np.float64)
        counts = Counts(levels, rest[len(levels) :], rest[: len(levels)])
        defined = counts.targets.sum() > 0 and counts.others.sum() > 0
        for name, measure in measures.items():
            without[name].append(measure(counts) if defined else np.nan)
    whole = count(scores, targets)
    values = {name: measure(whole) for name, measure in measures.items()}
    return LeftOut(values, {name: np.asarray(found) for name, found in without.items()},
                   np.arange(len(blocks)), blocks)  # fmt: skip


def _trials_of_blocks(blocks: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Numbers of the trials that touch each block, once each; blocks (2, trials)."""
    alike = blocks[0] == blocks[1]
    trials = np.concatenate([np.arange(blocks.shape[1]), np.flatnonzero(~alike)])
    touched = np.concatenate([blocks[0], blocks[1][~alike]])
    order = np.argsort(touched, kind="stable")
    return np.split(trials[order], np.cumsum(np.bincount(touched))[:-1])


@dataclass(frozen=True)
class Ends:
    """How the ends of a metric's interval are found from its values without each speaker.

    bounded: whether it lies between 0 and 1, so that its logit is taken and not its logarithm. skewed: whether the
    upper end moves out by the skewness of what speakers contribute, where few carry most of the errors. chosen:
    whether it moves out by the jackknife's bias as well, as of a metric whose threshold was chosen on the same trials.
    least, most: values below and above which no interval covers.
    """

    bounded: bool = True
    skewed: bool = False
    chosen: bool = False
    least: float = 0.0
    most: float = math.inf

    @property
    def said(self) -> str:
        """For records and reports."""
        moved = " and ".join(["skewness"] * self.skewed + ["bias"] * self.chosen)
        scale = "logit" if self.bounded else "logarithm"
        return f"jackknife over speakers, {scale}, t" + f", upper end moved by {moved}" * bool(moved)


def speaker_interval(left: LeftOut, name: str, ends: Ends) -> Interval:
    """A metric's value with its 95 % interval, or with the reason why there is none.

    On the scale f of the metric its error s is the jackknife's, by the delta method; the ends are f - t s and f + (t +
    a (2 z^2 + 1)) s, with Student's t and the sixth a of the skewness of the mean of what speakers contribute (Johnson
    1978; Hall 1992, 3.8), where it is positive: few speakers with most of the errors are missed by many samples. Where
    nothing varies, or at 0 and 1, Wilson's (1927) with as many rows as speakers.
    """
    value, without = left.values[name], left.without[name]
    units = len(left.unit)

    def none(reason: str) -> Interval:
        return Interval(value, math.nan, math.nan, reason)

    if math.isnan(value):
        return none("")
    if units < LEAST_SPEAKERS:
        return none(f"fewer than {LEAST_SPEAKERS} speakers")
    if np.isnan(without).any():
        return none("one of the speakers alone carries a kind of trial")
    if value < ends.least:
        return none(f"below {ends.least:g} it hangs on few trials")
    if value > ends.most:
        return none(f"above {ends.most:g} it hangs on few trials")
    variance, freedom = spread(without, None, "spread")
    if variance <= ROUNDING * value**2 or (ends.bounded and not 0 < value < 1) or value <= 0:
        if not ends.bounded:
            return none("nothing varies")
        low, high = wilson(value, 0.0, units - 1, units)
        return Interval(value, low, high, WILSON)
    from scipy.stats import norm, t

    place = _forward(value, ends.bounded)
    error = math.sqrt(variance) / (value * (1 - value) if ends.bounded else value)
    below = above = float(t.ppf(TAIL, freedom)) * error
    if ends.skewed:
        moved = without.mean() - without
        sixth = float((moved**3).sum() / (moved**2).sum() ** 1.5) / 6
        above += max(0.0, sixth) * (2 * float(norm.ppf(TAIL)) ** 2 + 1) * error
    if ends.chosen:
        unbiased = len(without) * value - (len(without) - 1) * float(without.mean())
        above += max(0.0, _forward(min(unbiased, 0.999), ends.bounded) - place) if unbiased > value else 0.0
    return Interval(value, _back(place - below, ends.bounded), _back(place + above, ends.bounded), ends.said)


def _forward(value: float, bounded: bool) -> float:
    return math.log(value / (1 - value)) if bounded else math.log(value)


def _back(place: float, bounded: bool) -> float:
    if not bounded:
        return math.exp(min(place, 700.0))
    return 1 / (1 + math.exp(-place)) if place > -700 else 0.0
