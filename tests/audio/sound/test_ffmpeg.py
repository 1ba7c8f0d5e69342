"""m4a and its kin: what is asked of torchcodec, and what is said where it or FFmpeg is missing.

Everything but the last tests runs with a stand-in for torchcodec; these make real files, where FFmpeg is installed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from graftwork.audio import SUFFIXES, read_waveform
from graftwork.audio.preprocessing.contract import AudioContract
from graftwork.audio.sound.ffmpeg import open_sound
from graftwork.audio.sound.formats import FFMPEG_SUFFIXES
from graftwork.audio.sound.waveform import duration_of
from graftwork.core.data.tables import read_manifest
from graftwork.core.errors import GraftworkError, MissingPackageError, UnreadableError
from tests.audio.conftest import tone

SEED = 0


@pytest.fixture
def without_torchcodec() -> Iterator[None]:
    """Nothing of torchcodec is imported before or after the test."""
    kept = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "torchcodec"}
    for name in kept:
        del sys.modules[name]
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchcodec"]:
        del sys.modules[name]
    sys.modules.update(kept)


def file_called(folder: Path, name: str) -> Path:
    path = folder / name
    path.write_bytes(b"\0\0\0\x20ftypM4A " + bytes(200))
    return path


def refusal(path: Path, kind: type[GraftworkError]) -> str:
    with pytest.raises(kind) as caught:
        read_waveform(path, 16000)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


@pytest.mark.parametrize("suffix", FFMPEG_SUFFIXES)
@pytest.mark.usefixtures("without_torchcodec")
def test_without_torchcodec_it_says_what_to_install_and_how_to_convert(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torchcodec", None)
    path = file_called(tmp_path, f"a{suffix}")
    said = refusal(path, MissingPackageError)
    for word in ("pip install 'graftwork[m4a]'", "install FFmpeg", f"ffmpeg -i 'a{suffix}' 'a.flac'"):
        assert word in said
    assert duration_of(path) is None


@pytest.mark.parametrize("start", ["ffmpeg_major_version = None", "raise RuntimeError('Could not load libtorchcodec')"])
@pytest.mark.usefixtures("without_torchcodec")
def test_torchcodec_without_ffmpeg_is_distinguished(
    tmp_path: Path, start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some versions can be imported without FFmpeg, others cannot."""
    package = tmp_path / "packages" / "torchcodec"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(f"{start}\n")
    (package / "decoders.py").write_text("")
    monkeypatch.syspath_prepend(package.parent)
    said = refusal(file_called(tmp_path, "a.m4a"), MissingPackageError)
    for word in ("torchcodec is there", "cannot load FFmpeg's libraries", "install FFmpeg", "ffmpeg -i 'a.m4a'"):
        assert word in said
    assert "pip install" not in said


Stand = Callable[..., list[tuple[float, float]]]


@pytest.fixture
def stand_in(without_torchcodec: None, monkeypatch: pytest.MonkeyPatch) -> Stand:
    """Puts a torchcodec in place whose every file holds `samples` (channels, frames), and returns what is asked of it.

    states_s: the duration in the header. begins_s: its first time stamp as the header has it. late_s: what that is.
    broken_s: where decoding fails.
    """

    def stand(
        samples: np.ndarray, rate_hz: int = 16000, *, states_s: float | None, begins_s: float | None = 0.0,
        late_s: float = 0.0, broken_s: float = np.inf,
    ) -> list[tuple[float, float]]:  # fmt: skip
        asked: list[tuple[float, float]] = []

        class AudioDecoder:
            def __init__(self, path: Path) -> None:
                self.metadata = SimpleNamespace(
                    sample_rate=rate_hz, duration_seconds=states_s, begin_stream_seconds_from_header=begins_s,
                    num_channels=len(samples),
                )  # fmt: skip

            def get_samples_played_in_range(self, start: float, stop: float) -> SimpleNamespace:
                asked.append((start, stop))
                if stop > broken_s:
                    raise RuntimeError("Could not push packet to decoder: Invalid data found")
                first = max(start, late_s)
                part = samples[:, round((first - late_s) * rate_hz) : max(0, round((stop - late_s) * rate_hz))]
                if not part.size:
                    raise RuntimeError("No audio frames were decoded. This is probably because start is too high")
                return SimpleNamespace(data=torch.from_numpy(part.copy()), pts_seconds=first)

        package, decoders = ModuleType("torchcodec"), ModuleType("torchcodec.decoders")
        package.__dict__.update(ffmpeg_major_version=7, decoders=decoders)
        decoders.__dict__["AudioDecoder"] = AudioDecoder
        monkeypatch.setitem(sys.modules, "torchcodec", package)
        monkeypatch.setitem(sys.modules, "torchcodec.decoders", decoders)
        return asked

    return stand


