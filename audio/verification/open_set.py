"""Who of several enrolled speakers, if any of them: profiles without the clip in question, and how often they are
right.

Every clip is compared with every speaker's profile. Its own speaker's is made of that speaker's other clips, so that no
clip meets itself. Once the clip counts as of an enrolled speaker, and once, with its speaker's profile left out, as of
a stranger.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graftwork.audio.verification.scoring import DetectionCost
from graftwork.audio.verification.speaker_jackknife import Ends, speaker_blocks, speaker_interval
from graftwork.audio.verification.verifier import Vectors, unit
from graftwork.core.metrics.intervals import Interval, LeftOut

Floats = NDArray[np.float64]

COUNTS = (2, 3, 5, 10, 20, 50)
"""Numbers of clips whose averages are compared with clips, as far as speakers have more."""

FALSE_ALARM_RATES = (0.01, 0.1)

MOST_TRIALS = 1_000_000

MISSED = Ends()
"""How the interval of what is not identified is made."""

LEAST_SPEAKERS = 2
"""With fewer whose profiles can be made, there is nothing to compare."""


@dataclass(frozen=True, eq=False)
class ProfileTrials:
    """Every clip against a profile of every speaker who has clips enough.

    scores (clips, profiles): cosines. clip_speakers (clips,), profile_speakers (profiles,): numbers of speakers. names:
    of these numbers. clips: how many the profiles were averaged from.
    """

    scores: Floats
    clip_speakers: NDArray[np.int64]
    profile_speakers: NDArray[np.int64]
    names: tuple[str, ...]
    clips: int

    @property
    def targets(self) -> NDArray[np.bool_]:
        """(clips, profiles)."""
        found: NDArray[np.bool_] = self.clip_speakers[:, None] == self.profile_speakers
        return found

    def sides(self) -> tuple[list[str], list[str]]:
        """The speakers of both sides of every trial, clip by clip."""
        names = np.asarray(self.names)
        return (np.repeat(names[self.clip_speakers], len(self.profile_speakers)).tolist(),
                np.tile(names[self.profile_speakers], len(self.clip_speakers)).tolist())  # fmt: skip


def profile_trials(vectors: Vectors, speakers: Sequence[str], clips: int) -> ProfileTrials | None:
    """Every clip's unit vector (n, dim) against speakers averaged from so many clips; None where fewer than two
    speakers have more clips than that.

    Which clips are averaged goes round with the clip in question: those behind its own, or from its number on. Of more
    than a million trials, so many clips as make them, evenly taken, are compared.
    """
    names, numbers = np.unique(np.asarray(speakers), return_inverse=True)
    members = [np.flatnonzero(numbers == speaker) for speaker in range(len(names))]
    enrolled = np.array([place for place, own in enumerate(members) if len(own) > clips], dtype=np.int64)
    if len(enrolled) < LEAST_SPEAKERS:
        return None
    step = -(-len(numbers) * len(enrolled) // MOST_TRIALS)
    rows = np.arange(0, len(numbers), step)
    scores = np.empty((len(rows), len(enrolled)))
    for column, speaker in enumerate(enrolled):
        own = members[speaker]
        begin = np.arange(len(numbers)) % len(own)
        begin[own] = np.arange(len(own)) + 1
        # A profile for every clip of the speaker at which it can begin.
        profiles = unit(np.stack([vectors[own[(start + np.arange(clips)) % len(own)]].mean(axis=0)
                                  for start in range(len(own))]))  # fmt: skip
        scores[:, column] = np.einsum("ij,ij->i", vectors[rows], profiles[begin[rows] % len(own)])
    return ProfileTrials(scores, numbers[rows], enrolled, tuple(map(str, names)), clips)


@dataclass(frozen=True)
class Detection:
    """Detection and identification rate at a false-alarm rate. rate: 0 to 1, with its interval. false_alarm_rate: share
    of strangers who may be taken for somebody. threshold: the score from which on no more are."""

    false_alarm_rate: float
    rate: Interval
    threshold: float


def detection_rates(trials: ProfileTrials, rates: Sequence[float] = FALSE_ALARM_RATES) -> tuple[Detection, ...]:
    """DIR at each false-alarm rate (Phillips, Grother and Micheals 2011, "Evaluation methods in face recognition",
    21.3; NIST's 1 - FNIR at FPIR): share of clips of enrolled speakers whose own profile is the most alike, with a
    score at or above the threshold that this share of the strangers reaches. Intervals leave out each speaker in turn,
    as stranger, as who is sought, and from those enrolled.
    """
    blocks = speaker_blocks(len(trials.names))
    whole = [_missed(*best_scores(trials, None), rate) for rate in rates]
    without: list[list[float]] = [[] for _ in rates]
    for block in range(int(blocks.max()) + 1):
        known, strangers = best_scores(trials, blocks == block)
        for found, rate in zip(without, rates, strict=True):
            found.append(_missed(known, strangers, rate)[0])
    rows = []
    for rate, (missed, threshold), found in zip(rates, whole, without, strict=True):
        left = LeftOut({"missed": missed}, {"missed": np.asarray(found)}, np.arange(len(blocks)), blocks)
        one = speaker_interval(left, "missed", MISSED)
        rows.append(Detection(rate, Interval(1 - one.value, 1 - one.high, 1 - one.low, one.method), threshold))
    return tuple(rows)


def best_scores(trials: ProfileTrials, absent: NDArray[np.bool_] | None) -> tuple[Floats, Floats]:
    """The score of every clip of an enrolled speaker, -inf where another profile is more alike, and the highest score
    of every clip with its own speaker left out. absent (speakers,): who is left out altogether."""
    columns = np.ones(len(trials.profile_speakers), dtype=bool) if absent is None else ~absent[trials.profile_speakers]
    rows = np.ones(len(trials.clip_speakers), dtype=bool) if absent is None else ~absent[trials.clip_speakers]
    scores = trials.scores[np.ix_(rows, columns)]
    same = trials.targets[np.ix_(rows, columns)]
    highest_other = np.where(same, -np.inf, scores).max(axis=1, initial=-np.inf)
    own = np.where(same, scores, -np.inf).max(axis=1, initial=-np.inf)
    enrolled = same.any(axis=1)
    return np.where(own > highest_other, own, -np.inf)[enrolled], highest_other


def _missed(known: Floats, strangers: Floats, false_alarm_rate: float) -> tuple[float, float]:
    """Share of `known` that is not identified, and the threshold: the lowest that at most this share of the strangers
    reaches."""
    strangers = strangers[np.isfinite(strangers)]
    if not len(known) or not len(strangers):
        return math.nan, math.nan
    allowed = int(false_alarm_rate * len(strangers) + 1e-9)
    highest = np.sort(strangers)[::-1]
    threshold = float(np.nextafter(highest[allowed], np.inf)) if allowed < len(highest) else -math.inf
    return float((known < threshold).mean()), threshold


def posteriors(ratios: Floats, p_known: float) -> tuple[Floats, Floats]:
    """Probabilities (clips, speakers) that a clip is of each enrolled speaker, and (clips,) that it is of none.

    ratios (clips, speakers): log-likelihood ratios of each speaker against anybody else. p_known: the prior that the
    clip is of an enrolled speaker, shared alike among them. By Bayes' rule with as many hypotheses as speakers and one
    more (open-set identification: Singer and Reynolds 2004; Brümmer and van Leeuwen 2006): with more speakers each has
    to be more alike, as the best of many strangers is.
    """
    each = ratios + math.log(p_known / ratios.shape[1])
    none = np.full((len(ratios), 1), math.log1p(-p_known))
    together = np.concatenate([each, none], axis=1)
    together = np.exp(together - together.max(axis=1, keepdims=True))
    together /= together.sum(axis=1, keepdims=True)
    return together[:, :-1], together[:, -1]


def named(probabilities: Floats, none: Floats, cost: DetectionCost) -> NDArray[np.bool_]:
    """Whether naming the most probable speaker is expected to cost no more than calling the clip unknown, (clips,).

    A clip of an enrolled speaker that is called unknown costs c_miss, a wrong name c_false_alarm, whoever it is.
    """
    found: NDArray[np.bool_] = cost.c_false_alarm * (1 - probabilities.max(axis=1)) <= cost.c_miss * (1 - none)
    return found
