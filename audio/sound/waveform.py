"""A sound file becomes a waveform: decoding, mixing to one channel, cropping, resampling.

What a backbone wants beyond that is the contract's business.
"""

from __future__ import annotations

import functools
import logging
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from graftwork.audio.sound.container import needs_ffmpeg
from graftwork.audio.sound.ffmpeg import TOLERANCE_S, open_sound
from graftwork.audio.sound.files import open_sound_file, read_frames
from graftwork.audio.sound.memory import refuse_too_long
from graftwork.audio.sound.resampling import has_large_table, resample_directly
from graftwork.core.errors import GraftworkError, MissingPackageError, SettingsError, UnreadableError
from graftwork.core.example import Example, File, Named, Span, as_example, refusal, span_problem

log = logging.getLogger(__name__)

FULL_SCALE, CLIPPED_SHARE = 0.999, 0.01
"""A file is called clipped where this share of its samples is at full scale; it is used all the same."""

_BYTES_PER_SAMPLE = 12
"""What is decoded, and two of what is made of it, in single precision."""

SPAN_TOLERANCE_S = 0.5
"""Lists of segments round: the last one may end a little behind the end of its recording."""


def read_waveform(
    named: Named,
    sample_rate_hz: int,
    max_seconds: float | None = None,
    purpose: Literal["learning", "comparison"] = "learning",
) -> Tensor:
    """The sound in a file: (samples,), float32, one channel (the average of all), at `sample_rate_hz`.

    Of `file.wav#t=12,22` these seconds are meant. With `max_seconds`, what is longer is cropped to its middle. Only
    what is asked for is read, and silence in a window is none of its faults. Integer formats come in
    the range -1 to 1. That files of another rate are resampled is said once, unless it is for a comparison alone.

    Raises UnreadableError for a file that is missing, not a known sound format, truncated, empty, silent or
    holds values that are not finite; MissingPackageError without soundfile or torchaudio, or, for m4a and its kin,
    without torchcodec or FFmpeg; ContractError for more sound than fits into memory.

    >>> audio.read_waveform("clips/00.wav", 16000).shape  # (samples,)
    torch.Size([8000])
    """
    if max_seconds is not None and not max_seconds > 0:
        raise SettingsError(f"max_seconds must be above 0, found {max_seconds}")
    example = as_example(named)
    wrong = span_problem(example)
    if wrong is not None:
        raise UnreadableError(f"{example}: {wrong}")
    path, span = parts(example)
    samples, rate = decode(path, max_seconds, span)
    mono = samples.mean(dim=1)
    if not bool(torch.isfinite(mono).all()):
        bad = int((~torch.isfinite(mono)).sum())
        raise UnreadableError(
            f"{example}: {bad} of {len(mono)} samples are NaN or infinite; export it again, or remove its row"
        )
    # A constant signal is silence with an offset: normalised, nothing but rounding would be left of it. A pause in a
    # long recording is no fault.
    if span is None and bool((mono == mono[0]).all()):
        where = "" if max_seconds is None else f" in the middle {max_seconds} s"
        raise UnreadableError(f"{example}: nothing but silence{where}; check the recording, or remove its row")
    clipped = float((samples.abs() >= FULL_SCALE).float().mean())
    if clipped >= CLIPPED_SHARE:
        _say_clipped(str(example), f"{clipped:.0%}")
    if purpose == "learning" and rate != sample_rate_hz:
        _say_resampled(rate, sample_rate_hz)
    return resample(mono, rate, sample_rate_hz)


def parts(example: Example) -> tuple[Path, Span | None]:
    """The file to decode, and the seconds of it that are meant, None for all. Raises UnreadableError for others."""
    match example:
        case File(path):
            return Path(path), None
        case Span(file, _, _):
            return Path(file), example
    raise UnreadableError(f"{example}: {refusal(example, (File, Span))}")


@functools.lru_cache(maxsize=10_000)
def _say_clipped(path: str, share: str) -> None:
    """Once for a file, however often it is read."""
    log.warning("%s: clipped: %s of its samples are at full scale; record it again at a lower level, if you can",
                path, share)  # fmt: skip


@functools.lru_cache(maxsize=10_000)
def _say_resampled(from_hz: int, to_hz: int) -> None:
    log.info("files of %d Hz are resampled to %d Hz", from_hz, to_hz)


def resample(samples: Tensor, from_hz: int, to_hz: int) -> Tensor:
    """The same sound (samples,) at another rate. Raises MissingPackageError without torchaudio."""
    return samples if from_hz == to_hz else _resampler(from_hz, to_hz)(samples)


def duration_of(path: str | Path) -> float | None:
    """Seconds of sound in the file; None where it cannot be read, which reading will explain.

    Of files whose header does not say, frames are counted, or they are decoded once.
    """
    try:
        if needs_ffmpeg(Path(path)):
            sound = open_sound(Path(path))
            return sound.frames / sound.rate_hz
        with open_sound_file(Path(path)) as opened:
            return int(opened.frames) / int(opened.samplerate)
    except (OSError, RuntimeError, ValueError, TypeError, UnreadableError, MissingPackageError):
        return None