def noise(seconds: float, channels: int = 1, rate_hz: int = 16000) -> np.ndarray:
    """(channels, frames), float32."""
    samples = np.random.default_rng(SEED).uniform(-0.5, 0.5, (channels, round(seconds * rate_hz)))
    return samples.astype(np.float32)


def test_channels_are_averaged_and_rates_changed_as_for_other_files(tmp_path: Path, stand_in: Stand) -> None:
    both = noise(0.5, channels=2)
    stand_in(both, states_s=0.5)
    np.testing.assert_allclose(read_waveform(file_called(tmp_path, "a.M4A"), 16000), both.mean(0), atol=1e-7)
    stand_in(tone(0.5, 44100)[None], 44100, states_s=0.5)
    read = read_waveform(file_called(tmp_path, "b.mp4"), 16000)
    assert np.abs(read.numpy() - tone(0.5))[800:-800].max() < 2e-3


def test_windows_and_crops_ask_for_their_own_seconds_only(tmp_path: Path, stand_in: Stand) -> None:
    whole = noise(3.0)
    asked = stand_in(whole, states_s=3.0)
    path = file_called(tmp_path, "a.m4a")
    np.testing.assert_array_equal(read_waveform(path, 16000, max_seconds=1.0), whole[0, 16000:32000])
    np.testing.assert_array_equal(read_waveform(f"{path}#t=0.5,1.25", 16000), whole[0, 8000:20000])
    assert asked == [(1.0, 2.0), (0.5, 1.25)]
    contract = AudioContract(window_seconds=2.0)
    assert list(map(str, contract.windows(str(path)))) == [f"{path}#t=0.000,2.000", f"{path}#t=1.000,3.000"]


def test_sound_that_begins_late_keeps_the_times_of_its_video(tmp_path: Path, stand_in: Stand) -> None:
    sound = noise(2.0)
    stand_in(sound, states_s=2.0, begins_s=1.0, late_s=1.0)
    path = file_called(tmp_path, "a.mp4")
    whole = np.concatenate([np.zeros(16000, np.float32), sound[0]])
    np.testing.assert_array_equal(read_waveform(path, 16000), whole)
    np.testing.assert_array_equal(read_waveform(f"{path}#t=0.5,1.5", 16000), whole[8000:24000])
    np.testing.assert_array_equal(read_waveform(f"{path}#t=1.5,2.5", 16000), whole[24000:40000])
    assert open_sound(path).read(0, 8000).shape == (8000, 1)


def test_a_stream_whose_first_time_stamp_is_above_zero_is_counted_to_its_end(tmp_path: Path, stand_in: Stand) -> None:
    stand_in(noise(150.0), states_s=None, begins_s=0.003, late_s=0.003)
    assert open_sound(file_called(tmp_path, "a.webm")).frames == 48 + 150 * 16000


@pytest.mark.parametrize(("states_s", "begins_s"), [(7.0, None), (None, 0.0)])
@pytest.mark.parametrize("seconds", [120.0, 150.5])
def test_a_stream_that_does_not_know_its_length_is_counted_once(
    tmp_path: Path, stand_in: Stand, seconds: float, states_s: float | None, begins_s: float | None
) -> None:
    whole = noise(seconds, rate_hz=1000)
    asked = stand_in(whole, 1000, states_s=states_s, begins_s=begins_s)
    path = file_called(tmp_path, "a.aac")
    assert duration_of(path) == seconds
    assert max(stop - start for start, stop in asked) <= 60.0
    del asked[:]
    np.testing.assert_array_equal(read_waveform(f"{path}#t=70,71", 1000), whole[0, 70000:71000])
    assert asked == [(70.0, 71.0)]


