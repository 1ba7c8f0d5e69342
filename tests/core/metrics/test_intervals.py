"""Intervals against direct computations, other libraries, and simulations of what they promise."""

import numpy as np
import pytest
from scipy import stats
from scipy.stats import binomtest, norm
from sklearn.metrics import roc_auc_score

from graftwork.core.metrics import intervals as module
from graftwork.core.metrics.intervals import (
    Interval,
    fewest_of_a_class,
    intervals,
    kinds_of_blocks,
    leave_out,
)
from graftwork.core.metrics.scales import BELOW_ONE, DIFFERENCE
from graftwork.core.metrics.scores import ranking


def mean_of(values, name="mae"):
    return lambda weights: {name: weights @ values / np.maximum(weights.sum(1), 1.0)}


def auroc_of(truth, scores):
    return lambda weights: {"auroc": ranking(truth, scores, weights)[0]}


def by_truth(*classes):
    return lambda name: classes


@pytest.mark.parametrize("groups", [None, [row % 7 for row in range(40)]])
def test_each_row_or_group_is_left_out_in_turn(groups):
    rng = np.random.default_rng(0)
    truth = rng.random(40) < 0.4
    scores = np.round(rng.random(40) + truth, 1)
    found = leave_out(auroc_of(truth, scores), 40, groups)
    units = np.arange(40) if groups is None else np.asarray(groups)
    expected = [roc_auc_score(truth[units != unit], scores[units != unit]) for unit in dict.fromkeys(units.tolist())]
    np.testing.assert_allclose(found.without["auroc"], expected)
    assert found.values["auroc"] == pytest.approx(roc_auc_score(truth, scores))


def test_the_interval_of_a_difference_of_means_is_students(monkeypatch):
    values = np.random.default_rng(5).normal(size=30)
    found = intervals(mean_of(values), 30, scale=DIFFERENCE)["mae"]
    expected = stats.t.interval(0.95, 29, values.mean(), stats.sem(values))
    # Degrees of freedom come from how the rows carry the variance, at most all but one.
    assert found.high - found.low == pytest.approx(expected[1] - expected[0], rel=0.02)
    monkeypatch.setattr(module, "_CHUNK_CELLS", 70)
    assert intervals(mean_of(values), 30, scale=DIFFERENCE)["mae"] == found


def delong(truth, scores, groups):
    """Variance of the AUROC by DeLong's components summed by cluster (Obuchowski 1997), written out pair by pair."""
    positive, negative = np.flatnonzero(truth), np.flatnonzero(~truth)
    wins = (scores[positive][:, None] > scores[negative]) + (scores[positive][:, None] == scores[negative]) / 2
    auroc, clusters = wins.mean(), np.unique(groups)
    first, second = np.zeros(len(clusters)), np.zeros(len(clusters))
    for place, cluster in enumerate(clusters):
        first[place] = (wins.mean(1) - auroc)[groups[positive] == cluster].sum()
        second[place] = (wins.mean(0) - auroc)[groups[negative] == cluster].sum()
    m, n = len(positive), len(negative)
    with_positive, with_negative = len(np.unique(groups[positive])), len(np.unique(groups[negative]))
    both = len(clusters) / (len(clusters) - 1) * (first * second).sum() if len(clusters) > 1 else 0.0
    return (with_positive / (with_positive - 1) * (first**2).sum() / m**2
            + with_negative / (with_negative - 1) * (second**2).sum() / n**2 + 2 * both / (m * n))  # fmt: skip


@pytest.mark.parametrize("clusters", [None, 25], ids=["rows", "groups of both classes"])
def test_the_variance_of_an_auroc_is_about_delongs(clusters):
    rng = np.random.default_rng(1)
    truth = rng.random(200) < 0.3
    own = np.arange(200) if clusters is None else np.arange(200) % clusters
    scores = rng.normal(size=200) + truth + rng.normal(size=200)[own]
    left = leave_out(auroc_of(truth, scores), 200, None if clusters is None else own.tolist()).without["auroc"]
    variance = (len(left) - 1) / len(left) * ((left - left.mean()) ** 2).sum()
    assert variance == pytest.approx(delong(truth, scores, own), rel=0.06)


