"""Silence is cut off around speech: vowels made of pulses and resonances, which silero-vad takes for speech."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from scipy.signal import lfilter

from graftwork.audio import AudioContract, load_backbone
from graftwork.audio.preprocessing import voice_activity as module
from graftwork.audio.preprocessing.voice_activity import trim_silence
from graftwork.core.errors import MissingPackageError, SettingsError

RATE_HZ = 16000
FORMANTS_HZ = ((700, 1200, 2600), (300, 2300, 3000), (400, 800, 2500), (550, 1800, 2600))


def vowels(seconds: float, rate_hz: int = RATE_HZ) -> np.ndarray:
    """A voice of about 120 Hz that changes its vowel every 0.2 s."""
    time_s = np.arange(int(seconds * rate_hz)) / rate_hz
    pitch_hz = 120 + 15 * np.sin(2 * np.pi * 1.5 * time_s)
    pulses = np.diff(np.floor(np.cumsum(pitch_hz) / rate_hz), prepend=0)
    sound = np.zeros(len(time_s))
    for number, span in enumerate(np.array_split(np.arange(len(time_s)), int(seconds / 0.2))):
        vowel, decay = pulses, np.exp(-np.pi * 80 / rate_hz)
        for hz in FORMANTS_HZ[number % 4]:
            vowel = lfilter([1], [1, -2 * decay * np.cos(2 * np.pi * hz / rate_hz), decay**2], vowel)
        sound[span] = vowel[span] * np.hanning(len(span) + 2)[1:-1] ** 0.3
    return 0.3 * sound / np.abs(sound).max()


def with_silence(before_s: float, seconds: float, behind_s: float, rate_hz: int = RATE_HZ) -> np.ndarray:
    sound = np.concatenate(
        [np.zeros(int(before_s * rate_hz)), vowels(seconds, rate_hz), np.zeros(int(behind_s * rate_hz))]
    )
    return (sound + np.random.default_rng(0).normal(0, 0.001, len(sound))).astype(np.float32)


@pytest.fixture
def detector():
    return pytest.importorskip("silero_vad", reason="the extra vad is not installed")


@pytest.mark.usefixtures("detector")
@pytest.mark.parametrize("rate_hz", [16000, 8000])
def test_a_clip_begins_and_ends_with_its_speech_and_keeps_its_pauses(rate_hz: int) -> None:
    clip = np.concatenate([with_silence(1, 1.5, 0.6, rate_hz), with_silence(0, 1.5, 2, rate_hz)])
    trimmed = trim_silence(torch.from_numpy(clip), rate_hz, "clip.wav")
    assert len(trimmed) / rate_hz == pytest.approx(3.6, abs=0.35)
    start = int(np.flatnonzero(clip == trimmed[0].item())[0])
    assert start / rate_hz == pytest.approx(0.9, abs=0.15)
    assert np.array_equal(clip[start : start + len(trimmed)], trimmed.numpy())


@pytest.mark.usefixtures("detector")
def test_clips_read_side_by_side_are_trimmed_as_one_by_one(write_sound) -> None:
    names = [str(write_sound(f"{number}.wav", with_silence(0.2 * number, 1 + 0.2 * number, 1))) for number in range(4)]
    contract = AudioContract(trim_silence="on")
    alone = [contract.read(name) for name in names]
    with ThreadPoolExecutor(4) as pool:
        for name, found in zip(names * 3, pool.map(contract.read, names * 3), strict=True):
            assert torch.equal(found, alone[names.index(name)])


@pytest.mark.usefixtures("detector")
def test_what_is_cropped_is_the_middle_of_the_speech(write_sound) -> None:
    name = write_sound("late.wav", with_silence(6, 2, 0))
    whole = AudioContract(trim_silence="on").read(name)
    middle = AudioContract(trim_silence="on", max_seconds=1.0).read(name)
    start = (len(whole) - RATE_HZ) // 2
    assert torch.equal(middle, whole[start : start + RATE_HZ])
    assert middle.abs().max() > 0.1


@pytest.mark.usefixtures("detector")
def test_a_clip_in_which_no_speech_is_found_stays_as_it_is_and_is_named(write_sound, caplog) -> None:
    hum = 0.3 * np.sin(np.arange(32000) * 0.05)
    name = write_sound("hum.wav", hum)
    found = AudioContract(trim_silence="on").read(name)
    assert torch.equal(found, AudioContract().read(name))
    assert "hum.wav: no speech found in it; it stays as it is" in caplog.text


@pytest.mark.usefixtures("detector")
def test_the_program_keeps_its_threads() -> None:
    module._detector.cache_clear()
    sys.modules.pop("silero_vad.model")
    sys.modules.pop("silero_vad")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    trim_silence(torch.from_numpy(with_silence(0, 1, 0)), RATE_HZ, "clip.wav")
    found = torch.get_num_threads()
    torch.set_num_threads(before)
    assert found == 2


def test_without_the_package_the_extra_is_named(write_sound, monkeypatch: pytest.MonkeyPatch) -> None:
    module._detector.cache_clear()
    monkeypatch.setitem(sys.modules, "silero_vad", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'graftwork\[vad\]'"):
        AudioContract(trim_silence="on").read(write_sound("clip.wav", with_silence(0, 1, 0)))


def test_trimming_is_kept_with_the_backbone_and_not_for_windows() -> None:
    backbone = load_backbone("tiny:wav2vec2", trim_silence="on")
    assert backbone.options["trim_silence"] == "on"
    assert backbone.contract.to_json()["trim_silence"] == "on"
    with pytest.raises(SettingsError, match="give one of them"):
        AudioContract(trim_silence="on", window_seconds=3.0)
    with pytest.raises(SettingsError, match="trim_silence must be one of"):
        AudioContract(trim_silence="yes")  # type: ignore[arg-type]
