"""Intervals by speaker: against values written out without each speaker, and how often they hold the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from graftwork.audio.verification import speaker_jackknife as module
from graftwork.audio.verification.evaluation import ENDS, Verification, evaluate_scores
from graftwork.audio.verification.scoring import DetectionCost, count, equal_error_rate, min_detection_cost
from graftwork.audio.verification.speaker_jackknife import (
    Ends,
    speaker_blocks,
    speaker_interval,
    speaker_numbers,
    without_each_speaker,
)
from graftwork.core.metrics.intervals import LeftOut

Drawn = tuple[np.ndarray, np.ndarray, tuple[list[str], list[str]]]


def trials_of(speakers: int, clips: int, spread: float, seed: int = 1) -> Drawn:
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(speakers), clips)
    voices = rng.normal(size=(speakers, 8))[who] + spread * rng.normal(size=(len(who), 8))
    voices /= np.linalg.norm(voices, axis=1, keepdims=True)
    first, second = np.triu_indices(len(who), 1)
    names = ([f"s{one}" for one in who[first]], [f"s{one}" for one in who[second]])
    return (voices[first] * voices[second]).sum(1), who[first] == who[second], names


def evaluated(drawn: Drawn, cost: DetectionCost | None = None) -> Verification:
    scores, same, names = drawn
    return evaluate_scores(scores, same, names, ratios=8 * scores - 5, cost=cost)


def test_a_speaker_is_left_out_with_the_trials_of_both_sides() -> None:
    scores, same, names = trials_of(11, 4, 0.8)
    sides = np.array(names)
    measures = {"eer": equal_error_rate, "dcf": lambda counts: min_detection_cost(counts, DetectionCost(0.1))}
    found = without_each_speaker(scores, same, speaker_numbers(names), measures)
    order = np.unique(sides)
    for name, measure in measures.items():
        assert found.values[name] == pytest.approx(measure(count(scores, same)))
        for place, speaker in enumerate(order):
            kept = (sides != speaker).all(axis=0)
            assert found.without[name][place] == pytest.approx(measure(count(scores[kept], same[kept])))


def test_many_speakers_are_left_out_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_UNITS", 5)
    blocks = speaker_blocks(40)
    assert np.bincount(blocks).tolist() == [8] * 5
    scores, same, names = trials_of(40, 3, 0.8)
    numbers = speaker_numbers(names)
    found = without_each_speaker(scores, same, numbers, {"eer": equal_error_rate}).without["eer"]
    assert len(found) == 5
    kept = (blocks[numbers] != 3).all(axis=0)
    assert found[3] == pytest.approx(equal_error_rate(count(scores[kept], same[kept])))


def test_rounding_of_many_scores_changes_intervals_little(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = trials_of(14, 8, 0.8)
    exact = evaluated(drawn)
    monkeypatch.setattr(module, "LEVELS", 1000)
    rounded = evaluated(drawn)
    assert rounded.eer.value == exact.eer.value
    assert rounded.eer.low == pytest.approx(exact.eer.low, rel=0.1)
    assert rounded.eer.high == pytest.approx(exact.eer.high, rel=0.1)


def test_ends_are_students_on_the_logit_and_move_out_by_skewness_and_bias() -> None:
    """Values without each of twelve speakers, one of whom carries much; by the formulas."""
    value, units = 0.1, 12
    without = np.full(units, 0.101)
    without[0], without[1] = 0.06, 0.09
    left = LeftOut({"eer": value}, {"eer": without}, np.arange(units), np.arange(units))
    squares = (without - without.mean()) ** 2
    error = math.sqrt((units - 1) / units * squares.sum()) / (value * (1 - value))
    freedom = min(units - 1, max(1, 2 / (((squares / squares.sum()) ** 2).sum() - 1 / units)))
    half = stats.t.ppf(0.975, freedom) * error
    place = math.log(value / (1 - value))
    moved = without.mean() - without
    skewness = (moved**3).sum() / (moved**2).sum() ** 1.5 / 6 * (2 * stats.norm.ppf(0.975) ** 2 + 1) * error
    unbiased = units * value - (units - 1) * without.mean()
    bias = math.log(unbiased / (1 - unbiased)) - place
    assert skewness > 0
    assert bias > 0
    for ends, upper in ((Ends(), half), (Ends(skewed=True), half + skewness),
                        (Ends(skewed=True, chosen=True), half + skewness + bias)):  # fmt: skip
        found = speaker_interval(left, "eer", ends)
        assert math.log(found.low / (1 - found.low)) == pytest.approx(place - half)
        assert math.log(found.high / (1 - found.high)) == pytest.approx(place + upper)
    assert "upper end moved by skewness and bias" in found.method


def test_without_any_error_the_interval_is_wilsons_with_as_many_rows_as_speakers() -> None:
    found = evaluated(trials_of(12, 4, 0.01))
    assert found.eer.value == 0
    z = stats.t.ppf(0.975, 11)
    assert (found.eer.low, found.eer.high) == (0.0, pytest.approx(z**2 / (12 + z**2)))
    assert "Wilson" in found.eer.method


def test_less_than_one_error_counts_as_none() -> None:
    """One false alarm above one of the targets: the crossing lies between two thresholds, at less than one error."""
    scores, same, names = trials_of(12, 4, 0.01)
    scores = scores.copy()
    scores[np.flatnonzero(~same)[5]] = np.sort(scores[same])[0] + 1e-9
    found = evaluated((scores, same, names)).eer
    z = stats.t.ppf(0.975, 11)
    assert 0 < found.value < 1 / same.sum()
    assert (found.low, found.high) == (0.0, pytest.approx(z**2 / (12 + z**2)))


def test_few_speakers_have_no_interval_and_the_reason() -> None:
    found = evaluated(trials_of(9, 6, 1.0))
    for name in ENDS:
        interval = getattr(found, name)
        assert math.isnan(interval.low)
        assert interval.method == "fewer than 10 speakers"
    assert found.to_json()["eer"] == {"value": found.eer.value, "low": None, "high": None,
                                      "method": "fewer than 10 speakers"}  # fmt: skip


def test_unknown_speakers_have_no_interval_and_the_reason() -> None:
    scores, same, _ = trials_of(12, 4, 1.0)
    found = evaluate_scores(scores, same)
    assert found.speakers is None
    assert math.isnan(found.eer.high)
    assert found.eer.method == "speakers are not known"


def test_costs_that_hang_on_few_trials_have_no_interval_and_the_reason() -> None:
    found = evaluated(trials_of(12, 4, 0.5), DetectionCost(0.01))
    assert "one false alarm is 0.09 of it" in found.min_dcf.method  # of 1056: 99 / 1056
    assert not math.isnan(evaluated(trials_of(12, 4, 0.5), DetectionCost(0.05)).min_dcf.low)
    assert evaluated(trials_of(12, 8, 0.2)).min_cllr.method == "below 0.1 it hangs on few trials"
    assert evaluated(trials_of(20, 8, 3.0)).min_dcf.method == "above 0.9 it hangs on few trials"


def test_one_speaker_who_alone_has_a_second_clip_leaves_no_interval() -> None:
    scores, same, names = trials_of(12, 2, 0.8)
    others = np.array(names)[0] != np.array(names)[1]
    kept = others | (np.array(names)[0] == "s3")
    found = evaluate_scores(scores[kept], same[kept], tuple(np.array(side)[kept].tolist() for side in names))
    assert found.eer.method == "one of the speakers alone carries a kind of trial"


def test_more_speakers_make_narrower_intervals() -> None:
    few, many = (evaluated(trials_of(speakers, 6, 1.0)).eer for speakers in (10, 60))
    assert few.high - few.low > 1.5 * (many.high - many.low)


@pytest.mark.long(reason="simulates hundreds of trials")
@pytest.mark.slow(reason="simulates some hundred sets of trials")
@pytest.mark.parametrize("speakers", [10, 20])
def test_intervals_of_an_eer_hold_it_as_often_as_they_say(speakers: int) -> None:
    truth = np.mean([equal_error_rate(count(*trials_of(150, 5, 1.0, seed)[:2])) for seed in range(20)])
    held = []
    for seed in range(150):
        scores, same, names = trials_of(speakers, 5, 1.0, 1000 + seed)
        left = without_each_speaker(scores, same, speaker_numbers(names), {"eer": equal_error_rate})
        found = speaker_interval(left, "eer", ENDS["eer"])
        held.append(found.low <= truth <= found.high)
    assert stats.binomtest(sum(held), len(held), 0.95).pvalue > 1e-3
    assert np.mean(held) < 1
