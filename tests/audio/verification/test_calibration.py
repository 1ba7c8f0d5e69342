"""Scores become log-likelihood ratios by formulas, by the number of averaged clips, and by trials of other speakers."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from graftwork.audio.verification.calibration import (
    FOLDS,
    Calibration,
    Line,
    calibrate,
    calibrate_cosines,
    cross_calibrated,
)
from graftwork.audio.verification.scoring import cllr, count, min_cllr
from graftwork.audio.verification.trials import Trials, all_pairs

LINES = (Line(1, 10.0, -6.0, 0.9), Line(2, 14.0, -8.0, 0.94), Line(10, 20.0, -12.0, 0.97))


def trials_of(speakers: int, clips: int) -> tuple[Trials, np.ndarray]:
    """All pairs of so many speakers' clips, and a score for each: the same speaker's are higher by two on average."""
    names = [f"s{number:02}" for number in range(speakers) for _ in range(clips)]
    trials = all_pairs("list", [f"{row}.wav" for row in range(len(names))], names)
    return trials, np.random.default_rng(0).normal(2.0 * trials.targets)


def test_calibrated_gaussian_scores_are_log_likelihood_ratios() -> None:
    """Two Gaussians of variance v at +-m: the ratio is 2 m / v times the score."""
    rng = np.random.default_rng(0)
    same = rng.random(40000) < 0.1
    scores = 5 + 0.1 * rng.normal(size=40000) + np.where(same, 0.1, -0.1)
    found = calibrate(scores, same)
    assert found.scale == pytest.approx(20.0, rel=0.05)
    assert found.scale * 5 + found.offset == pytest.approx(0.0, abs=0.1)
    ratios = found.ratios(scores)
    assert cllr(count(ratios, same)) == pytest.approx(min_cllr(count(scores, same)), abs=0.02)


def test_the_line_of_cosines_is_that_of_their_z() -> None:
    rng = np.random.default_rng(1)
    same = rng.random(3000) < 0.2
    cosines = np.tanh(rng.normal(np.where(same, 1.5, 0.3), 0.4))
    found = calibrate_cosines(cosines, same, 7)
    expected = calibrate(np.arctanh(cosines), same)
    assert (found.clips, found.highest) == (7, cosines[same].max())
    assert (found.scale, found.offset) == (pytest.approx(expected.scale), pytest.approx(expected.offset))
    assert found.scale == pytest.approx(1.2 / 0.16, rel=0.1)  # two Gaussians


def test_between_two_numbers_of_clips_a_line_lies_as_their_inverses_do() -> None:
    calibration = Calibration(LINES, 12, "abc")
    assert calibration.line(1) == LINES[0]
    assert calibration.line(10) == LINES[2]
    assert calibration.line(400) == dataclasses.replace(LINES[2], clips=400)
    share = (1 / 2 - 1 / 4) / (1 / 2 - 1 / 10)
    found = calibration.line(4)
    assert found.scale == pytest.approx(14 + share * 6)
    assert found.offset == pytest.approx(-8 - share * 4)
    assert found.highest == pytest.approx(0.94 + share * 0.03)


def test_the_cosine_of_a_ratio_has_that_ratio() -> None:
    line = LINES[1]
    assert line.ratios(np.array([line.cosine(2.5)]))[0] == pytest.approx(2.5)
    assert line.ratios(np.array([0.6]))[0] == pytest.approx(14 * np.arctanh(0.6) - 8)
    assert Line(1, 0.0, 1.0).cosine(2.0) == np.inf
    assert line.cosine(1000.0) == np.inf
    assert np.isfinite(line.ratios(np.array([1.0, -1.0]))).all()


def test_a_calibration_is_read_as_it_was_written() -> None:
    for centre in (None, (0.25, -1.5)):
        calibration = Calibration(LINES, 12, "abc", centre)
        assert Calibration.from_json(json.loads(json.dumps(calibration.to_json()))) == calibration


def test_a_calibration_without_a_schema_is_read_and_a_newer_one_says_to_upgrade() -> None:
    written = Calibration(LINES, 12, "abc").to_json()
    old = {name: value for name, value in written.items() if name != "schema"}
    assert Calibration.from_json(old) == Calibration(LINES, 12, "abc")
    with pytest.raises(ValueError, match="expected schema 1, found 2: a newer graftwork wrote it: upgrade graftwork"):
        Calibration.from_json(written | {"schema": 2})


@pytest.mark.parametrize("name", ["scale", "offset", "highest"])
def test_a_calibration_without_finite_numbers_is_none(name: str) -> None:
    values = Calibration((Line(1, 9.0, -4.0),), 20, "d" * 64).to_json()
    values["lines"] = [values["lines"][0] | {name: float("inf")}]
    with pytest.raises(ValueError, match="finite"):
        Calibration.from_json(values)


def test_every_trial_is_calibrated_by_trials_of_neither_of_its_speakers() -> None:
    trials, scores = trials_of(speakers=11, clips=3)
    found = cross_calibrated(scores, trials.targets, trials.sides())
    assert found is not None
    fold = {f"s{number:02}": number % FOLDS for number in range(11)}
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
    before, after = (
        cross_calibrated(scores, trials.targets, trials.sides()),
        cross_calibrated(moved, trials.targets, trials.sides()),
    )
    assert before is not None
    assert after is not None
    assert after[row] == pytest.approx(before[row])
    assert not np.isclose(after[~own], before[~own]).all()  # those of others are calibrated partly by them


def test_speakers_that_are_few_or_unknown_leave_scores_uncalibrated() -> None:
    trials, scores = trials_of(speakers=2 * FOLDS - 1, clips=2)
    assert cross_calibrated(scores, trials.targets, trials.sides()) is None
    trials, scores = trials_of(speakers=2 * FOLDS, clips=2)
    assert cross_calibrated(scores, trials.targets, trials.sides()) is not None
    assert cross_calibrated(scores, trials.targets, None) is None


def test_speakers_of_one_clip_each_leave_scores_uncalibrated() -> None:
    trials, scores = trials_of(speakers=12, clips=1)
    assert not trials.targets.any()
    assert cross_calibrated(scores, trials.targets, trials.sides()) is None
