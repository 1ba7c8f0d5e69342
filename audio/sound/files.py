"""Sound files opened by libsndfile, whose number of frames is what they hold: not a guess, and not what only the first
of several joined files has."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

from graftwork.audio.sound.flac import flac_samples, stated_samples, with_stated_samples
from graftwork.audio.sound.formats import SOUNDFILE_SUFFIXES
from graftwork.audio.sound.mpeg import mpeg_length, with_stated_length
from graftwork.audio.sound.truncation import refuse_truncated
from graftwork.core.errors import GraftworkError, MissingPackageError, UnreadableError

SLOWEST_HZ, FASTEST_HZ = 1000, 768_000
"""Sample rates that speech is kept in, and a good deal beyond."""

MOST_FRAMES_PER_BYTE = 10_000
"""Constant sound in FLAC's largest blocks has about 6000."""

BLOCK = 1 << 22
"""Frames that are decoded at a time, so that memory does not follow a header that promises too much."""

_NO_SOUND = (1, 7)
"""libsndfile's errors for a file that begins like none of its formats: in general, and in its MP3 decoder, whose own
words are about pipes."""


def open_sound_file(path: Path) -> Any:
    """A soundfile.SoundFile whose `frames` are what the file holds.

    Raises UnreadableError for what is no sound, is cut off, was joined of several files, or claims an absurd rate or
    length; MissingPackageError without soundfile.
    """
    try:
        import soundfile
    except ImportError as error:
        raise MissingPackageError(f"reading {path} needs soundfile: pip install 'graftwork[audio]'") from error
    try:
        opened = _opened(soundfile, path)
        refuse_truncated(path)
        opened = _of_known_length(soundfile, path, opened)
    except GraftworkError:
        raise
    except soundfile.LibsndfileError as error:
        raise UnreadableError(f"{path}: {_why_unopened(int(error.code), str(error.error_string))}") from error
    except Exception as error:  # whatever a decoder raises is a fault of the file
        raise UnreadableError(
            f"{path}: not a readable sound file ({error!r}); copy it again, or remove its row"
        ) from error
    rate, frames = int(opened.samplerate), int(opened.frames)
    if not SLOWEST_HZ <= rate <= FASTEST_HZ:
        raise UnreadableError(f"{path}: claims a sample rate of {rate} Hz, expected {SLOWEST_HZ} to {FASTEST_HZ}; "
                              "correct its header, or remove its row")  # fmt: skip
    if frames > MOST_FRAMES_PER_BYTE * path.stat().st_size:
        raise UnreadableError(f"{path}: truncated: its header claims {frames} frames, which cannot be in "
                              f"{path.stat().st_size} bytes; copy it again")  # fmt: skip
    return opened


def read_frames(opened: Any, count: int) -> Any:
    """The next frames (frames, channels), float32: `count`, or fewer where the sound ends before."""
    import numpy as np

    if count <= BLOCK:
        return opened.read(count, dtype="float32", always_2d=True)
    blocks = []
    for start in range(0, count, BLOCK):
        blocks.append(opened.read(min(BLOCK, count - start), dtype="float32", always_2d=True))
        if len(blocks[-1]) < min(BLOCK, count - start):
            break
    return np.concatenate(blocks)


def _opened(soundfile: Any, path: Path) -> Any:
    if path.suffix.lower() != ".raw":
        return soundfile.SoundFile(path)
    # Under this name soundfile takes any content for samples without a header.
    return soundfile.SoundFile(os.open(path, os.O_RDONLY), closefd=True)


def _of_known_length(soundfile: Any, path: Path, opened: Any) -> Any:
    changed = None
    if opened.format == "MP3":
        length = mpeg_length(path)
        if length is not None and not length.is_stated and int(opened.frames) != length.frames * length.samples:
            changed = with_stated_length(path, length)
    elif opened.format == "FLAC":
        with path.open("rb") as file:
            head = file.read(26)
        found = flac_samples(path)
        stated = stated_samples(head)
        if head[:4] != b"fLaC":
            return opened
        if stated == 0 and found is not None:
            changed = with_stated_samples(path, found)
        elif stated == 0:
            raise UnreadableError(f"{path}: truncated: it does not say how long it is, and no frame ends where it "
                                  "ends; copy it again")  # fmt: skip
        elif found is not None and found > stated:
            raise UnreadableError(f"{path}: its header claims {stated} samples, its frames have {found}: it was not "
                                  "closed when it was written; write it again")  # fmt: skip
    if changed is None:
        return opened
    opened.close()
    return soundfile.SoundFile(io.BytesIO(changed))


def _why_unopened(code: int, reason: str) -> str:
    if code in _NO_SOUND:
        return (
            "not a readable sound file: of another format than its name says, or damaged at its beginning; known are "
            f"{', '.join(SOUNDFILE_SUFFIXES)}"
        )
    return (
        f"not a readable sound file: damaged or cut off, or of an encoding that is not known ({reason.rstrip('.')}); "
        "copy it again, or remove its row"
    )
