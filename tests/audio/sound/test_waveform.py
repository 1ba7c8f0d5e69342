from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from scipy.signal import resample_poly

from graftwork.audio import read_waveform
from graftwork.audio.sound.formats import SOUNDFILE_SUFFIXES
from graftwork.audio.sound.truncation import refuse_truncated
from graftwork.audio.sound.waveform import _say_resampled
from graftwork.core.errors import SettingsError, UnreadableError
from tests.audio.conftest import tone

Write = Callable[..., Path]
SEED = 0


def test_pcm_files_give_the_samples_that_soundfile_gives(write_sound: Write) -> None:
    samples = np.random.default_rng(SEED).uniform(-1, 1, 1600)
    for name in ("a.wav", "a.flac", "a.aiff"):
        path = write_sound(name, samples)
        expected, _ = soundfile.read(path, dtype="float32")
        read = read_waveform(path, 16000)
        assert read.dtype == torch.float32
        assert torch.equal(read, torch.from_numpy(expected))


@pytest.mark.parametrize("suffix", SOUNDFILE_SUFFIXES)
def test_every_suffix_of_soundfile_is_decoded(write_sound: Write, suffix: str) -> None:
    # Opus knows only a few rates, and soundfile takes no format from these two endings.
    formats = {
        ".opus": {"format": "OGG", "subtype": "OPUS"},
        ".oga": {"format": "OGG"},
        ".aif": {"format": "AIFF"},
    }
    path = write_sound(f"a{suffix}", tone(0.5), **formats.get(suffix, {}))
    read = read_waveform(path, 16000)
    middle = read[2000:6000]
    assert float(middle.square().mean().sqrt()) == pytest.approx(0.5 / 2**0.5, rel=0.1)


def test_channels_are_averaged(write_sound: Write) -> None:
    left, right = tone(0.1), tone(0.1, hz=300.0)
    path = write_sound("stereo.wav", np.stack([left, right], axis=1), subtype="FLOAT")
    torch.testing.assert_close(read_waveform(path, 16000), torch.from_numpy((left + right) / 2))


@pytest.mark.parametrize("rate_hz", [8000, 22050, 44100, 48000])
def test_resampling_keeps_a_tone_and_agrees_with_scipy(write_sound: Write, rate_hz: int) -> None:
    samples = tone(0.5, rate_hz)
    read = read_waveform(write_sound("a.wav", samples, rate_hz, subtype="FLOAT"), 16000)
    assert len(read) == 8000
    expected = resample_poly(samples, 16000, rate_hz)
    inner = slice(800, -800)  # the two filters treat the edges differently
    assert np.abs(read.numpy()[inner] - expected[inner]).max() < 2e-3
    assert np.abs(read.numpy()[inner] - tone(0.5)[inner]).max() < 2e-3


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
def test_the_middle_is_what_a_crop_keeps(write_sound: Write, name: str) -> None:
    path = write_sound(name, np.random.default_rng(SEED).uniform(-0.5, 0.5, 16001))
    whole = read_waveform(path, 16000)
    cropped = read_waveform(path, 16000, max_seconds=0.25)
    start = (len(whole) - 4000) // 2
    torch.testing.assert_close(cropped, whole[start : start + 4000], atol=1e-4, rtol=0)


def test_a_crop_reads_only_its_own_frames(write_sound: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_sound("long.wav", tone(2.0))
    asked = []
    original = soundfile.SoundFile.read

    def counted(self: soundfile.SoundFile, frames: int = -1, **options: object) -> np.ndarray:
        asked.append(frames)
        return original(self, frames, **options)

    monkeypatch.setattr(soundfile.SoundFile, "read", counted)
    read_waveform(path, 16000, max_seconds=0.1)
    assert asked == [1600]


def test_a_clip_shorter_than_the_crop_is_kept_whole(write_sound: Write) -> None:
    assert len(read_waveform(write_sound("a.wav", tone(0.1)), 16000, max_seconds=60)) == 1600


def test_a_crop_must_be_longer_than_nothing(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="above 0, found 0"):
        read_waveform(tmp_path / "a.wav", 16000, max_seconds=0)


def check_refused(path: Path, *words: str, **options: float) -> None:
    with pytest.raises(UnreadableError) as caught:
        read_waveform(path, 16000, **options)
    for word in (str(path), *words):
        assert word in str(caught.value)


def test_a_missing_file_a_folder_and_an_empty_file_are_distinguished(tmp_path: Path) -> None:
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "zero.wav").touch()
    check_refused(tmp_path / "none.wav", "no such file")
    check_refused(tmp_path / "folder.wav", "is a folder")
    check_refused(tmp_path / "zero.wav", "0 bytes")


def test_a_file_without_samples_is_refused(write_sound: Write) -> None:
    check_refused(write_sound("a.wav", np.zeros(0)), "no samples")


def test_silence_and_a_constant_offset_are_refused(write_sound: Write) -> None:
    check_refused(write_sound("a.wav", np.zeros(1000)), "silence")
    check_refused(write_sound("b.wav", np.full(1000, 0.25)), "silence")


