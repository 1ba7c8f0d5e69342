"""The scale on which every metric has its interval."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest, t

from graftwork.core.metrics.scales import SCALES, find_scale, logarithm, logit, rest_to_one, wilson
from graftwork.core.tasks import TASKS


def test_every_metric_of_every_task_has_a_scale():
    for task in TASKS:
        truth = {"multi-label": np.eye(4)[:, :2], "text": np.ones((4, 2))}.get(task.name, np.array([0.0, 1, 0, 1]))
        predictions = {"regression": np.ones(4), "text": np.ones((4, 2)), "mask": np.ones((4, 1, 3))}
        guess = predictions.get(task.name, np.full((4, 2), 0.5))
        for name in task.measures(truth, guess, ("a", "b"))(np.ones((1, 4))):
            assert find_scale(name) in SCALES.values()
    assert find_scale("auroc_of_accuracy") is SCALES["auroc"]
    with pytest.raises(KeyError):
        find_scale("aurocs")


@pytest.mark.parametrize(("right", "rows"), [(3, 20), (50, 100), (0, 12), (30, 30)])
def test_the_interval_of_a_share_is_scipys_wilson_for_many_degrees_of_freedom(right, rows):
    share = right / rows
    low, high = wilson(share, share * (1 - share) / rows, 1e9, rows)
    known = binomtest(right, rows).proportion_ci(method="wilson")
    if 0 < share < 1:
        assert (low, high) == pytest.approx((known.low, known.high), abs=1e-6)
    else:  # where nothing varies the units alone say how sure it is, by Student's t
        assert low <= known.low
        assert high >= known.high
        assert share in (low, high)


def test_the_logit_is_symmetric_and_within_the_share():
    low, high = logit(0.8, 0.01, 12, 30)
    place, half = math.log(4), t.ppf(0.975, 12) * 0.1 / 0.16
    assert (low, high) == pytest.approx((1 / (1 + math.exp(half - place)), 1 / (1 + math.exp(-half - place))))
    assert logit(1.0, 0.01, 12, 30) == wilson(1.0, 0.0, 12, 30)


def test_positive_metrics_are_multiplied_and_divided_and_undefined_at_zero():
    low, high = logarithm(2.0, 0.04, 1e9, 30)
    assert low * high == pytest.approx(4.0)
    assert high / 2 == pytest.approx(math.exp(1.959964 * 0.1), rel=1e-6)
    assert all(map(math.isnan, logarithm(0.0, 0.04, 9, 30)))
    assert rest_to_one(0.25, 0.04, 9, 30) == pytest.approx(
        tuple(1 - end for end in reversed(logarithm(0.75, 0.04, 9, 30)))
    )
