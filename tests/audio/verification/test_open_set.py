"""Averages of other clips, identification rates by a direct sweep, and posteriors by Bayes' rule."""

from __future__ import annotations

import numpy as np
import pytest

from graftwork.audio.verification import open_set as module
from graftwork.audio.verification.calibration import calibrate_cosines
from graftwork.audio.verification.open_set import detection_rates, named, posteriors, profile_trials
from graftwork.audio.verification.scoring import DetectionCost
from graftwork.audio.verification.speaker_jackknife import speaker_interval
from graftwork.audio.verification.verifier import Vectors, unit
from graftwork.core.metrics.intervals import LeftOut

EVEN = DetectionCost(0.5)


def voices(speakers: int, clips: int, noise: float, seed: int = 0, dim: int = 16) -> tuple[Vectors, list[str]]:
    rng = np.random.default_rng(seed)
    names = [f"s{number:03}" for number in range(speakers) for _ in range(clips)]
    centres = np.repeat(rng.normal(size=(speakers, dim)), clips, axis=0)
    return unit((centres + noise * rng.normal(size=centres.shape)).astype(np.float32)), names


def test_a_clip_meets_the_average_of_so_many_other_clips() -> None:
    own, names = voices(4, 5, 0.8)
    order = np.random.default_rng(3).permutation(20)
    own, names = own[order], [names[row] for row in order]
    found = profile_trials(own, names, 3)
    assert found is not None
    for row in range(20):
        for column, speaker in enumerate(found.profile_speakers):
            members = [place for place in range(20) if names[place] == found.names[speaker]]
            start = members.index(row) + 1 if row in members else row
            averaged = [members[(start + step) % 5] for step in range(3)]
            assert row not in averaged
            mean = own[averaged].mean(axis=0)
            assert found.scores[row, column] == pytest.approx(own[row] @ mean / np.linalg.norm(mean), abs=1e-6)
            assert found.targets[row, column] == (names[row] == found.names[speaker])
    first, second = found.sides()
    assert (np.array(first) == np.array(second)).tolist() == found.targets.ravel().tolist()


def test_speakers_of_too_few_clips_have_no_profile_and_are_strangers() -> None:
    own, names = voices(4, 4, 0.8)
    found = profile_trials(own[:14], names[:14], 3)
    assert found is not None
    assert found.profile_speakers.tolist() == [0, 1, 2]
    assert found.scores.shape == (14, 3)
    assert not found.targets[12:].any()
    assert profile_trials(own[:6], names[:6], 3) is None


def test_of_many_trials_clips_are_taken_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    own, names = voices(5, 4, 0.8)
    whole = profile_trials(own, names, 2)
    monkeypatch.setattr(module, "MOST_TRIALS", 40)
    found = profile_trials(own, names, 2)
    assert whole is not None
    assert found is not None
    np.testing.assert_array_equal(found.scores, whole.scores[::3])
    np.testing.assert_array_equal(found.clip_speakers, whole.clip_speakers[::3])


def direct_rate(scores: np.ndarray, targets: np.ndarray, false_alarm_rate: float) -> float:
    """Clip by clip: the best threshold among all scores that few enough strangers reach."""
    strangers, known = [], []
    for row, same in zip(scores, targets, strict=True):
        strangers.append(row[~same].max())
        if same.any():
            known.append((row[same].max(), row[same].max() > row[~same].max()))
    best = 0.0
    for threshold in [*scores.ravel(), *np.nextafter(scores.ravel(), 9)]:
        if np.mean(np.array(strangers) >= threshold) <= false_alarm_rate + 1e-12:
            best = max(best, float(np.mean([score >= threshold and first for score, first in known])))
    return best


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.3])
def test_the_identification_rate_is_that_of_a_direct_sweep(rate: float) -> None:
    found = profile_trials(*voices(6, 5, 1.3), 3)
    assert found is not None
    (detection,) = detection_rates(found, (rate,))
    assert 0 < detection.rate.value < 1
    assert detection.rate.value == pytest.approx(direct_rate(found.scores, found.targets, rate))
    assert detection.rate.method == "fewer than 10 speakers"


