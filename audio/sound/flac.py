"""How long a FLAC file is by its last frame (RFC 9639): what was written to a pipe does not say it at its beginning."""

from __future__ import annotations

import functools
import mmap
from pathlib import Path

from graftwork.core.errors import UnreadableError

_MARK, _STREAMINFO = b"fLaC", b"fLaC\x00\x00\x00\x22"
_TOTAL = slice(21, 26)
"""Of the file: 4 bits of the sample size and 36 bits of the number of samples, section 8.2."""

_TAIL = 1 << 20
"""Bytes that are searched for the last frame; one of 4096 samples in 8 channels of 24 bits has at most a tenth."""


def stated_samples(head: bytes) -> int:
    """Samples of each channel that a file beginning with these 26 bytes states, 0 for unknown."""
    return int.from_bytes(head[_TOTAL], "big") & ((1 << 36) - 1)


def flac_samples(path: Path) -> int | None:
    """Samples of each channel by the number in the last frame; None where no frame ends where the file ends.

    Raises UnreadableError for files joined one behind another, of which only the first would be heard.
    """
    state = path.stat()
    return _samples(path, state.st_mtime_ns, state.st_size)


def with_stated_samples(path: Path, samples: int) -> bytes:
    """The file with that number of samples at its beginning."""
    data = bytearray(path.read_bytes())
    data[_TOTAL] = (int.from_bytes(data[_TOTAL], "big") >> 36 << 36 | samples).to_bytes(5, "big")
    return bytes(data)


@functools.lru_cache(maxsize=1 << 16)
def _samples(path: Path, mtime_ns: int, size: int) -> int | None:
    """Remembered while the file has this time and size, because every window of a recording asks again."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[:4] != _MARK:
            return None
        joined = data.find(_STREAMINFO, len(_MARK)) > 0
        block = int.from_bytes(data[8:10], "big")
        tail = data[-_TAIL:] if size > _TAIL else data[:]
    if joined:
        raise UnreadableError(f"{path}: several FLAC files joined one behind another, of which only the first would be "
                              "heard; join their sound (ffmpeg, sox) instead")  # fmt: skip
    place = len(tail)
    while (place := tail.rfind(b"\xff", 0, place)) >= 0:
        if place + 1 < len(tail) and tail[place + 1] & 0xFE == 0xF8:
            end = _end_of_frame(tail, place, block)
            if end is not None and _crc16(tail[place:-2]) == int.from_bytes(tail[-2:], "big"):
                return end
    return None


def _end_of_frame(data: bytes, place: int, block: int) -> int | None:
    """The number of the sample behind the frame that begins at a place, section 9.1; None where none does."""
    header = data[place : place + 16]
    if len(header) < 6 or header[3] & 1:
        return None
    sizes, rates = header[2] >> 4, header[2] & 15
    first = header[4]
    length = 1 if first < 0x80 else 8 - (first ^ 0xFF).bit_length()
    if sizes == 0 or rates == 15 or length > 7 or (length == 1 and first >= 0x80):
        return None
    number = first & (0x7F if length == 1 else 0x7F >> length)
    for byte in header[5 : 4 + length]:
        if byte & 0xC0 != 0x80:
            return None
        number = number << 6 | byte & 0x3F
    at = 4 + length
    more = {6: 1, 7: 2}.get(sizes, 0)
    told = int.from_bytes(header[at : at + more], "big") + 1
    samples = told if more else 192 if sizes == 1 else 576 << (sizes - 2) if sizes < 6 else 256 << (sizes - 8)
    at += more + {12: 1, 13: 2, 14: 2}.get(rates, 0)
    if at >= len(header) or _crc8(header[:at]) != header[at]:
        return None
    return (number if header[1] & 1 else number * block) + samples


def _table(polynomial: int, bits: int) -> tuple[int, ...]:
    found = []
    for value in range(256):
        rest = value << (bits - 8)
        for _ in range(8):
            rest = (rest << 1) ^ (polynomial if rest >> (bits - 1) else 0)
            rest &= (1 << bits) - 1
        found.append(rest)
    return tuple(found)


_CRC8, _CRC16 = _table(0x07, 8), _table(0x8005, 16)


def _crc8(data: bytes) -> int:
    rest = 0
    for byte in data:
        rest = _CRC8[rest ^ byte]
    return rest


def _crc16(data: bytes) -> int:
    rest = 0
    for byte in data:
        rest = (rest << 8 & 0xFF00) ^ _CRC16[rest >> 8 ^ byte]
    return rest
