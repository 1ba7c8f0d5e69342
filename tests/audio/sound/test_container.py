"""Formats by content: what soundfile writes is known under any name, and read as soundfile reads it."""

import logging
import sys

import numpy as np
import pytest
import soundfile

from graftwork.audio.sound import container
from graftwork.audio.sound.container import described, format_of, needs_ffmpeg
from graftwork.audio.sound.waveform import duration_of, read_waveform
from graftwork.core.errors import MissingPackageError

RATE = 16_000


@pytest.fixture
def tone():
    return (0.3 * np.sin(np.arange(RATE // 2) * 0.1)).astype(np.float32)


@pytest.mark.parametrize(
    ("kind", "subtype", "expected"),
    [("WAV", "FLOAT", "wav"), ("RF64", "PCM_16", "wav"), ("FLAC", "PCM_16", "flac"), ("OGG", "VORBIS", "ogg"),
     ("OGG", "OPUS", "ogg"), ("MP3", "MPEG_LAYER_III", "mp3"), ("AIFF", "PCM_16", "aiff")],
)  # fmt: skip
def test_what_soundfile_writes_is_known_and_read_under_any_name(tmp_path, caplog, tone, kind, subtype, expected):
    container._say_misnamed.cache_clear()
    path = tmp_path / "renamed.m4a"
    soundfile.write(path, tone, RATE, format=kind, subtype=subtype)
    assert format_of(path) == expected
    assert described(path) == f"{expected} named .m4a"
    again, _ = soundfile.read(path, dtype="float32")
    with caplog.at_level(logging.WARNING):
        np.testing.assert_allclose(read_waveform(str(path), RATE).numpy(), again, atol=1e-6)
        read_waveform(str(path), RATE)
    assert duration_of(path) == pytest.approx(len(again) / RATE)
    # Once, by the first look at it.
    assert caplog.messages.count(f"some files named .m4a are {expected}, and are read as that") == 1


def test_a_tag_in_front_is_passed_over(tmp_path, tone):
    soundfile.write(tmp_path / "a.flac", tone, RATE)
    soundfile.write(tmp_path / "a.mp3", tone, RATE)
    tag = b"ID3\x04\0\0\0\0\x01\x00" + bytes(128)
    for name, expected in (("a.flac", "flac"), ("a.mp3", "mp3")):
        (tmp_path / f"tagged-{name}").write_bytes(tag + (tmp_path / name).read_bytes())
        assert format_of(tmp_path / f"tagged-{name}") == expected


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"\0\0\0\x20ftypM4A \0\0\0\0", "m4a"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0", "m4a"),
        (b"\0\0\0\x14ftyp3gp5\0\0\0\0", "3gp"),
        (b"\x1a\x45\xdf\xa3" + bytes(8), "webm"),
        (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11" + bytes(8), "wma"),
        (b"\xff\xf1\x50\x80" + bytes(8), "aac"),
        (b"\xff\xf9\x50\x80" + bytes(8), "aac"),
        (b"\xff\xfb\x90\x64" + bytes(8), "mp3"),
        (b"text, no sound", None),
        (b"", None),
    ],
)
def test_others_are_known_by_their_first_bytes(tmp_path, head, expected):
    (tmp_path / "a.mp3").write_bytes(head)
    assert format_of(tmp_path / "a.mp3") == expected
    assert needs_ffmpeg(tmp_path / "a.mp3") == (expected in container.NEED_FFMPEG)


def test_m4a_named_mp3_is_called_that_where_its_decoder_is_not_there(tmp_path, monkeypatch):
    (tmp_path / "talk.mp3").write_bytes(b"\0\0\0\x20ftypM4A \0\0\0\0" + bytes(100))
    monkeypatch.setitem(sys.modules, "torchcodec", None)
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)
    with pytest.raises(MissingPackageError, match=r"talk\.mp3: m4a named \.mp3 needs torchcodec and FFmpeg"):
        read_waveform(str(tmp_path / "talk.mp3"), RATE)
