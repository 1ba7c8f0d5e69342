"""Metrics of verification scores: EER, minDCF, actual DCF, Cllr and minCllr with intervals by speaker."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftwork.audio.verification.scoring import (
    Counts,
    DetectionCost,
    actual_detection_cost,
    cllr,
    count,
    equal_error_rate,
    min_cllr,
    min_detection_cost,
)
from graftwork.audio.verification.speaker_jackknife import (
    WILSON,
    Ends,
    Measure,
    speaker_interval,
    speaker_numbers,
    without_each_speaker,
)
from graftwork.core.metrics.intervals import Interval
from graftwork.core.metrics.scales import wilson

Floats = NDArray[np.float64]

ENDS = {
    "eer": Ends(skewed=True, chosen=True),
    "min_dcf": Ends(most=0.9),
    "min_cllr": Ends(skewed=True, chosen=True, least=0.1),
    "cllr": Ends(bounded=False, skewed=True, least=0.1),
    "act_dcf": Ends(bounded=False),
}
"""How the interval of every metric is made: what `examples/benchmarks/verification_coverage.py` decides."""

COARSE = 0.05
"""Share of the cost that one false alarm may be; where it is more, no interval of minDCF covers."""


@dataclass(frozen=True)
class Verification:
    """eer, min_dcf, min_cllr, and of calibrated scores cllr and act_dcf (None without): values with intervals, or why
    they have none. trials, targets: how many. speakers: how many were left out in turn, None where they are not
    known."""

    eer: Interval
    min_dcf: Interval
    min_cllr: Interval
    cllr: Interval | None
    act_dcf: Interval | None
    cost: DetectionCost
    trials: int
    targets: int
    speakers: int | None

    def to_json(self) -> dict[str, Any]:
        """Plain values; the ends of an interval that there is not are None, with the reason as its method."""
        measured = {name: getattr(self, name) for name in ENDS}
        return {name: None if one is None else plain_interval(one) for name, one in measured.items()} | {
            "about": {"trials": self.trials, "targets": self.targets, "speakers": self.speakers,
                      "cost": asdict(self.cost)}
        }  # fmt: skip


def plain_interval(interval: Interval) -> dict[str, Any]:
    """Plain values: what is undefined is None."""
    return {part: None if math.isnan(getattr(interval, part)) else getattr(interval, part)
            for part in ("value", "low", "high")} | {"method": interval.method}  # fmt: skip


def evaluate_scores(
    scores: Floats,
    targets: NDArray[np.bool_],
    speakers: tuple[Sequence[str], Sequence[str]] | None = None,
    *,
    ratios: Floats | None = None,
    cost: DetectionCost | None = None,
) -> Verification:
    """Metrics of the scores.

    scores, targets (trials,): higher for the same speaker, and whether it is the same. speakers: of both sides of every
    trial; intervals leave out each speaker in turn with all their trials. ratios (trials,): calibrated log-likelihood
    ratios, for Cllr and the actual DCF. Raises SettingsError where one kind of trial is missing.

    >>> evaluate_scores(np.array([0.9, 0.4, 0.5, 0.1]), np.array([True, True, False, False])).eer.value
    0.5
    """
    cost = cost or DetectionCost()
    same = np.asarray(targets, dtype=bool)
    of_scores: dict[str, Measure] = {
        "eer": equal_error_rate,
        "min_dcf": lambda counts: min_detection_cost(counts, cost),
        "min_cllr": min_cllr,
    }
    of_ratios: dict[str, Measure] = {"cllr": cllr, "act_dcf": lambda counts: actual_detection_cost(counts, cost)}
    numbers = None if speakers is None else speaker_numbers(speakers)
    found = _measured(np.asarray(scores, dtype=np.float64), same, numbers, of_scores)
    found["eer"] = _if_hardly_any(found["eer"], int(same.sum()), numbers)
    found["min_dcf"] = _unless_coarse(found["min_dcf"], int((~same).sum()), cost)
    if ratios is not None:
        found |= _measured(np.asarray(ratios, dtype=np.float64), same, numbers, of_ratios)
    return Verification(**{name: found.get(name) for name in ENDS}, cost=cost,  # type: ignore[arg-type]
                        trials=len(same), targets=int(same.sum()),
                        speakers=None if numbers is None else int(numbers.max()) + 1)  # fmt: skip


def _measured(
    values: Floats, same: NDArray[np.bool_], speakers: NDArray[np.int64] | None, measures: dict[str, Measure]
) -> dict[str, Interval]:
    if speakers is None:
        counts: Counts = count(values, same)
        return {name: Interval(measure(counts), math.nan, math.nan, "speakers are not known")
                for name, measure in measures.items()}  # fmt: skip
    left = without_each_speaker(values, same, speakers, measures)
    return {name: speaker_interval(left, name, ENDS[name]) for name in measures}


def _if_hardly_any(eer: Interval, targets: int, speakers: NDArray[np.int64] | None) -> Interval:
    """The interval of no errors where there is less than one among the targets, between two thresholds: what varies
    then says nothing."""
    if math.isnan(eer.low) or eer.value * targets >= 1 or speakers is None:
        return eer
    units = int(speakers.max()) + 1
    low, high = wilson(0.0, 0.0, units - 1, units)
    return Interval(eer.value, low, high, WILSON)


def _unless_coarse(min_dcf: Interval, others: int, cost: DetectionCost) -> Interval:
    """Without an interval where one false alarm more moves the cost in a leap."""
    at_miss, at_false_alarm = cost.c_miss * cost.p_target, cost.c_false_alarm * (1 - cost.p_target)
    leap = at_false_alarm / others / min(at_miss, at_false_alarm)
    if math.isnan(min_dcf.low) or leap <= COARSE:
        return min_dcf
    reason = f"too few non-target trials: one false alarm is {leap:.2f} of it"
    return Interval(min_dcf.value, math.nan, math.nan, reason)
