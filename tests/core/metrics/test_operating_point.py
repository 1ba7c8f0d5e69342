"""Thresholds against scikit-learn's curves, and decision curves against counts."""

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from graftwork.core.metrics.operating_point import CURVE, OperatingPoint, choose_threshold, decision_curve


def drawn(seed, rows=80, steps=None):
    generator = np.random.default_rng(seed)
    positive = generator.random(rows) < 0.3
    score = 1 / (1 + np.exp(-(generator.normal(size=rows) + 1.5 * positive - 0.7)))
    return (score if steps is None else np.round(score * steps) / steps), positive


def reached(scores, positive, threshold):
    decided = scores >= threshold
    return decided[positive].mean(), (~decided)[~positive].mean()


@pytest.mark.parametrize("steps", [None, 7])
@pytest.mark.parametrize("seed", range(8))
def test_thresholds_reach_what_is_asked_and_no_better_one_does(seed, steps):
    scores, positive = drawn(seed, steps=steps)
    false, true, _ = roc_curve(positive, scores, drop_intermediate=False)
    for least in (0.5, 0.9, 0.95, 1.0):
        sensitivity, specificity = reached(scores, positive, choose_threshold(scores, positive, "sensitivity", least))
        assert sensitivity >= least - 1e-12
        assert specificity == pytest.approx((1 - false)[true >= least - 1e-12].max())
        sensitivity, specificity = reached(scores, positive, choose_threshold(scores, positive, "specificity", least))
        assert specificity >= least - 1e-12
        assert sensitivity == pytest.approx(true[1 - false >= least - 1e-12].max())
    sensitivity, specificity = reached(scores, positive, choose_threshold(scores, positive, "youden"))
    assert sensitivity + specificity - 1 == pytest.approx((true - false).max())


def test_a_threshold_lies_between_scores_and_needs_rows_of_both_kinds():
    scores, positive = np.array([0.2, 0.4, 0.6, 0.9]), np.array([False, False, True, True])
    assert choose_threshold(scores, positive, "youden") == pytest.approx(0.5)
    for one_kind in (positive | True, positive & False):
        with pytest.raises(ValueError, match="positive rows and others"):
            choose_threshold(scores, one_kind, "youden")


def test_an_operating_point_decides_for_its_class_or_for_the_likeliest_other():
    point = OperatingPoint(1, 0.3, "sensitivity", 0.9)
    chances = np.array([[0.5, 0.3, 0.2], [0.1, 0.29, 0.61], [0.45, 0.25, 0.3], [0.0, 1.0, 0.0]])
    assert point.decide(chances).tolist() == [1, 2, 0, 1]


def test_a_decision_curve_counts_true_positives_less_false_ones_at_the_odds():
    scores, positive = drawn(3)
    curve = decision_curve(scores, positive)
    assert [one["threshold"] for one in curve] == list(CURVE)
    for one in curve:
        level, decided = one["threshold"], scores >= one["threshold"]
        true, false, rows = (decided & positive).sum(), (decided & ~positive).sum(), len(scores)
        assert one["net_benefit"] == pytest.approx(true / rows - false / rows * level / (1 - level))
        assert one["treat_all"] == pytest.approx(positive.mean() - (~positive).mean() * level / (1 - level))
