"""One recording under many forms is found; other takes of the same word are not."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from graftwork.audio.sound.near_duplicates import (
    KEPT_RATE_HZ,
    RATE_HZ,
    correlation,
    fingerprint,
    fingerprint_of,
    near_duplicates,
    similar_fingerprints,
)
from graftwork.core.example import Span, as_example, as_examples

SCRIPT = Path(__file__).parents[3] / "examples" / "benchmarks" / "near_duplicates.py"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("near_duplicates_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look their annotations up
    spec.loader.exec_module(module)
    return module


def test_every_form_of_a_recording_is_found_and_no_other_recording_is(benchmark):
    clips = benchmark.generated_clips(24, seed=2)
    for kind, change in benchmark.SOUND_KINDS.items():
        found = benchmark.judge_clips(clips, change, pairs=12, seed=0)
        assert (kind, found.precision) == (kind, 1.0)
        assert found.recall >= 0.9, kind


def test_the_correlation_is_that_of_numpy_at_the_lag_it_finds():
    rng = np.random.default_rng(0)
    whole = np.round(rng.normal(0, 30, 400)).astype(np.int8)
    noisy = np.round(whole[37:] * 0.5 + rng.normal(0, 5, 363)).astype(np.int8)
    expected = np.corrcoef(whole[37:], noisy)[0, 1]
    assert correlation(whole, noisy) == pytest.approx(expected, abs=0.02)
    assert correlation(whole, -noisy) == correlation(whole, noisy) == pytest.approx(correlation(noisy, whole))
    assert correlation(whole, whole[:150]) == 0.0  # less than half of it


def test_a_cut_between_two_samples_is_no_difference(benchmark):
    sound, rate = benchmark.generated_clips(1, seed=0)[0]
    forms = [fingerprint_of(sound[start:]).waveform for start in (0, 801)]
    assert rate == RATE_HZ == 2 * KEPT_RATE_HZ
    assert correlation(*forms) > 0.99


def test_a_steady_tone_is_like_nothing():
    times = np.arange(RATE_HZ) / RATE_HZ
    noise = np.random.default_rng(0).normal(0, 0.05, len(times))
    assert fingerprint_of((np.sin(2 * np.pi * 217 * times) + noise).astype(np.float32)) is None


def test_silence_and_what_cannot_be_read_are_like_nothing(tmp_path):
    for name in ("a", "b"):
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(8000), 8000)
    (tmp_path / "c.wav").write_bytes(b"no sound")
    assert near_duplicates(as_examples([str(tmp_path / f"{name}.wav") for name in "abc"])) == []
    assert fingerprint_of(np.full(100, 0.5, np.float32)) is None


def test_of_long_recordings_the_first_minute_is_compared(tmp_path):
    sound = np.random.default_rng(0).normal(0, 0.1, 70 * 8000)
    soundfile.write(tmp_path / "a.wav", sound, 8000)
    path = str(tmp_path / "a.wav")
    assert len(fingerprint(as_example(path)).waveform) == 60 * KEPT_RATE_HZ
    assert len(fingerprint(Span(path, "5", "69")).waveform) == 60 * KEPT_RATE_HZ
    assert len(fingerprint(Span(path, "5", "6")).waveform) == KEPT_RATE_HZ


def test_another_take_of_the_same_word_is_another_recording(benchmark):
    clips = [sound for sound, _ in benchmark.generated_clips(6, seed=4)]
    slower = [np.interp(np.arange(8000) / 1.02, np.arange(8000), sound).astype(np.float32) for sound in clips]
    assert similar_fingerprints([fingerprint_of(sound) for sound in [*clips, *slower]]) == []
