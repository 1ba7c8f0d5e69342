"""What scores mean for one clip, and for a list of trials whose speakers are known: by formulas and by hand."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest

from graftwork.audio.verification import verbs
from graftwork.audio.verification.scoring import Calibration, DetectionCost, calibrate, evaluate_scores
from graftwork.audio.verification.trials import Trials, all_pairs
from graftwork.core.data.examples import Unreadable
from graftwork.core.errors import OutputError, SettingsError

EVEN = DetectionCost(0.5, 1.0, 1.0)


def trials_of(speakers: int, clips: int) -> tuple[Trials, np.ndarray]:
    """All pairs of so many speakers' clips, and a score for each: the same speaker's are higher by two on average."""
    names = [f"s{number:02}" for number in range(speakers) for _ in range(clips)]
    trials = all_pairs("list", [f"{row}.wav" for row in range(len(names))], names)
    return trials, np.random.default_rng(0).normal(2.0 * trials.targets)


def test_without_calibration_and_threshold_a_score_decides_nothing() -> None:
    expected = {"score": 0.7, "probability": None, "accepted": None, "operating_point": None}
    assert verbs.decision(0.7, None, EVEN, None) == expected


@pytest.mark.parametrize(("score", "accepted"), [(0.5, True), (0.4999, False)])
def test_a_threshold_decides_on_the_score_itself_whatever_its_calibration(score: float, accepted: bool) -> None:
    for calibration in (None, Calibration(-3.0, 9.0)):
        found = verbs.decision(score, calibration, EVEN, 0.5)
        assert found["accepted"] is accepted
        assert found["operating_point"] == "score of at least 0.5"


@pytest.mark.parametrize(("prior", "c_miss", "c_false_alarm"), [(0.5, 1, 1), (0.01, 1, 1), (0.5, 1, 10), (0.3, 5, 1)])
@pytest.mark.parametrize("score", [-1.0, 0.2, 0.6, 2.0])
def test_a_calibrated_score_is_accepted_where_that_is_expected_to_cost_less(
    prior: float, c_miss: float, c_false_alarm: float, score: float
) -> None:
    calibration = Calibration(4.0, -1.0)
    odds = math.exp(4.0 * score - 1.0) * prior / (1 - prior)
    probability = odds / (1 + odds)
    found = verbs.decision(score, calibration, DetectionCost(prior, c_miss, c_false_alarm), None)
    assert found["probability"] == pytest.approx(probability)
    assert found["accepted"] is (c_miss * probability >= c_false_alarm * (1 - probability))
    assert found["operating_point"] == f"prior {prior:g}, a miss costs {c_miss:g}, a false alarm {c_false_alarm:g}"


def test_every_trial_is_calibrated_by_trials_of_neither_of_its_speakers() -> None:
    trials, scores = trials_of(speakers=11, clips=3)
    found = verbs.cross_calibrated(scores, trials)
    assert found is not None
    fold = {f"s{number:02}": number % verbs.CALIBRATION_FOLDS for number in range(11)}
    sides = trials.sides()
    assert sides is not None
    folds = [{fold[one], fold[other]} for one, other in zip(*sides, strict=True)]
    for row in range(0, len(trials), 7):
        away = np.array([not own & folds[row] for own in folds])
        expected = calibrate(scores[away], trials.targets[away]).ratios(scores[row : row + 1])
        assert found[row] == pytest.approx(expected[0])


def test_other_scores_of_a_speaker_do_not_move_the_calibration_of_a_trial_of_theirs() -> None:
    trials, scores = trials_of(speakers=10, clips=2)
    first, second = (np.array(side) for side in trials.sides() or ())
    own = (first == "s00") | (second == "s00")
    row = int(np.flatnonzero(own)[3])
    moved = np.where(own, scores + np.arange(len(scores)), scores)
    moved[row] = scores[row]
    before, after = verbs.cross_calibrated(scores, trials), verbs.cross_calibrated(moved, trials)
    assert before is not None
    assert after is not None
    assert after[row] == pytest.approx(before[row])
    assert not np.isclose(after[~own], before[~own]).all()  # those of others are calibrated partly by them


def test_speakers_that_are_few_or_unknown_leave_scores_uncalibrated() -> None:
    trials, scores = trials_of(speakers=2 * verbs.CALIBRATION_FOLDS - 1, clips=2)
    assert verbs.cross_calibrated(scores, trials) is None
    trials, scores = trials_of(speakers=2 * verbs.CALIBRATION_FOLDS, clips=2)
    assert verbs.cross_calibrated(scores, trials) is not None
    assert verbs.cross_calibrated(scores, dataclasses.replace(trials, speakers=None)) is None


def test_speakers_of_one_clip_each_leave_scores_uncalibrated() -> None:
    trials, scores = trials_of(speakers=12, clips=1)
    assert not trials.targets.any()
    assert verbs.cross_calibrated(scores, trials) is None


@pytest.fixture
def judgement() -> verbs.Judgement:
    trials, scores = trials_of(speakers=4, clips=3)
    results = {"cosine": evaluate_scores(scores, trials.targets, None, cost=DetectionCost(0.1, 2.0, 1.0))}
    return verbs.Judgement(trials, {"cosine": scores}, results, Calibration(2.0, -0.5), "abc",
                           (Unreadable("x.wav", "silence", 7),))  # fmt: skip


def test_a_judgement_is_plain_values_without_intervals_that_nobody_knows(judgement: verbs.Judgement) -> None:
    found = json.loads(json.dumps(judgement.to_json(), allow_nan=False))
    assert found["left_out"] == [{"path": "x.wav", "reason": "silence", "row": 7}]
    eer = found["cosine"]["eer"]
    assert (eer["low"], eer["high"]) == (None, None)
    assert eer["value"] == judgement.results["cosine"].eer.value
    assert found["cosine"]["cllr"] is None
    assert found["cosine"]["about"] | {"interval": ""} == {
        "trials": 66, "targets": 12, "speakers": None, "interval": "",
        "cost": {"p_target": 0.1, "c_miss": 2.0, "c_false_alarm": 1.0},
    }  # fmt: skip
    assert "left_out" not in dataclasses.replace(judgement, left_out=()).to_json()


def test_what_is_written_of_a_judgement_can_be_read_again(judgement: verbs.Judgement, tmp_path: Path) -> None:
    import pandas as pd

    verbs.write_judgement(judgement, tmp_path)
    table = pd.read_csv(tmp_path / "scores.csv")
    assert table["first"].tolist() == [judgement.trials.paths[row] for row in judgement.trials.first]
    assert table["second"].tolist() == [judgement.trials.paths[row] for row in judgement.trials.second]
    assert (table["target"] == judgement.trials.targets).all()
    np.testing.assert_allclose(table["cosine"], judgement.scores["cosine"], rtol=1e-5)
    assert verbs._read_calibration(tmp_path / "calibration.json") == (judgement.calibration, "abc")
    assert json.loads((tmp_path / "metrics.json").read_text()) == judgement.to_json()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"scale": 1, "offset": "x", "digest": ""}', '{"scale": 1}'])
def test_what_is_no_calibration_is_named_with_what_writes_one(tmp_path: Path, content: str) -> None:
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(SettingsError, match=r"c\.json: expected the calibration\.json that `trials --out` writes"):
        verbs._read_calibration(tmp_path / "c.json")


def test_speakers_are_not_enrolled_over_a_file_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "prints").write_text("mine")
    with pytest.raises(OutputError, match="exists already; name another --out, or delete it"):
        verbs.enroll(None, "", "", tmp_path / "prints", cohort=None, calibration=None)  # type: ignore[arg-type]
    assert (tmp_path / "prints").read_text() == "mine"
