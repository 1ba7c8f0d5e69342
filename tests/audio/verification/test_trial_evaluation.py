"""What is written of evaluated trials, and clips against averages of several."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from graftwork.audio.verification.calibration import Calibration, Line
from graftwork.audio.verification.evaluation import evaluate_scores
from graftwork.audio.verification.inputs import read_calibration
from graftwork.audio.verification.scoring import DetectionCost
from graftwork.audio.verification.trial_evaluation import TrialEvaluation, evaluate_profiles, write_trial_evaluation
from graftwork.audio.verification.trials import IdenticalPair, Trials, all_pairs
from graftwork.audio.verification.verifier import unit
from graftwork.core.data.examples import Unreadable
from graftwork.core.errors import SettingsError

UNSORTED = json.dumps(Calibration((Line(2, 1.0, 0.0), Line(1, 1.0, 0.0)), 4, "abc").to_json())


def trials_of(speakers: int, clips: int) -> tuple[Trials, np.ndarray]:
    """All pairs of so many speakers' clips, and a score for each: the same speaker's are higher by two on average."""
    names = [f"s{number:02}" for number in range(speakers) for _ in range(clips)]
    trials = all_pairs("list", [f"{row}.wav" for row in range(len(names))], names)
    return trials, np.random.default_rng(0).normal(2.0 * trials.targets)


@pytest.fixture
def evaluation() -> TrialEvaluation:
    trials, scores = trials_of(speakers=4, clips=3)
    results = {"cosine": evaluate_scores(scores, trials.targets, None, cost=DetectionCost(0.1, 2.0, 1.0))}
    calibration = Calibration((Line(1, 2.0, -0.5),), 4, "abc", (0.5, 0.25))
    pairs = (IdenticalPair("a.wav", "b.wav", False),)
    lost = (Unreadable("x.wav", "silence", 7),)
    return TrialEvaluation(trials, {"cosine": scores}, results, (), calibration, pairs, lost)


def test_an_evaluation_is_plain_values_without_intervals_that_nobody_knows(evaluation: TrialEvaluation) -> None:
    found = json.loads(json.dumps(evaluation.to_json(), allow_nan=False))
    assert found["left_out"] == [{"path": "x.wav", "reason": "silence", "row": 7}]
    eer = found["cosine"]["eer"]
    assert (eer["low"], eer["high"]) == (None, None)
    assert eer["value"] == evaluation.results["cosine"].eer.value
    assert found["cosine"]["cllr"] is None
    assert eer["method"] == "speakers are not known"
    assert found["identical"] == [{"first": "a.wav", "second": "b.wav", "one_speaker": False}]
    assert found["cosine"]["about"] == {
        "trials": 66, "targets": 12, "speakers": None,
        "cost": {"p_target": 0.1, "c_miss": 2.0, "c_false_alarm": 1.0},
    }  # fmt: skip
    assert "left_out" not in dataclasses.replace(evaluation, left_out=()).to_json()


def test_what_is_written_of_an_evaluation_can_be_read_again(evaluation: TrialEvaluation, tmp_path: Path) -> None:
    import pandas as pd

    write_trial_evaluation(evaluation, tmp_path)
    table = pd.read_csv(tmp_path / "scores.csv")
    assert table["first"].tolist() == [evaluation.trials.paths[row] for row in evaluation.trials.first]
    assert table["second"].tolist() == [evaluation.trials.paths[row] for row in evaluation.trials.second]
    assert (table["target"] == evaluation.trials.targets).all()
    np.testing.assert_allclose(table["cosine"], evaluation.scores["cosine"], rtol=1e-5)
    assert read_calibration(tmp_path / "calibration.json") == evaluation.calibration
    assert json.loads((tmp_path / "metrics.json").read_text()) == evaluation.to_json()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"scale": 1, "offset": 2, "digest": ""}', UNSORTED])
def test_what_is_no_calibration_is_named_with_what_writes_one(tmp_path: Path, content: str) -> None:
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(SettingsError, match=r"c\.json: expected the calibration\.json that `trials --out` writes"):
        read_calibration(tmp_path / "c.json")


def test_profiles_are_evaluated_by_every_number_of_clips_that_speakers_have() -> None:
    rng = np.random.default_rng(0)
    speakers = [f"s{number:02}" for number in range(12) for _ in range(6)]
    voices = np.repeat(rng.normal(size=(12, 20)), 6, axis=0) + 0.9 * rng.normal(size=(72, 20))
    own = unit(voices.astype(np.float32))
    contents = [str(number) for number in range(72)]
    results, lines = evaluate_profiles(own, tuple(speakers), contents, DetectionCost())
    assert [one.clips for one in results] == [line.clips for line in lines] == [2, 3, 5]
    assert all(one.speakers == 12 and one.verification.trials == 72 * 12 for one in results)
    assert results[0].verification.eer.value > results[2].verification.eer.value
    plain = json.loads(json.dumps(results[2].to_json(), allow_nan=False))
    assert [one["false_alarm_rate"] for one in plain["open_set"]] == [0.01, 0.1]
    assert plain["open_set"][0]["dir"]["method"]


def test_of_clips_that_sound_the_same_one_is_taken_and_none_under_two_speakers() -> None:
    rng = np.random.default_rng(0)
    speakers = [f"s{number:02}" for number in range(10) for _ in range(4)]
    own = unit((np.repeat(rng.normal(size=(10, 8)), 4, axis=0) + 0.3 * rng.normal(size=(40, 8))).astype(np.float32))
    contents = [str(number) for number in range(40)]
    contents[1] = contents[0]  # of one speaker
    contents[9] = contents[5]  # of two
    results, _ = evaluate_profiles(own, tuple(speakers), contents, DetectionCost())
    assert {one.verification.trials // one.speakers for one in results} == {37}


def test_without_speakers_there_are_no_profiles() -> None:
    assert evaluate_profiles(np.eye(4, dtype=np.float32), None, list("abcd"), DetectionCost()) == ((), ())
