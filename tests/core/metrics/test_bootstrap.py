"""Intervals against a direct loop over the same draws."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from graftwork.core.metrics.bootstrap import Interval, bootstrap, draws
from graftwork.core.metrics.scores import ranking


def mean_of(values):
    return lambda weights: {"mean": weights @ values / weights.sum(1)}


@pytest.mark.parametrize("groups", [None, [row // 4 for row in range(40)]])
def test_intervals_equal_a_loop_that_repeats_the_drawn_rows(groups):
    rng = np.random.default_rng(0)
    truth = rng.random(40) < 0.4
    scores = np.round(rng.random(40) + truth, 1)
    found = bootstrap(lambda w: {"auroc": ranking(truth, scores, w)[0]}, 40, groups, resamples=200, seed=3)["auroc"]
    loop = []
    for counts in np.concatenate(list(draws(40, groups, 200, 3, 50))):
        rows = np.repeat(np.arange(40), counts.astype(int))
        loop.append(roc_auc_score(truth[rows], scores[rows]))
    low, high = np.percentile(loop, [2.5, 97.5])
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert found.value == pytest.approx(roc_auc_score(truth, scores))


def test_draws_do_not_depend_on_the_size_of_the_chunks():
    whole = np.concatenate(list(draws(11, None, 50, 7, 50)))
    parts = np.concatenate(list(draws(11, None, 50, 7, 3)))
    np.testing.assert_array_equal(whole, parts)
    assert (whole.sum(1) == 11).all()


def test_groups_are_drawn_whole_and_as_many_as_there_are():
    groups = np.array(list("aabbbcdddd"))
    drawn = np.concatenate(list(draws(10, groups, 100, 0, 33)))
    for name in "abcd":
        members = drawn[:, groups == name]
        assert (members == members[:, :1]).all()
    first = drawn[:, [0, 2, 5, 6]]
    assert (first.sum(1) == 4).all()


def test_every_row_is_drawn_equally_often():
    total = np.concatenate(list(draws(20, None, 4000, 1, 500))).mean(0)
    np.testing.assert_allclose(total, 1, atol=0.1)


def test_rows_that_resemble_each_other_widen_the_interval_of_groups():
    values = np.repeat(np.random.default_rng(0).normal(size=20), 10)
    rows = bootstrap(mean_of(values), 200, resamples=500)["mean"]
    groups = bootstrap(mean_of(values), 200, [row // 10 for row in range(200)], resamples=500)["mean"]
    assert (groups.high - groups.low) > 2 * (rows.high - rows.low)


def test_the_interval_of_a_mean_is_about_two_standard_errors():
    values = np.random.default_rng(5).normal(size=400)
    found = bootstrap(mean_of(values), 400)["mean"]
    error = values.std() / 20
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)


def test_undefined_resamples_are_left_out_and_an_undefined_value_has_no_interval():
    truth, scores = np.array([True, False, False, False]), np.array([0.9, 0.1, 0.2, 0.3])
    found = bootstrap(lambda w: {"auroc": ranking(truth, scores, w)[0]}, 4)["auroc"]
    assert (found.value, found.low, found.high) == (1, 1, 1)
    none = bootstrap(lambda w: {"auroc": ranking(~truth | truth, scores, w)[0]}, 4)["auroc"]
    assert np.isnan([none.value, none.low, none.high]).all()
    assert str(none) == "undefined"
    assert str(Interval(0.5, 0.25, 0.75)) == "0.500 [0.250, 0.750]"


@pytest.mark.parametrize(("rows", "groups"), [(1, None), (6, ["one"] * 6)])
def test_what_cannot_be_resampled_has_no_interval(rows, groups):
    found = bootstrap(mean_of(np.arange(rows, dtype=float)), rows, groups)["mean"]
    assert found.value == (rows - 1) / 2
    assert np.isnan([found.low, found.high]).all()
    assert str(found) == f"{found.value:.3f} (no interval)"
