"""Error rates and costs against direct sweeps over all thresholds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


@given(TRIALS)
def test_the_actual_cost_is_that_of_accepting_at_bayes_threshold(trials: list[tuple[int, bool]]) -> None:
    scores, same = arrays(trials)
    for cost in (DetectionCost(), DetectionCost(0.5), DetectionCost(0.05, 10.0, 2.0)):
        accepted = scores >= cost.threshold()
        spent = (cost.c_miss * cost.p_target * (~accepted[same]).mean()
                 + cost.c_false_alarm * (1 - cost.p_target) * accepted[~same].mean())  # fmt: skip
        least = min(cost.c_miss * cost.p_target, cost.c_false_alarm * (1 - cost.p_target))
        found = actual_detection_cost(count(scores, same), cost)
        assert found == pytest.approx(spent / least)
        assert found >= min_detection_cost(count(scores, same), cost) - 1e-12


@pytest.mark.parametrize("targets", [[True, True], [False, False]])
def test_one_kind_of_trial_alone_is_refused(targets: list[bool]) -> None:
    with pytest.raises(SettingsError, match="both kinds of trials"):
        count(np.array([0.1, 0.2]), np.array(targets))


def test_scores_that_are_not_finite_and_costs_that_make_no_sense_are_refused() -> None:
    with pytest.raises(SettingsError, match="1 of 2 scores are not finite"):
        count(np.array([0.1, np.nan]), np.array([True, False]))
    with pytest.raises(SettingsError, match="p_target between 0 and 1"):
        DetectionCost(1.0)