def test_the_interval_leaves_a_speaker_out_of_clips_and_profiles() -> None:
    own, names = voices(12, 5, 1.0)
    found = profile_trials(own, names, 3)
    assert found is not None
    (whole,) = detection_rates(found, (0.1,))
    assert whole.rate.low < whole.rate.value < whole.rate.high <= 1
    without = []
    for speaker in range(12):
        rows, columns = found.clip_speakers != speaker, found.profile_speakers != speaker
        without.append(direct_rate(found.scores[np.ix_(rows, columns)], found.targets[np.ix_(rows, columns)], 0.1))
    value = 1 - whole.rate.value
    left = LeftOut({"missed": value}, {"missed": 1 - np.array(without)}, np.arange(12), np.arange(12))
    missed = speaker_interval(left, "missed", module.MISSED)
    assert (whole.rate.low, whole.rate.high) == (pytest.approx(1 - missed.high), pytest.approx(1 - missed.low))


def test_posteriors_are_bayes_rule_over_all_speakers_and_nobody() -> None:
    ratios = np.array([[3.0, -1.0, 0.5], [800.0, -5.0, -5.0], [-900.0, -900.0, -900.0]])
    probabilities, none = posteriors(ratios, 0.3)
    each, nobody = 0.1 * np.exp(ratios[0]), 0.7
    np.testing.assert_allclose(probabilities[0], each / (each.sum() + nobody))
    assert none[0] == pytest.approx(nobody / (each.sum() + nobody))
    np.testing.assert_allclose(probabilities.sum(axis=1) + none, 1)
    assert probabilities[1, 0] == pytest.approx(1)
    assert none[2] == pytest.approx(1)


@pytest.mark.parametrize(("c_miss", "c_false_alarm"), [(1, 1), (1, 10), (5, 1)])
def test_a_name_is_given_where_that_is_expected_to_cost_less(c_miss: float, c_false_alarm: float) -> None:
    probabilities, none = np.array([[0.3, 0.2], [0.05, 0.0], [0.6, 0.35]]), np.array([0.5, 0.95, 0.05])
    cost = DetectionCost(0.5, c_miss, c_false_alarm)
    found = named(probabilities, none, cost)
    for row in range(3):
        naming = c_false_alarm * (1 - probabilities[row].max())
        assert found[row] == (naming <= c_miss * (1 - none[row]))


@pytest.mark.parametrize("prior", [0.5, 0.1])
@pytest.mark.parametrize("enrolled", [5, 40])
def test_strangers_are_rejected_and_speakers_named_however_many_are_enrolled(enrolled: int, prior: float) -> None:
    """Calibrated on other speakers, as `trials` does; the best of many strangers' scores is not taken for a 1:1 one."""
    development = profile_trials(*voices(60, 6, 0.7, seed=1, dim=40), 5)
    assert development is not None
    line = calibrate_cosines(development.scores.ravel(), development.targets.ravel(), 5)
    own, names = voices(enrolled + 60, 6, 0.7, seed=2, dim=40)
    found = profile_trials(own, names, 5)
    assert found is not None
    gallery = found.scores[:, :enrolled]
    stranger = found.clip_speakers >= enrolled
    probabilities, none = posteriors(line.ratios(gallery), prior)
    accepted = named(probabilities, none, DetectionCost(prior))
    right = accepted & (probabilities.argmax(axis=1) == found.clip_speakers)
    # Bayes' decision errs no more than calling everybody unknown, or naming the best, at the stated prior.
    assert accepted[stranger].mean() * (1 - prior) < 0.1 * min(prior, 1 - prior) + 0.01
    assert right[~stranger].mean() > 0.8
    one_to_one = line.ratios(gallery).max(axis=1) >= DetectionCost(prior).threshold()
    if enrolled == 40:
        assert one_to_one[stranger].mean() > 1.5 * accepted[stranger].mean()