@pytest.mark.parametrize(("right", "rows"), [(18, 25), (25, 25), (0, 25), (1, 40)])
def test_a_share_of_single_rows_has_about_wilsons_interval(right, rows):
    values = np.arange(rows) < right
    found = intervals(mean_of(values.astype(float), "accuracy"), rows)["accuracy"]
    expected = binomtest(right, rows).proportion_ci(method="wilson")
    assert found.low == pytest.approx(expected.low, abs=0.02)
    assert found.high == pytest.approx(expected.high, abs=0.02)
    assert found.low <= right / rows <= found.high
    assert found.low < found.high, "300 of 300 right is not certain"
    assert "Wilson" in found.method


def test_rows_that_resemble_each_other_widen_the_interval_of_groups():
    values = np.repeat(np.random.default_rng(0).normal(3, 1, size=20), 10)
    rows = intervals(mean_of(values), 200)["mae"]
    groups = intervals(mean_of(values), 200, [row // 10 for row in range(200)])["mae"]
    assert (groups.high - groups.low) > 2 * (rows.high - rows.low)
    assert "over groups" in groups.method


def test_many_rows_are_left_out_in_blocks(monkeypatch):
    values = np.random.default_rng(2).normal(5, 1, size=3000)
    blocks = intervals(mean_of(values), 3000)["mae"]
    assert len(leave_out(mean_of(values), 3000).without["mae"]) == module.MOST_UNITS
    monkeypatch.setattr(module, "MOST_UNITS", 3000)
    rows = intervals(mean_of(values), 3000)["mae"]
    assert (blocks.high - blocks.low) == pytest.approx(rows.high - rows.low, rel=0.1)


def test_a_perfect_ranking_is_as_sure_as_its_rarer_class():
    scores = np.arange(60.0)
    few, many = (intervals(auroc_of(scores >= 60 - count, scores), 60,
                           classes_of=by_truth(scores >= 60 - count))["auroc"] for count in (5, 30))  # fmt: skip
    assert few.value == many.value == few.high == 1
    assert few.low < 0.7 < 0.85 < many.low < 1


def test_too_few_of_a_class_have_no_interval_and_the_reason():
    rng = np.random.default_rng(3)
    for count, reason in ((1, "fewer than 4 rows of a class"), (3, "fewer than 4 rows of a class"), (4, None)):
        truth = np.arange(50) < count
        found = intervals(auroc_of(truth, rng.random(50)), 50, classes_of=by_truth(truth))["auroc"]
        assert np.isnan(found.low) == (reason is not None)
        assert reason is None or str(found) == f"{found.value:.3f} (no interval: {reason})"
    truth = np.arange(50) < 10
    grouped = intervals(auroc_of(truth, rng.random(50)), 50, (np.arange(50) // 10).tolist(), classes_of=by_truth(truth))
    assert grouped["auroc"].method == "fewer than 4 groups of a class"


def test_without_classes_a_metric_that_one_row_defines_has_no_interval():
    truth = np.arange(20) < 1
    found = intervals(auroc_of(truth, np.random.default_rng(0).random(20)), 20)["auroc"]
    assert found.method == "one of the rows alone carries a class"


def test_what_does_not_vary_has_no_interval_unless_it_is_a_share_or_a_difference():
    assert intervals(mean_of(np.zeros(9)), 9)["mae"].method == "nothing varies"
    same = intervals(mean_of(np.zeros(9)), 9, scale=DIFFERENCE)["mae"]
    assert (same.low, same.high) == (0, 0)
    undefined = intervals(auroc_of(np.zeros(9, bool), np.arange(9.0)), 9)["auroc"]
    assert np.isnan([undefined.value, undefined.low, undefined.high]).all()
    assert str(undefined) == "undefined"
    assert str(Interval(0.5, 0.25, 0.75)) == "0.500 [0.250, 0.750]"


@pytest.mark.parametrize(("rows", "groups"), [(1, None), (6, ["one"] * 6)])
def test_one_row_or_group_leaves_nothing(rows, groups):
    found = intervals(mean_of(np.arange(rows, dtype=float)), rows, groups)["mae"]
    assert found.value == (rows - 1) / 2
    assert str(found) == f"{found.value:.3f} (no interval: fewer than 2 {'groups' if groups else 'rows'})"


def test_units_are_distinguished_by_the_classes_of_their_rows():
    unit, truth, guess = np.array([0, 0, 1, 1, 2]), np.array(list("abaab")), np.array(list("aaaac"))
    assert len(set(kinds_of_blocks(unit, truth).tolist())) == 3
    assert fewest_of_a_class(unit, truth) == 2
    assert fewest_of_a_class(unit, truth, guess) == 0


def test_of_many_rows_that_are_all_right_every_row_counts_and_not_a_block_of_them():
    found = intervals(mean_of(np.ones(5000), "accuracy"), 5000)["accuracy"]
    assert found.low == pytest.approx(binomtest(5000, 5000).proportion_ci(method="wilson").low, abs=1e-5)
    truth = np.arange(5000) < 30
    ranked = intervals(auroc_of(truth, -np.arange(5000.0)), 5000, classes_of=by_truth(truth))["auroc"]
    alone = intervals(auroc_of(truth[:60], -np.arange(60.0)), 60, classes_of=by_truth(truth[:60]))["auroc"]
    assert ranked.low == alone.low, "a perfect ranking is as sure as its 30 positives"


def test_what_rounding_leaves_is_no_variance():
    values = np.full(30, 0.1) + np.arange(30) * 1e-17
    assert intervals(mean_of(values), 30)["mae"].method == "nothing varies"
    assert intervals(mean_of(np.zeros(0)), 0)["mae"].method == "fewer than 2 rows"


def test_a_class_that_is_hardly_predicted_leaves_some_metrics_without_an_interval():
    truth, guess = np.arange(60) % 2, np.where(np.arange(60) < 3, 1, 0)
    measure = mean_of((truth == guess).astype(float), "balanced_accuracy")
    found = intervals(measure, 60, classes_of=by_truth(truth, guess))["balanced_accuracy"]
    assert found.method == "fewer than 4 rows of a class"
    assert not np.isnan(intervals(measure, 60, classes_of=by_truth(truth))["balanced_accuracy"].low)


def test_a_calibration_error_of_few_rows_has_no_interval():
    for rows, given in ((99, False), (100, True)):
        found = intervals(mean_of(np.random.default_rng(0).random(rows), "ece"), rows)["ece"]
        assert np.isnan(found.low) != given


def held(draw, runs, truth, **options):
    rng, found = np.random.default_rng(7), []
    for _ in range(runs):
        metrics, rows, groups, classes = draw(rng)
        (interval,) = intervals(metrics, rows, groups, classes_of=by_truth(*classes), **options).values()
        found.append(interval.low <= truth <= interval.high)
    return np.mean(found)


@pytest.mark.parametrize(("rows", "groups", "positive", "auroc"), [
    (40, None, 0.5, 0.9), (100, None, 0.1, 0.9), (60, None, 0.5, 0.97), (100, 10, 0.5, 0.85), (200, 20, 0.5, 0.85),
])  # fmt: skip
def test_intervals_of_an_auroc_hold_it_as_often_as_they_say(rows, groups, positive, auroc):
    """Binormal scores, half of whose variance is the group's: the percentile bootstrap held 83 to 91 %."""

    def draw(rng):
        while True:
            truth = rng.random(rows) < positive
            if min(truth.sum(), (~truth).sum()) >= 5:
                break
        own = np.arange(rows) if groups is None else np.arange(rows) % groups
        noise = np.sqrt(0.5) * (rng.standard_normal(rows)[own] + rng.standard_normal(rows))
        scores = noise + np.sqrt(2) * norm.ppf(auroc) * truth
        return auroc_of(truth, scores), rows, None if groups is None else own.tolist(), (truth,)

    assert 0.92 <= held(draw, 500, auroc) <= 0.985


def test_intervals_of_a_mean_over_groups_with_heavy_tails_hold_it_as_often_as_they_say():
    def draw(rng):
        values = np.exp(rng.standard_normal(12)[np.arange(60) % 12] * 0.5 + rng.standard_normal(60) * 0.5)
        return mean_of(values), 60, (np.arange(60) % 12).tolist(), ()

    assert 0.91 <= held(draw, 500, float(np.exp(0.25))) <= 0.98
    assert BELOW_ONE.ends(0.6, 0.01, 10, 20)[1] < 1
