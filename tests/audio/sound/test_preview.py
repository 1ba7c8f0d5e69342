"""Small pictures of clips: the waveform above the spectrogram."""

import io

import numpy as np
import pytest
import soundfile
from PIL import Image

from graftwork.audio.sound.preview import preview
from graftwork.core.errors import UnreadableError


def write(path, hz, seconds=1.0, rate=16000):
    times = np.arange(int(seconds * rate)) / rate
    noise = np.random.default_rng(0).normal(0, 1e-4, len(times))
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * hz * times) + noise, rate)
    return str(path)


def brightest_row(content):
    picture = np.asarray(Image.open(io.BytesIO(content)).convert("L"), dtype=float)
    height = len(picture)
    within = picture[round(0.38 * height) : round(0.86 * height), 60:-30]  # the spectrogram without its axes
    return int(within.mean(1).argmax())


def test_high_tones_lie_above_low_ones(tmp_path):
    low, high = (brightest_row(preview(write(tmp_path / f"{hz}.wav", hz))) for hz in (300, 3500))
    assert high < low


@pytest.mark.parametrize("seconds", [0.01, 45.0])
def test_very_short_and_long_clips_are_drawn_small(tmp_path, seconds):
    content = preview(write(tmp_path / "a.wav", 440, seconds))
    assert content.startswith(b"\x89PNG")
    assert len(content) < 60_000


def test_the_same_clip_is_the_same_bytes(tmp_path):
    path = write(tmp_path / "a.wav", 440)
    assert preview(path) == preview(path)


def test_what_cannot_be_read_is_named(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"no sound")
    with pytest.raises(UnreadableError, match=r"a\.wav"):
        preview(str(tmp_path / "a.wav"))
