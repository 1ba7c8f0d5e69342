"""What is said of several strategies: the best, the cheapest that is as good, and whether even that is any good."""

import numpy as np
import pytest

from graftwork.core.evaluation.comparison import Comparison, Result, find_best, find_cheapest
from graftwork.core.metrics.intervals import Interval


def test_the_cheapest_is_the_fastest_of_those_whose_interval_holds_zero():
    differences = {"full": Interval(0, 0, 0), "lora": Interval(-0.01, -0.03, 0.01), "probe": Interval(-0.02, -0.05, 0),
                   "knn": Interval(-0.2, -0.3, -0.1), "odd": Interval(np.nan, np.nan, np.nan)}  # fmt: skip
    seconds = {"full": 90.0, "lora": 40.0, "probe": 3.0, "knn": 1.0, "odd": 0.1}
    assert find_cheapest(differences, seconds) == "probe"
    assert find_cheapest(differences, seconds | {"probe": None}) == "lora"
    assert find_cheapest({"full": Interval(0, 0, 0)}, {"full": None}) is None
    assert find_cheapest({"full": Interval(0, 0, 0), "lora": Interval(-0.3, np.nan, np.nan)}, seconds) == "lora"


def test_the_best_has_the_highest_defined_value():
    assert find_best({"a": float("nan"), "b": 0.5, "c": 0.7, "d": 0.7}) == "c"
    assert find_best({"a": float("nan")}) is None


@pytest.mark.parametrize(("high", "said"), [(0.49, True), (0.5, False)])
def test_a_best_that_is_worse_than_chance_is_called_that(high, said):
    value = Interval(0.3, 0.2, high)
    result = Result("probe", 1.0, 1.0, True, {}, {"auroc": value}, {"auroc": Interval(0.0, 0.0, 0.0)})
    comparison = Comparison("auroc", "test", 9, None, "probe", "probe", (result,), {})
    assert ("Even that is worse than chance" in comparison.sentence()) is said
