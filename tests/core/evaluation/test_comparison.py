"""What is said of several strategies: the best, the cheapest that is as good, and whether even that is any good."""

import numpy as np
import pytest

from graftwork.core.evaluation.comparison import Comparison, Part, Result, find_best, find_cheapest, shared_out
from graftwork.core.metrics.intervals import Interval


def test_the_cheapest_is_the_fastest_of_those_that_are_shown_to_be_no_worse():
    differences = {"full": Interval(0, 0, 0), "lora": Interval(-0.01, -0.019, 0.01), "probe": Interval(0, -0.05, 0.05),
                   "knn": Interval(-0.2, -0.3, -0.1), "odd": Interval(np.nan, np.nan, np.nan)}  # fmt: skip
    seconds = {"full": 90.0, "lora": 40.0, "probe": 3.0, "knn": 1.0, "odd": 0.1}
    assert find_cheapest(differences, seconds) == "lora"
    assert find_cheapest(differences, seconds, margin=0.06) == "probe"
    assert find_cheapest(differences, seconds, margin=0.01) == "full"
    assert find_cheapest(differences, seconds | {"lora": None}) == "full"
    assert find_cheapest({"full": Interval(0, 0, 0)}, {"full": None}) is None
    assert find_cheapest({"full": Interval(0, 0, 0), "lora": Interval(-0.3, np.nan, np.nan)}, seconds) == "full"


def test_the_best_has_the_highest_defined_value():
    assert find_best({"a": float("nan"), "b": 0.5, "c": 0.7, "d": 0.7}) == "c"
    assert find_best({"a": float("nan")}) is None


@pytest.mark.parametrize(("high", "said"), [(0.49, True), (0.5, False)])
def test_a_best_that_is_worse_than_chance_is_called_that(high, said):
    value = Interval(0.3, 0.2, high)
    result = Result("probe", 1.0, 1.0, True, {}, {"auroc": value}, {"auroc": Interval(0.0, 0.0, 0.0)})
    comparison = Comparison("auroc", "test", 9, None, "probe", value, 0.02, "probe", (result,), {})
    assert ("Even that is worse than chance" in comparison.sentence()) is said


def test_the_sentence_says_what_to_publish_of_the_best_and_which_is_as_good_for_less():
    best, other = Interval(0.9, 0.8, 0.95), Interval(0.89, 0.8, 0.95)
    behind = Interval(-0.01, -0.03, 0.01)
    results = (Result("full", 90.0, 1.0, True, {}, {"auroc": best}, {"auroc": Interval(0.0, 0.0, 0.0)}),
               Result("probe", 2.0, 1.0, True, {}, {"auroc": other}, {"auroc": behind}))  # fmt: skip
    corrected = Interval(0.87, 0.75, 0.93)
    said = Comparison("auroc", "test", 60, None, "full", corrected, 0.05, "probe", results, {}).sentence()
    assert (
        "the best of 2 on the rows that chose it: on new ones expect, and publish, 0.870 [0.750, 0.930], 0.030 less"
        in said
    )
    assert said.endswith("Cheapest that is shown to be at most 0.05 below the best: probe, 2.0 s, difference "
                         "-0.010 [-0.030, 0.010].")  # fmt: skip
    alone = Comparison("auroc", "test", 60, None, "full", corrected, 0.02, "full", results, {}).sentence()
    assert alone.endswith("No cheaper one is shown to be at most 0.02 below the best.")


def test_passes_through_frozen_stages_are_divided_among_those_that_need_them_whichever_comes_first():
    def part(name, seconds, pass_seconds, passes):
        return Part({}, name, seconds, 1.0, True, {}, {}, pass_seconds, passes)

    first = [part("probe", 12.0, 10.0, 1), part("knn", 1.5, 0.5, 1), part("full", 60.0, 0.0, 0)]
    second = [part("knn", 11.0, 10.0, 1), part("probe", 2.5, 0.5, 1), part("full", 60.0, 0.0, 0)]
    assert shared_out(first) == pytest.approx({"probe": 7.25, "knn": 6.25, "full": 60.0})
    assert shared_out(second) == pytest.approx(shared_out(first))
    assert shared_out([*first, part("lora", None, 3.0, 1)])["lora"] is None
