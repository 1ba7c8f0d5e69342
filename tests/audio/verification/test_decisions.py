"""What a score means for one clip: Bayes' decision by hand, and what cannot be decided."""

from __future__ import annotations

import math

import pytest

from graftwork.audio.verification.calibration import Line
from graftwork.audio.verification.decisions import Decision, decide, unreachable
from graftwork.audio.verification.scoring import DetectionCost

EVEN = DetectionCost(0.5, 1.0, 1.0)


def test_without_calibration_and_threshold_a_score_decides_nothing() -> None:
    assert decide(0.7, None, EVEN) == Decision(0.7)


@pytest.mark.parametrize(("score", "accepted"), [(0.5, True), (0.4999, False)])
def test_a_threshold_decides_on_the_score_itself_whatever_its_calibration(score: float, accepted: bool) -> None:
    for line in (None, Line(1, -3.0, 9.0)):
        found = decide(score, line, EVEN, 0.5)
        assert found.accepted is accepted
        assert found.operating_point == "cosine of at least 0.5"


@pytest.mark.parametrize(("prior", "c_miss", "c_false_alarm"), [(0.5, 1, 1), (0.01, 1, 1), (0.5, 1, 10), (0.3, 5, 1)])
@pytest.mark.parametrize("score", [-0.9, 0.2, 0.6, 0.98])
def test_a_calibrated_score_is_accepted_where_that_is_expected_to_cost_less(
    prior: float, c_miss: float, c_false_alarm: float, score: float
) -> None:
    odds = math.exp(4.0 * math.atanh(score) - 1.0) * prior / (1 - prior)
    probability = odds / (1 + odds)
    found = decide(score, Line(3, 4.0, -1.0), DetectionCost(prior, c_miss, c_false_alarm))
    assert found.llr == pytest.approx(4.0 * math.atanh(score) - 1.0)
    assert found.probability == pytest.approx(probability)
    assert found.accepted is (c_miss * probability >= c_false_alarm * (1 - probability))
    assert found.operating_point == f"prior {prior:g}, a miss costs {c_miss:g}, a false alarm {c_false_alarm:g}"
    assert found.threshold is not None
    assert found.accepted is (score >= found.threshold)
    assert 4.0 * math.atanh(found.threshold) - 1.0 == pytest.approx(found.threshold_llr)


def test_a_threshold_that_no_genuine_score_reached_is_said_with_what_to_do() -> None:
    line = Line(5, 4.0, -3.0, highest=0.95)
    assert unreachable(line, EVEN) is None  # 0.635
    rare = unreachable(line, DetectionCost(0.01))
    assert rare is not None
    assert f"a log-likelihood ratio of 4.60 takes a cosine of {math.tanh(7.595 / 4):.4f}, and no genuine" in rare
    assert "more than 0.9500" in rare
    assert "--p-target" in rare
    assert decide(0.9, line, DetectionCost(0.01)).caution == rare
    never = unreachable(line, DetectionCost(1e-12))
    assert never is not None
    assert "no clip can be accepted: no cosine has a log-likelihood ratio of 27.63" in never
    assert decide(0.9999, line, DetectionCost(1e-12)).threshold == math.inf


def test_among_more_speakers_the_same_prior_takes_a_higher_score() -> None:
    line = Line(5, 4.0, -3.0, highest=0.95)
    assert unreachable(line, EVEN, speakers=60) is None  # 0.944
    assert f"cosine of {math.tanh((3 + math.log(100)) / 4):.4f}" in str(unreachable(line, EVEN, speakers=100))


def test_a_threshold_that_is_no_number_is_none_in_plain_values() -> None:
    found = decide(0.5, Line(1, 0.0, -1.0), EVEN)
    assert found.threshold == math.inf
    assert found.to_json()["threshold"] is None