def decode(path: Path, max_seconds: float | None, span: Span | None) -> tuple[Tensor, int]:
    """Samples (frames, channels), float32, and the file's own sample rate."""
    if not os.path.isfile(path):
        raise UnreadableError(
            f"{path}: {'is a folder' if os.path.isdir(path) else 'no such file'}; "
            "check the path (relative ones count from the manifest's folder)"
        )
    if path.stat().st_size == 0:
        raise UnreadableError(f"{path}: the file is empty (0 bytes); copy it again, or remove its row")
    if not os.access(path, os.R_OK):
        raise UnreadableError(f"{path}: cannot be opened: it may not be read by this user")
    if needs_ffmpeg(path):
        return _decode_by_ffmpeg(path, max_seconds, span)
    return _decode_by_soundfile(path, max_seconds, span)


def _decode_by_ffmpeg(path: Path, max_seconds: float | None, span: Span | None) -> tuple[Tensor, int]:
    """Samples (frames, channels), float32, and the file's own sample rate."""
    try:
        sound = open_sound(path)
        start, wanted = _wanted(path, sound.frames, sound.rate_hz, max_seconds, span)
        refuse_too_long(path, wanted / sound.rate_hz, wanted * sound.channels * _BYTES_PER_SAMPLE)
        samples = sound.read(start, wanted)
    except GraftworkError:
        raise
    except Exception as error:  # whatever a decoder raises is a fault of the file
        raise UnreadableError(
            f"{path}: damaged or cut off: FFmpeg cannot decode it ({error!r}); copy it again, or remove its row"
        ) from error
    tolerated = round(TOLERANCE_S * sound.rate_hz)
    _refuse_missing(path, sound.frames, sound.rate_hz, len(samples), wanted, tolerated=tolerated)
    return samples, sound.rate_hz


def _decode_by_soundfile(path: Path, max_seconds: float | None, span: Span | None) -> tuple[Tensor, int]:
    """Samples (frames, channels), float32, and the file's own sample rate."""
    opened = open_sound_file(path)
    try:
        with opened as sound:
            frames, rate = int(sound.frames), int(sound.samplerate)
            start, wanted = _wanted(path, frames, rate, max_seconds, span)
            refuse_too_long(path, wanted / rate, wanted * int(sound.channels) * _BYTES_PER_SAMPLE)
            if start:
                sound.seek(start)
            samples = read_frames(sound, wanted)
    except GraftworkError:
        raise
    except Exception as error:  # whatever a decoder raises is a fault of the file
        raise UnreadableError(
            f"{path}: damaged or cut off: it begins as a sound file, but cannot be decoded to its end; copy it again, "
            "or remove its row"
        ) from error
    _refuse_missing(path, frames, rate, len(samples), wanted, tolerated=0)
    return torch.from_numpy(samples), rate


def _wanted(path: Path, claimed: int, rate_hz: int, max_seconds: float | None, span: Span | None) -> tuple[int, int]:
    """The first frame that is asked for, and how many, of those that a file claims to have. Raises UnreadableError for
    one that claims none, or ends before the seconds that are asked for."""
    if claimed == 0:
        raise UnreadableError(
            f"{path}: holds no samples (0 s), or its header says so; record or export it again, or remove its row"
        )
    start, wanted = 0, claimed
    if span is not None:
        length_s = claimed / rate_hz
        if span.start_s >= length_s or span.end_s > length_s + SPAN_TOLERANCE_S:
            raise UnreadableError(
                f"{path}: seconds {span.start_s:g} to {span.end_s:g} are asked for, and it has {length_s:.2f}: "
                "check both"
            )
        start = min(claimed - 1, round(span.start_s * rate_hz))
        wanted = max(1, min(claimed, round(span.end_s * rate_hz)) - start)
    if max_seconds is not None:
        most = min(wanted, max(1, math.ceil(max_seconds * rate_hz)))
        start, wanted = start + (wanted - most) // 2, most
    return start, wanted


def _refuse_missing(path: Path, claimed: int, rate_hz: int, found: int, wanted: int, *, tolerated: int) -> None:
    """Raises UnreadableError where fewer frames were found than were wanted, but for those that are tolerated."""
    if found < max(1, wanted - tolerated):
        raise UnreadableError(
            f"{path}: truncated: its header claims {claimed} frames ({claimed / rate_hz:.2f} s), "
            f"{wanted - found} of the {wanted} asked for are missing; copy it again"
        )


@functools.lru_cache(maxsize=8)
def _resampler(from_hz: int, to_hz: int) -> Callable[[Tensor], Tensor]:
    """Kept per pair of rates, because making the filter costs more than applying it to a short clip."""
    if has_large_table(from_hz, to_hz):
        return functools.partial(resample_directly, from_hz=from_hz, to_hz=to_hz)
    try:
        import torchaudio
    except ImportError as error:
        raise MissingPackageError(
            f"resampling {from_hz} Hz to {to_hz} Hz needs torchaudio: pip install 'graftwork[audio]'"
        ) from error
    resampler: Callable[[Tensor], Tensor] = torchaudio.transforms.Resample(from_hz, to_hz)
    return resampler
