"""What `check` says of sound files, against what was written."""

import numpy as np
import pytest
import soundfile

from graftwork.audio.sound.description import describe_sound
from graftwork.core.errors import UnreadableError
from graftwork.core.example import File, Span


@pytest.fixture
def write(tmp_path):
    def write(samples, rate=8000, name="a.wav"):
        soundfile.write(tmp_path / name, samples, rate, format="WAV", subtype="FLOAT")
        return File(str(tmp_path / name))

    return write


def test_length_rate_channels_and_level_are_those_that_were_written(write):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (4000, 2)).astype(np.float32)
    found = describe_sound(write(samples, name="a.mp3"))
    assert found.numbers == {"seconds": 0.5, "loudest": pytest.approx(float(np.abs(samples).max()))}
    assert found.words == {"rate_hz": "8000", "channels": "2", "format": "wav named .mp3"}
    assert found.faults == ()


def test_silent_and_clipped_files_are_named_as_such(write):
    assert describe_sound(write(np.zeros(800))).faults == ("silent",)
    loud = np.clip(3 * np.sin(np.arange(800)), -1, 1)
    assert describe_sound(write(loud)).faults == ("clipped",)


def test_of_seconds_only_these_are_looked_at(write):
    sound = write(np.concatenate([np.zeros(800), np.linspace(-0.5, 0.5, 800)]))
    assert describe_sound(Span(sound.path, "0", "0.1")).faults == ("silent",)
    assert describe_sound(Span(sound.path, "0.1", "0.2")).numbers["seconds"] == pytest.approx(0.1)


def test_what_is_no_sound_is_not_described(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"no sound")
    with pytest.raises(UnreadableError):
        describe_sound(File(str(tmp_path / "a.wav")))