def test_a_file_that_ends_early_or_breaks_off_is_damaged(tmp_path: Path, stand_in: Stand) -> None:
    stand_in(noise(2.0), states_s=3.0)
    assert "truncated: its header claims 48000 frames (3.00 s), 16000" in refusal(
        file_called(tmp_path, "a.m4a"), UnreadableError
    )
    stand_in(noise(2.9), states_s=3.0)  # what some decoders need to get going is no damage
    assert len(read_waveform(file_called(tmp_path, "b.wma"), 16000)) == 46400
    stand_in(noise(3.0), states_s=3.0, broken_s=1.0)
    said = refusal(file_called(tmp_path, "c.m4a"), UnreadableError)
    assert "damaged or cut off: FFmpeg cannot decode it from 0.00 s to 3.00 s" in said
    stand_in(noise(70.0), states_s=None, broken_s=61.0)
    path = file_called(tmp_path, "d.webm")
    assert "damaged or cut off: FFmpeg cannot decode it beyond 60.00 s" in refusal(path, UnreadableError)
    assert duration_of(path) is None


def test_a_folder_per_class_is_searched_for_them(tmp_path: Path) -> None:
    for name in ("a/1.wav", "a/2.m4a", "b/3.MP4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        file_called(tmp_path, name)
    found = read_manifest(tmp_path, suffixes=SUFFIXES)
    assert [Path(path).name for path in found.paths] == ["1.wav", "2.m4a", "3.MP4"]


@pytest.fixture
def encode(tmp_path: Path) -> Callable[..., Path]:
    """Writes samples (channels, frames) with FFmpeg and returns the path."""
    pytest.importorskip("torchcodec", reason="torchcodec is not installed", exc_type=(ImportError, RuntimeError))
    import torchcodec

    if torchcodec.ffmpeg_major_version is None:
        pytest.skip("torchcodec finds no FFmpeg")
    from torchcodec.encoders import AudioEncoder

    def write(name: str, samples: np.ndarray, rate_hz: int) -> Path:
        path = tmp_path / name
        AudioEncoder(torch.from_numpy(samples), sample_rate=rate_hz).to_file(path)
        return path

    return write


@pytest.mark.parametrize(("name", "most_lag"), [("a.m4a", 0), ("a.mp4", 0), ("a.webm", 48)])
def test_what_is_decoded_is_what_was_encoded_and_in_its_place(
    encode: Callable[..., Path], name: str, most_lag: int
) -> None:
    """The time stamps of WebM are whole milliseconds."""
    rate_hz = 48000
    time = np.arange(3 * rate_hz) / rate_hz
    chirp = (0.4 * np.sin(2 * np.pi * (200 + 400 * time) * time)).astype(np.float32)
    path = encode(name, np.stack([chirp, chirp]), rate_hz)
    duration_s = duration_of(path)
    assert duration_s == pytest.approx(3.0, abs=0.03)
    read = read_waveform(path, rate_hz).numpy()
    most = min(len(read), len(chirp))
    inner = slice(4800, most - 4800)  # codecs are rough at the ends
    assert np.corrcoef(read[inner], chirp[inner])[0, 1] > 0.99
    part = read_waveform(f"{path}#t=1,2", rate_hz).numpy()
    agreement = [np.corrcoef(part, np.roll(chirp, lag)[rate_hz : 2 * rate_hz])[0, 1] for lag in range(-60, 61)]
    assert max(agreement) > 0.99
    assert abs(int(np.argmax(agreement)) - 60) <= most_lag
    assert len(read_waveform(path, 16000, max_seconds=1.0)) == 16000


def test_half_a_file_text_and_a_stream_without_length_are_known(encode: Callable[..., Path]) -> None:
    path = encode("a.m4a", noise(2.0, rate_hz=48000), 48000)
    half = path.with_name("half.m4a")
    half.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "FFmpeg finds no sound in it" in refusal(half, UnreadableError)
    text = path.with_name("text.m4a")
    text.write_text("path,label\n")
    assert "FFmpeg finds no sound in it" in refusal(text, UnreadableError)
    # Loud, then nearly silent: the bit rate of the first kilobytes promises a much shorter file.
    samples = np.concatenate([noise(2.0, rate_hz=48000), 1e-3 * noise(8.0, rate_hz=48000)], axis=1)
    raw = open_sound(encode("a.aac", samples, 48000))
    assert raw.frames / raw.rate_hz == pytest.approx(10.0, abs=0.1)
