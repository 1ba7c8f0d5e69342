"""Sound files that soundfile cannot decode, m4a and its kin: by torchcodec and the libraries of an installed FFmpeg."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from graftwork.audio.sound.container import described
from graftwork.core.errors import MissingPackageError, UnreadableError

TOLERANCE_S = 0.2
"""By how much decoded sound may be shorter than its container says: WMA and Opus count what their decoder needs to get
going, up to two of their blocks."""

_PIECE_S = 60.0
"""Sound that is decoded at a time where it is only counted."""

_INSTALL = "install FFmpeg with its shared libraries (apt install ffmpeg, brew install ffmpeg, conda install ffmpeg)"


@dataclass(frozen=True)
class FFmpegSound:
    """An opened file. frames: samples of each channel, as its container states or as they were counted; the first
    `late` of them are silence, where the sound of a video begins after its picture."""

    path: Path
    frames: int
    late: int
    channels: int
    rate_hz: int
    decoder: Any

    def read(self, start: int, count: int) -> Tensor:
        """Samples (frames, channels), float32, from `start` on; fewer than `count` where the file ends before.

        Nothing else is decoded than a little before it. Raises UnreadableError for a damaged file.
        """
        silent = min(count, max(0, self.late - start))
        silence = torch.zeros(silent, self.channels)
        if silent == count:
            return silence
        first_s, last_s = (start + silent) / self.rate_hz, (start + count) / self.rate_hz
        try:
            found = self.decoder.get_samples_played_in_range(first_s, last_s)
        except RuntimeError as error:
            raise UnreadableError(
                f"{self.path}: damaged or cut off: FFmpeg cannot decode it from {first_s:.2f} s to {last_s:.2f} s; "
                "copy it again, or remove its row"
            ) from error
        return torch.cat([silence, found.data.T])


def open_sound(path: Path) -> FFmpegSound:
    """The file, ready to be read in parts.

    Raises MissingPackageError without torchcodec or FFmpeg, UnreadableError for a file in which no sound is found.
    """
    decoder = _decoder(path)
    stated, rate_hz = decoder.metadata, int(decoder.metadata.sample_rate)
    late = max(0, round((stated.begin_stream_seconds_from_header or 0.0) * rate_hz))
    # A stream without time stamps, such as raw AAC, has no length either: FFmpeg guesses one from the first kilobytes.
    # What a browser records has time stamps and no length.
    if stated.begin_stream_seconds_from_header is None or stated.duration_seconds is None:
        state = path.stat()
        frames = _counted_frames(path, state.st_mtime_ns, state.st_size)
    else:
        frames = late + round(stated.duration_seconds * rate_hz)  # the duration does not count what is before
    return FFmpegSound(path, frames, late, int(stated.num_channels), rate_hz, decoder)


@functools.lru_cache(maxsize=1 << 12)
def _counted_frames(path: Path, mtime_ns: int, size: int) -> int:
    """Remembered while the file has this time and size, because every window of a recording asks again."""
    decoder, frames = _decoder(path), 0
    for number in itertools.count():
        start = number * _PIECE_S
        try:
            found = decoder.get_samples_played_in_range(start, start + _PIECE_S)
        except RuntimeError as error:
            if "No audio frames were decoded" in str(error):  # the piece before ended where the file ends
                return frames
            raise UnreadableError(
                f"{path}: damaged or cut off: FFmpeg cannot decode it beyond {start:.2f} s; copy it again, or remove "
                "its row"
            ) from error
        # The first sample of a stream may have a time stamp above zero.
        frames = round(found.pts_seconds * decoder.metadata.sample_rate) + int(found.data.shape[1])
    return frames


def _decoder(path: Path) -> Any:
    try:
        import torchcodec.decoders
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            f"{path}: {described(path)} needs torchcodec and FFmpeg: pip install 'graftwork[m4a]', and {_INSTALL}; "
            f"{_conversion(path)}"
        ) from error
    except (ImportError, OSError, RuntimeError) as error:
        raise MissingPackageError(_no_libraries(path)) from error
    if torchcodec.ffmpeg_major_version is None:  # since 0.17 it can be imported without
        raise MissingPackageError(_no_libraries(path))
    try:
        return torchcodec.decoders.AudioDecoder(path)
    except (RuntimeError, ValueError) as error:
        raise UnreadableError(
            f"{path}: FFmpeg finds no sound in it: it is damaged, cut off, of another format than its name says, or "
            "has no sound track; copy it again, or remove its row"
        ) from error


def _no_libraries(path: Path) -> str:
    return (
        f"{path}: {described(path)} needs FFmpeg: torchcodec is there (graftwork[m4a]), but cannot load FFmpeg's "
        f"libraries, or was made for another torch than {torch.__version__}; {_INSTALL}; {_conversion(path)}"
    )


def _conversion(path: Path) -> str:
    return f"or convert it and put the copy in its place: ffmpeg -i '{path.name}' '{path.stem}.flac'"
