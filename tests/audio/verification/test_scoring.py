"""Error rates and costs against direct sweeps over all thresholds, and intervals by speaker."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graftwork.audio.verification.scoring import (
    Calibration,
    Counts,
    DetectionCost,
    calibrate,
    cllr,
    count,
    equal_error_rate,
    evaluate_scores,
    min_cllr,
    min_detection_cost,
)
from graftwork.core.errors import SettingsError

TRIALS = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=40).filter(
    lambda trials: len({same for _, same in trials}) == 2
)


def arrays(trials: list[tuple[int, bool]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([score for score, _ in trials], dtype=float), np.array([same for _, same in trials])


def sweep(scores: np.ndarray, same: np.ndarray) -> list[tuple[float, float]]:
    """(miss, false alarm) at every threshold, by comparing."""
    return [(float((scores[same] < t).mean()), float((scores[~same] >= t).mean()))
            for t in [*sorted(set(scores.tolist())), np.inf]]  # fmt: skip


@given(TRIALS)
def test_the_least_cost_is_that_of_a_direct_sweep(trials: list[tuple[int, bool]]) -> None:
    scores, same = arrays(trials)
    for cost in (DetectionCost(), DetectionCost(0.5), DetectionCost(0.05, 10.0, 2.0)):
        costs = [cost.c_miss * cost.p_target * miss + cost.c_false_alarm * (1 - cost.p_target) * alarm
                 for miss, alarm in sweep(scores, same)]  # fmt: skip
        least = min(cost.c_miss * cost.p_target, cost.c_false_alarm * (1 - cost.p_target))
        assert min_detection_cost(count(scores, same), cost) == pytest.approx(min(costs) / least)


@given(TRIALS)
def test_the_equal_error_rate_lies_on_the_line_between_two_thresholds(trials: list[tuple[int, bool]]) -> None:
    scores, same = arrays(trials)
    points = sweep(scores, same)
    found = equal_error_rate(count(scores, same))
    for (miss, alarm), (more, fewer) in itertools.pairwise(points):
        if miss <= alarm and more >= fewer:
            share = np.linspace(0, 1, 20001)
            line = np.stack([miss + share * (more - miss), alarm + share * (fewer - alarm)])
            assert found == pytest.approx(line[:, np.abs(line[0] - line[1]).argmin()].mean(), abs=1e-3)
            return
    raise AssertionError("no crossing")


@settings(deadline=None)  # scikit-learn is imported at the first use
@given(TRIALS)
def test_no_increasing_change_of_the_scores_costs_fewer_bits(trials: list[tuple[int, bool]]) -> None:
    scores, same = arrays(trials)
    counts = count(scores, same)
    best = min_cllr(counts)
    assert -1e-9 <= best <= 1 + 1e-9
    rng = np.random.default_rng(0)
    for _ in range(20):
        changed = Counts(np.sort(rng.normal(0, 3, len(counts.levels))), counts.targets, counts.others)
        assert cllr(changed) >= best - 1e-9


def test_cost_in_bits_by_the_formula() -> None:
    ratios, same = np.array([2.0, -1.0, 0.5, -3.0]), np.array([True, True, False, False])
    expected = 0.5 * (np.log2(1 + np.exp(-ratios[same])).mean() + np.log2(1 + np.exp(ratios[~same])).mean())
    assert cllr(count(ratios, same)) == pytest.approx(expected)
    assert cllr(count(np.zeros(4), same)) == pytest.approx(1.0)
    assert min_cllr(count(np.array([3.0, 2.0, 1.0, 0.0]), same)) == pytest.approx(0.0)


def test_calibrated_gaussian_scores_are_log_likelihood_ratios() -> None:
    """Two Gaussians of variance v at +-m: the ratio is 2 m / v times the score."""
    rng = np.random.default_rng(0)
    same = rng.random(40000) < 0.1
    scores = 5 + 0.1 * rng.normal(size=40000) + np.where(same, 0.1, -0.1)
    found = calibrate(scores, same)
    assert found.scale == pytest.approx(20.0, rel=0.05)
    assert found.scale * 5 + found.offset == pytest.approx(0.0, abs=0.1)
    ratios = found.ratios(scores)
    assert cllr(count(ratios, same)) == pytest.approx(min_cllr(count(scores, same)), abs=0.02)


def test_probability_and_threshold_agree() -> None:
    calibration, cost = Calibration(2.0, -1.0), DetectionCost(0.2, 1.0, 3.0)
    score = (cost.threshold() + 1.0) / 2.0
    accept = calibration.probability(score, 0.2)
    assert accept * cost.c_miss == pytest.approx((1 - accept) * cost.c_false_alarm)


@pytest.mark.parametrize("targets", [[True, True], [False, False]])
def test_one_kind_of_trial_alone_is_refused(targets: list[bool]) -> None:
    with pytest.raises(SettingsError, match="both kinds of trials"):
        count(np.array([0.1, 0.2]), np.array(targets))


def test_scores_that_are_not_finite_and_costs_that_make_no_sense_are_refused() -> None:
    with pytest.raises(SettingsError, match="1 of 2 scores are not finite"):
        count(np.array([0.1, np.nan]), np.array([True, False]))
    with pytest.raises(SettingsError, match="p_target between 0 and 1"):
        DetectionCost(1.0)


def trials_of(speakers: int, clips: int, spread: float) -> tuple[np.ndarray, np.ndarray, tuple[list[str], list[str]]]:
    rng = np.random.default_rng(1)
    who = np.repeat(np.arange(speakers), clips)
    voices = rng.normal(size=(speakers, 8))[who] + spread * rng.normal(size=(len(who), 8))
    voices /= np.linalg.norm(voices, axis=1, keepdims=True)
    first, second = np.triu_indices(len(who), 1)
    names = ([f"s{one}" for one in who[first]], [f"s{one}" for one in who[second]])
    return (voices[first] * voices[second]).sum(1), who[first] == who[second], names


def test_speakers_are_resampled_with_all_their_trials() -> None:
    """Against a resample written out: clips of drawn speakers copied, pairs of two copies of a speaker left out."""
    scores, same, names = trials_of(6, 4, 0.8)
    found = evaluate_scores(scores, same, names, resamples=40, seed=3)
    rng = np.random.default_rng(3)
    expected = []
    numbers = np.array([[int(name[1:]) for name in side] for side in names])
    for _ in range(40):
        often = np.bincount(rng.integers(0, 6, 6), minlength=6)
        times = [often[a] if a == b else often[a] * often[b] for a, b in numbers.T]
        copied = np.repeat(np.arange(len(scores)), times)
        if 0 < same[copied].sum() < len(copied):
            expected.append(equal_error_rate(count(scores[copied], same[copied])))
    low, high = np.quantile(expected, [0.025, 0.975])
    assert (found.eer.low, found.eer.high) == pytest.approx((low, high))
    assert found.speakers == 6
    assert found.targets == 6 * 6


def test_few_speakers_make_wide_intervals() -> None:
    few, many = (evaluate_scores(*trials_of(count_, 6, 1.0)[:2], trials_of(count_, 6, 1.0)[2], resamples=200)
                 for count_ in (5, 40))  # fmt: skip
    assert few.eer.high - few.eer.low > 1.5 * (many.eer.high - many.eer.low)


def test_rounding_of_many_scores_for_intervals_changes_little(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, same, names = trials_of(12, 8, 0.8)
    exact = evaluate_scores(scores, same, names, resamples=50)
    monkeypatch.setattr("graftwork.audio.verification.scoring.RESAMPLED_LEVELS", 1000)
    rounded = evaluate_scores(scores, same, names, resamples=50)
    assert rounded.eer.value == exact.eer.value
    assert rounded.eer.low == pytest.approx(exact.eer.low, abs=2e-3)
    assert rounded.min_dcf.high == pytest.approx(exact.min_dcf.high, abs=2e-2)