def test_silence_in_the_cropped_part_says_so(write_sound: Write) -> None:
    samples = np.zeros(16000)
    samples[:10] = 0.5
    check_refused(write_sound("a.wav", samples), "silence in the middle 0.1 s", max_seconds=0.1)


def test_samples_that_are_not_finite_are_counted(write_sound: Write) -> None:
    samples = tone(0.1)
    samples[[3, 7]] = np.nan, np.inf
    check_refused(write_sound("a.wav", samples, subtype="FLOAT"), "2 of 1600 samples are NaN or infinite")


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("a.wav", {}, "truncated: its header claims 96000 bytes of sound, 47978 are there"),
        ("a.aiff", {}, "truncated: its header claims 96008 bytes of sound"),
        ("a.flac", {}, "damaged or cut off: it begins as a sound file, but cannot be decoded to its end"),
        ("a.mp3", {}, "truncated: its header claims 48000 frames (3.00 s)"),
        ("a.ogg", {}, "truncated: its last page lacks"),
        ("a.opus", {"format": "OGG", "subtype": "OPUS"}, "truncated: its last page lacks"),
    ],
)
def test_a_file_that_was_cut_off_is_refused(write_sound: Write, name: str, options: dict[str, str], said: str) -> None:
    path = write_sound(name, np.random.default_rng(SEED).uniform(-0.9, 0.9, 48000), **options)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    check_refused(path, said, "copy it again")


def ogg_page(*lengths: int) -> bytes:
    """A page by RFC 3533 with segments of these lengths; the mark in its content begins no page."""
    content = (b"OggS\1" + bytes(range(1, 256)))[: sum(lengths)]
    return b"OggS" + bytes(22) + bytes([len(lengths), *lengths]) + content


@pytest.mark.parametrize(("cut", "lacking"), [(1, 1), (150, 150), (151, 101), (153, 1), (180, 1)])
def test_bytes_that_the_last_page_of_an_ogg_file_lacks_are_counted(tmp_path: Path, cut: int, lacking: int) -> None:
    """It has 27 + 2 + 150 bytes; segments whose lengths are cut off, too, cannot be counted."""
    path = tmp_path / "a.ogg"
    path.write_bytes((ogg_page(200) + ogg_page(100, 50))[:-cut])
    with pytest.raises(UnreadableError, match=f"its last page lacks {lacking} or more bytes"):
        refuse_truncated(path)


@pytest.mark.parametrize("appended", [b"", b"TAG", bytes(70_000)])
def test_an_ogg_file_is_complete_with_its_last_page_and_may_have_tags_behind(tmp_path: Path, appended: bytes) -> None:
    path = tmp_path / "a.ogg"
    path.write_bytes(ogg_page(200) + ogg_page(100, 50) + appended)
    refuse_truncated(path)


def test_a_header_that_was_cut_off_is_damage_with_the_reason_of_the_library(write_sound: Write) -> None:
    path = write_sound("a.wav", tone(0.1))
    path.write_bytes(path.read_bytes()[:20])
    check_refused(path, "damaged or cut off, or of an encoding that is not known (", "Malformed 'fmt ' chunk")


def test_a_wav_cut_after_an_extra_chunk_is_still_recognised(write_sound: Write) -> None:
    content = write_sound("a.wav", tone(0.1)).read_bytes()
    extra = b"LIST" + struct.pack("<I", 5) + b"hello\0"  # an odd length is followed by one byte of padding
    path = write_sound("b.wav", tone(0.1))
    path.write_bytes(content[:36] + extra + content[36:-100])
    check_refused(path, "truncated", "3200 bytes")


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
def test_a_wav_from_a_pipe_does_not_know_its_length_and_is_read(write_sound: Write, size: int) -> None:
    path = write_sound("a.wav", tone(0.1))
    content = bytearray(path.read_bytes())
    content[40:44] = struct.pack("<I", size)
    path.write_bytes(content)
    if size == 0:
        check_refused(path, "no samples")
    else:
        assert len(read_waveform(path, 16000)) == 1600


def test_something_else_under_the_name_of_a_sound_is_refused_with_the_known_formats(tmp_path: Path) -> None:
    for name in ("a.wav", "a.mp3"):
        path = tmp_path / name
        path.write_text("path,label\n")
        check_refused(path, "not a readable sound file: of another format than its name says", "known are .wav, .flac")


def test_clipping_and_other_rates_are_said_once(write_sound, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="graftwork")
    _say_resampled.cache_clear()  # another test may have been told already
    loud, soft = np.clip(8 * tone(0.5, 11025), -1, 1), tone(0.5, 11025)
    names = [write_sound("loud.wav", loud, 11025), write_sound("soft.wav", soft, 11025)]
    for name in names * 2:
        read_waveform(name, 16000)
    assert caplog.text.count("files of 11025 Hz are resampled to 16000 Hz") == 1
    assert caplog.text.count("loud.wav: clipped: 84% of its samples are at full scale") == 1
    assert "soft.wav" not in caplog.text
