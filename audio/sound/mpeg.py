"""MP3 files whose length nobody wrote down: their frames are counted, and a first frame that states them is put before.

libsndfile believes the count in a Xing or Info frame, or guesses from the size of the file: of what a program wrote to
a pipe, of joined files, and of files with pictures in their tags, it would miss sound or ask for what is not there.
"""

from __future__ import annotations

import functools
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

from graftwork.core.errors import UnreadableError

_KBIT_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBIT_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_RATES_HZ = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
"""ISO 11172-3 and 13818-3, layer III: bit rates by index, of version 1 and of 2 and 2.5; rates by version."""

_FURTHEST = 1 << 16
"""Bytes that are searched for the next frame where something else stands between two."""

_APE_FOOTER, _APE_SIZE = 32, slice(12, 16)


@dataclass(frozen=True)
class _Frame:
    size: int
    samples: int
    rate_hz: int
    channels: int
    info_place: int


@dataclass(frozen=True)
class MpegLength:
    """frames: of sound, without those that only inform. samples: of each frame. stated: the frames that the first one
    states, None where it does not. cut: whether the last frame is not all there. pieces: where the frames are, (start,
    end) in bytes."""

    frames: int
    samples: int
    stated: int | None
    cut: bool
    pieces: tuple[tuple[int, int], ...]

    @property
    def is_stated(self) -> bool:
        """Whether the file itself says how long it is, or was: some programs count the frame that informs."""
        return self.stated is not None and self.stated >= self.frames - 1


def mpeg_length(path: Path) -> MpegLength | None:
    """How much sound there is in the frames of an MP3 file; None where it is no stream of layer III.

    Raises UnreadableError for a file whose sample rate or channels change, and for one that is cut off without saying
    how long it was.
    """
    state = path.stat()
    found = _scanned(path, state.st_mtime_ns, state.st_size)
    if found is not None and found.cut and found.stated is None:
        raise UnreadableError(f"{path}: truncated: its last frame is not all there; copy it again")
    return found


def with_stated_length(path: Path, length: MpegLength) -> bytes:
    """The frames of sound behind a first frame that states how many they are. Raises UnreadableError where no such
    frame can be made of the first one."""
    data = path.read_bytes()
    start = length.pieces[0][0]
    # Of a middle bit rate, without padding and checksum, so that what is stated has room.
    head = bytes((data[start], data[start + 1] | 1, (data[start + 2] & 0x0D) | 0x90, data[start + 3]))
    frame = _frame(head, 0)
    if frame is None:
        raise UnreadableError(f"{path}: damaged at its beginning; copy it again, or remove its row")
    told = bytearray(frame.size)
    told[:4] = head
    struct.pack_into(">4sII", told, frame.info_place, b"Xing", 1, length.frames)
    return bytes(told) + b"".join(data[first:last] for first, last in length.pieces)


@functools.lru_cache(maxsize=1 << 12)
def _scanned(path: Path, mtime_ns: int, size: int) -> MpegLength | None:
    """Remembered while the file has this time and size, because every window of a recording asks again."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _scan(path, data)


def _scan(path: Path, data: mmap.mmap) -> MpegLength | None:
    place, first = _next_frame(data, 0, None)
    if first is None:
        return None
    stated, frames, cut = None, 0, False
    pieces: list[tuple[int, int]] = []
    while place < len(data):
        frame = _frame(data, place)
        if frame is None:
            place, frame = _next_frame(data, place, first)
            if frame is None:
                break
        if (frame.rate_hz, frame.channels) != (first.rate_hz, first.channels):
            raise UnreadableError(
                f"{path}: changes from {first.rate_hz} Hz and {first.channels} channels to {frame.rate_hz} Hz and "
                f"{frame.channels}: files were joined that do not belong together; convert it, or remove its row"
            )
        end = place + frame.size
        if end > len(data):
            cut = True
            break
        told = _stated_frames(data, place, frame)
        if told is None:
            frames += 1
            if pieces and pieces[-1][1] == place:
                pieces[-1] = (pieces[-1][0], end)
            else:
                pieces.append((place, end))
        elif not frames and stated is None:
            stated = told or None
        place = end
    return None if not frames else MpegLength(frames, first.samples, stated, cut, tuple(pieces))


def _frame(data: bytes | mmap.mmap, place: int) -> _Frame | None:
    """The layer III frame at a place; None where there is none, or one of free bit rate."""
    head = data[place : place + 4]
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return None
    version, kind, rate = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or kind in (0, 15) or rate == 3:
        return None
    kbit, hz = (_KBIT_1 if version == 3 else _KBIT_2)[kind], _RATES_HZ[version][rate]
    samples = 1152 if version == 3 else 576
    mono = head[3] >> 6 == 3
    side = (17 if mono else 32) if version == 3 else (9 if mono else 17)
    return _Frame(samples // 8 * kbit * 1000 // hz + (head[2] >> 1 & 1), samples, hz, 1 if mono else 2, 4 + side)


def _stated_frames(data: mmap.mmap, place: int, frame: _Frame) -> int | None:
    """The count in a frame that only informs, 0 where it gives none; None for a frame of sound."""
    told = data[place + frame.info_place : place + frame.info_place + 12]
    if told[:4] in (b"Xing", b"Info"):
        flags, count = struct.unpack(">II", told[4:12]) if len(told) == 12 else (0, 0)
        return int(count) if flags & 1 else 0
    return 0 if data[place + 36 : place + 40] == b"VBRI" else None


def _next_frame(data: mmap.mmap, place: int, like: _Frame | None) -> tuple[int, _Frame | None]:
    """The next frame behind tags, and behind anything else if another frame follows it."""
    while True:
        behind = _behind_tag(data, place)
        if behind == place:
            break
        place = behind
    for here in range(place, min(place + _FURTHEST, len(data) - 3)):
        if data[here] != 0xFF:
            continue
        frame = _frame(data, here)
        if frame is None or (like is not None and frame.rate_hz != like.rate_hz):
            continue
        following = _frame(data, here + frame.size)
        if here == place or (following is not None and following.rate_hz == frame.rate_hz):
            return here, frame
    return len(data), None


def _behind_tag(data: mmap.mmap, place: int) -> int:
    """Where an ID3 or APE tag at a place ends; the place itself where there is none."""
    head = data[place : place + _APE_FOOTER]
    if head[:3] == b"ID3" and len(head) >= 10:
        size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
        return min(len(data), place + 10 + size + (10 if head[5] & 0x10 else 0))
    if head[:8] == b"APETAGEX" and len(head) == _APE_FOOTER:
        size = int.from_bytes(head[_APE_SIZE], "little")
        return min(len(data), place + _APE_FOOTER + size)
    return place
