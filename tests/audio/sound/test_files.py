"""Files that do not say how long they are, or say something wrong: all of their sound, or an error that names them."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from graftwork.audio import AudioContract
from graftwork.audio.sound.mpeg import mpeg_length
from graftwork.audio.sound.waveform import duration_of, read_waveform
from graftwork.core.errors import UnreadableError

SECONDS = 3


def noise(seconds: float = SECONDS, rate_hz: int = 16000, seed: int = 0) -> Any:
    samples = np.random.default_rng(seed).uniform(-0.3, 0.3, round(seconds * rate_hz))
    samples[: len(samples) // 3] *= 0.01  # so that variable rates vary
    return samples


def encoded(samples: Any, rate_hz: int = 16000, **options: Any) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, **options)
    return file.getvalue()


def mp3(mode: str = "VARIABLE", rate_hz: int = 16000, seed: int = 0, channels: int = 1) -> bytes:
    samples = noise(rate_hz=rate_hz, seed=seed)
    return encoded(np.stack([samples] * channels, axis=1), rate_hz, format="MP3", subtype="MPEG_LAYER_III",
                   bitrate_mode=mode, compression_level=0.5)  # fmt: skip


def info_place(data: bytes) -> int:
    return max(data.find(b"Xing"), data.find(b"Info"))


def first_size(data: bytes) -> int:
    """The first frame ends where the second one begins, which has the same first bytes."""
    return data.index(data[:2], 4)


def emptied(data: bytes) -> bytes:
    place, size = info_place(data) + 4, first_size(data)
    return data[:place] + bytes(size - place) + data[size:]


def id3(size: int) -> bytes:
    return b"ID3\x04\0\0" + bytes([size >> 21 & 127, size >> 14 & 127, size >> 7 & 127, size & 127]) + b"\xff" * size


def ape(size: int) -> bytes:
    return b"APETAGEX" + struct.pack("<IIII8x", 2000, size + 32, 1, 1 << 31) + bytes(size + 32)


MAKE_MP3: dict[str, Callable[[bytes], bytes]] = {
    "without": lambda data: data[first_size(data) :],
    "emptied": emptied,
    "picture": lambda data: id3(30_000) + data[first_size(data) :],
    "tags behind": lambda data: data[first_size(data) :] + b"TAG" + bytes(125),
    "rubbish before": lambda data: bytes(777) + data[first_size(data) :],
    "tag within": lambda data: data[first_size(data) :] + id3(500) + data[first_size(data) :],
    "large tag within": lambda data: data[first_size(data) :] + ape(70_000) + data[first_size(data) :],
    "joined": lambda data: data + data,
    "joined without": lambda data: data[first_size(data) :] * 2,
}


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
@pytest.mark.parametrize("rate_hz", [16000, 44100, 8000])
@pytest.mark.parametrize("kind", MAKE_MP3)
def test_an_mp3_that_does_not_say_how_long_it_is_is_read_whole(
    kind: str, rate_hz: int, mode: str, tmp_path: Path
) -> None:
    whole = mp3(mode, rate_hz)
    (tmp_path / "whole.mp3").write_bytes(whole)
    (tmp_path / "a.mp3").write_bytes(MAKE_MP3[kind](whole))
    expected = read_waveform(tmp_path / "whole.mp3", rate_hz).numpy()
    assert len(expected) == SECONDS * rate_hz
    found = read_waveform(tmp_path / "a.mp3", rate_hz).numpy()
    times = 2 if "joined" in kind or "within" in kind else 1
    # Without its first frame a file does not say how much of its beginning and end the encoder has added.
    assert 0 <= len(found) - times * SECONDS * rate_hz <= times * 3 * 1152
    offsets = [np.dot(found[start : start + 8000], expected[rate_hz : rate_hz + 8000])
               for start in range(rate_hz, rate_hz + 3000)]  # fmt: skip
    place = rate_hz + int(np.argmax(offsets))
    np.testing.assert_allclose(found[place : place + 8000], expected[rate_hz : rate_hz + 8000], atol=2e-3)
    assert duration_of(tmp_path / "a.mp3") == pytest.approx(len(found) / rate_hz)


def test_a_complete_mp3_is_read_as_libsndfile_reads_it(tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_bytes(mp3(channels=2))
    expected = soundfile.read(tmp_path / "a.mp3", dtype="float32")[0].mean(1)
    np.testing.assert_allclose(read_waveform(tmp_path / "a.mp3", 16000), expected, atol=1e-7)
    length = mpeg_length(tmp_path / "a.mp3")
    assert length is not None
    assert length.stated == length.frames


def test_a_frame_that_only_informs_is_no_sound(tmp_path: Path) -> None:
    whole = mp3(rate_hz=44100)
    size = first_size(whole)
    counted = []
    for number, told in enumerate((whole[:size], whole[:4] + bytes(32) + b"VBRI" + bytes(size - 40), b"")):
        (tmp_path / f"{number}.mp3").write_bytes(told + whole[size:])
        length = mpeg_length(tmp_path / f"{number}.mp3")
        assert length is not None
        counted.append(length.frames)
    assert counted == [struct.unpack(">I", whole[info_place(whole) + 8 : info_place(whole) + 12])[0]] * 3


def test_an_mp3_without_length_that_is_cut_off_or_changes_is_refused(tmp_path: Path) -> None:
    bare = MAKE_MP3["without"](mp3())
    (tmp_path / "cut.mp3").write_bytes(bare[:-7])
    (tmp_path / "mixed.mp3").write_bytes(bare + MAKE_MP3["without"](mp3(rate_hz=22050)))
    with pytest.raises(UnreadableError, match=r"cut\.mp3: truncated: its last frame is not all there"):
        read_waveform(tmp_path / "cut.mp3", 16000)
    with pytest.raises(UnreadableError, match=r"mixed\.mp3: changes from 16000 Hz and 1 channels to 22050 Hz"):
        read_waveform(tmp_path / "mixed.mp3", 16000)


def flac_total(data: bytes, samples: int) -> bytes:
    changed = bytearray(data)
    changed[21] = changed[21] & 0xF0 | samples >> 32
    changed[22:26] = struct.pack(">I", samples & 0xFFFFFFFF)
    return bytes(changed)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
@pytest.mark.parametrize("count", [1, 100, 4096, 48001])
def test_a_flac_from_a_pipe_is_read_whole(subtype: str, count: int, tmp_path: Path) -> None:
    samples = noise(4)[-count:]
    (tmp_path / "a.flac").write_bytes(flac_total(encoded(samples, format="FLAC", subtype=subtype), 0))
    read = AudioContract(shortest_samples=1).read
    if count > 1:
        np.testing.assert_allclose(read(tmp_path / "a.flac"), samples, atol=1e-4)
    assert duration_of(tmp_path / "a.flac") == count / 16000
    if count > 40000:
        np.testing.assert_allclose(read(f"{tmp_path}/a.flac#t=1,2"), samples[16000:32000], atol=1e-4)
        windows = AudioContract(window_seconds=1.0, window_overlap=0.0).windows(str(tmp_path / "a.flac"))
        assert len(windows) == 3


@pytest.mark.parametrize(("change", "said"), [
    (lambda data: flac_total(data, 0)[:-3], "truncated: it does not say how long it is"),
    (lambda data: flac_total(data, 100), "its header claims 100 samples, its frames have 48000"),
    (lambda data: flac_total(data, 50_000), "damaged or cut off"),
    (lambda data: flac_total(data, (1 << 36) - 1), "cannot be in"),
    (lambda data: data + data, "several FLAC files joined"),
    (lambda data: flac_total(data + data, 0), "several FLAC files joined"),
])  # fmt: skip
def test_a_flac_that_says_something_wrong_is_refused(
    change: Callable[[bytes], bytes], said: str, tmp_path: Path
) -> None:
    (tmp_path / "a.flac").write_bytes(change(encoded(noise(), format="FLAC", subtype="PCM_16")))
    with pytest.raises(UnreadableError, match=rf"a\.flac: {said}|a\.flac: truncated: .*{said}"):
        read_waveform(tmp_path / "a.flac", 16000)
    assert AudioContract(window_seconds=1.0).windows(str(tmp_path / "a.flac"))[:2]


def size_of(data: bytes, kind: str, size: int) -> bytes:
    """The file with another number of bytes of sound in its header."""
    place, pattern = {
        "WAV": (data.find(b"data") + 4, "<I"), "RF64": (28, "<Q"), "W64": (data.find(b"data\xf3\xac") + 16, "<Q"),
        "AU": (8, ">I"), "AIFF": (data.find(b"SSND") + 4, ">I"),
    }[kind]  # fmt: skip
    changed = bytearray(data)
    struct.pack_into(pattern, changed, place, size)
    return bytes(changed)


@pytest.mark.parametrize("kind", ["WAV", "RF64", "W64", "AU", "AIFF"])
def test_files_that_are_cut_off_joined_or_not_closed_are_refused(kind: str, tmp_path: Path) -> None:
    data = encoded(noise(), format=kind, subtype="PCM_16")
    path = tmp_path / f"a.{kind.lower()}"
    path.write_bytes(data)
    np.testing.assert_allclose(read_waveform(path, 16000), noise(), atol=1e-4)
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(UnreadableError, match="truncated: its header claims 960"):
        read_waveform(path, 16000)
    path.write_bytes(data + data)
    with pytest.raises(UnreadableError, match=r"joined|not a readable sound file"):
        read_waveform(path, 16000)
    if kind != "W64":  # whose length libsndfile does not ask for
        path.write_bytes(size_of(data, kind, 1000))
        with pytest.raises(UnreadableError, match="more follow that are not described"):
            read_waveform(path, 16000)


@pytest.mark.parametrize(("kind", "size"), [
    ("WAV", 0xFFFFFFFF), ("WAV", 0x7FFFFFFF), ("AU", 0xFFFFFFFF), ("W64", (1 << 63) - 1), ("W64", 0), ("AIFF", 0),
    ("RF64", (1 << 63) - 1),
])  # fmt: skip
def test_sizes_that_say_nothing_are_read_to_the_end(kind: str, size: int, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind.lower()}"
    path.write_bytes(size_of(encoded(noise(), format=kind, subtype="PCM_16"), kind, size))
    np.testing.assert_allclose(read_waveform(path, 16000), noise(), atol=1e-4)


@pytest.mark.parametrize("behind", [
    b"LIST\x04\0\0\0INFO", b"ID3\x04" + bytes(9000), b"TAG" + bytes(125), bytes(50_000), b"\x01" * 300,
])  # fmt: skip
def test_what_programs_put_behind_the_sound_of_a_wav_does_no_harm(behind: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(encoded(noise(), format="WAV", subtype="PCM_16") + behind)
    np.testing.assert_allclose(read_waveform(tmp_path / "a.wav", 16000), noise(), atol=1e-4)


@pytest.mark.parametrize("padding", [b"", b"\0"])
def test_a_chunk_behind_an_odd_number_of_bytes_may_lack_the_byte_between(padding: bytes, tmp_path: Path) -> None:
    data = encoded(noise()[:2001], format="WAV", subtype="PCM_U8")
    end = data.find(b"data") + 8 + 2001
    chunk = b"LIST" + struct.pack("<I", 6000) + b"INFO" + b"x" * 5996
    (tmp_path / "a.wav").write_bytes(data[:end] + padding + chunk)
    assert len(read_waveform(tmp_path / "a.wav", 16000)) == 2001


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_ogg_streams_joined_one_behind_another_are_refused(subtype: str, tmp_path: Path) -> None:
    one, other = (encoded(noise(length), format="OGG", subtype=subtype) for length in (1, 2))
    (tmp_path / "one.ogg").write_bytes(one)
    (tmp_path / "a.ogg").write_bytes(one + other)
    assert len(read_waveform(tmp_path / "one.ogg", 16000)) == 16000
    with pytest.raises(UnreadableError, match="several files joined"):
        read_waveform(tmp_path / "a.ogg", 16000)


@pytest.mark.parametrize("rate_hz", [1, 200, 2_000_000, 0x7FFFFFFF])
def test_absurd_sample_rates_are_refused(rate_hz: int, tmp_path: Path) -> None:
    data = bytearray(encoded(noise(), format="WAV", subtype="PCM_16"))
    struct.pack_into("<I", data, 24, rate_hz)
    (tmp_path / "a.wav").write_bytes(data)
    with pytest.raises(UnreadableError, match=r"a\.wav: claims a sample rate of"):
        read_waveform(tmp_path / "a.wav", 16000)


def test_a_file_called_raw_is_read_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(encoded(noise(), format="WAV", subtype="PCM_16"))
    (tmp_path / "b.RAW").write_bytes(noise().astype("<f4").tobytes())
    np.testing.assert_allclose(read_waveform(tmp_path / "a.raw", 16000), noise(), atol=1e-4)
    assert duration_of(tmp_path / "a.raw") == SECONDS
    with pytest.raises(UnreadableError, match=r"b\.RAW: not a readable sound file"):
        read_waveform(tmp_path / "b.RAW", 16000)
    assert duration_of(tmp_path / "b.RAW") is None


@pytest.mark.parametrize("error", [TypeError("x"), OverflowError("x"), AssertionError(), KeyError("x")])
def test_whatever_a_decoder_raises_names_the_file(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*args: object, **options: object) -> None:
        raise error

    (tmp_path / "a.wav").write_bytes(encoded(noise(), format="WAV", subtype="PCM_16"))
    for name in ("read", "__init__"):
        with monkeypatch.context() as patched:
            patched.setattr(soundfile.SoundFile, name, fails)
            with pytest.raises(UnreadableError, match=r"a\.wav"):
                read_waveform(tmp_path / "a.wav", 16000)
