"""Sound files that end too early, or go on behind what their header claims, where libsndfile would quietly make do."""

from __future__ import annotations

import functools
import mmap
import struct
from pathlib import Path
from typing import BinaryIO

from graftwork.core.errors import UnreadableError

_CHUNKED = {b"RIFF": ("<4sI", b"data"), b"RF64": ("<4sI", b"data"), b"BW64": ("<4sI", b"data"),
            b"RIFX": (">4sI", b"data"), b"FORM": (">4sI", b"SSND")}  # fmt: skip
"""WAV, its forms for 64 bits (EBU Tech 3306) and big endian, and AIFF: how a chunk begins, and which has the sound."""

_UNKNOWN = 0x7F000000
"""Programs that write to a pipe give a size near the largest possible, signed or unsigned, or 0: these say nothing."""
_UNKNOWN_64 = 1 << 62

_W64 = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"
_W64_HEADER, _W64_CHUNK = 40, 24

_SLACK = 4096
"""Bytes behind the sound that are nobody's: padding, or a tag that some program has added."""

_PAGE_MARK, _PAGE_HEADER, _LONGEST_PAGE = b"OggS", 27, 27 + 255 + 255 * 255
"""Ogg, RFC 3533: a page begins with 27 bytes, the last of which counts its segments; a byte for each length follows."""
_FIRST_PAGE = 2
"""Flag of the first page of a stream, in the byte behind mark and version."""


def refuse_truncated(path: Path) -> None:
    """Raises UnreadableError for a WAV, RF64, W64, AIFF or AU file whose sound, or an Ogg file whose last page, is not
    all there, or behind which there is more than its header claims, as another file.

    An Ogg file cut between two pages, or in the first bytes of one, looks like a complete one, and is not found.
    """
    state = path.stat()
    _check(path, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=1 << 16)
def _check(path: Path, mtime_ns: int, size: int) -> None:
    """Remembered while the file has this time and size, because every window of a recording asks again."""
    with path.open("rb") as file:
        mark = file.read(16)
        if mark[:4] in _CHUNKED:
            _check_chunks(path, file, size, *_CHUNKED[mark[:4]])
        elif mark == _W64:
            _check_w64(path, file, size)
        elif mark[:4] in (b".snd", b"dns."):
            _check_au(path, file, size, ">II" if mark[:4] == b".snd" else "<II")
        elif mark[:4] == _PAGE_MARK:
            _check_last_page(path, file, size)
            _refuse_joined_ogg(path, file)


def _check_chunks(path: Path, file: BinaryIO, size: int, header: str, sound: bytes) -> None:
    position, long_size = 12, 0
    while position + 8 <= size:
        file.seek(position)
        name, length = struct.unpack(header, file.read(8))
        available = size - position - 8
        if name == b"ds64" and available >= 16:
            long_size = struct.unpack("<8xQ", file.read(16))[0]
        if name == sound:
            limit = _UNKNOWN
            if length == 0xFFFFFFFF and long_size:
                length, limit = long_size, _UNKNOWN_64
            _refuse_short(path, length, available, limit)
            if 0 < length < limit:
                _refuse_more(path, file, size, position + 8 + length, header)
            return
        position += 8 + length + length % 2


def _check_w64(path: Path, file: BinaryIO, size: int) -> None:
    """Sony's format: 16 bytes of name and 8 of length, which counts these 24 too, in steps of 8 bytes."""
    position = _W64_HEADER
    while position + _W64_CHUNK <= size:
        file.seek(position)
        name, length = struct.unpack("<16sQ", file.read(_W64_CHUNK))
        end = position + max(length, _W64_CHUNK) + -length % 8
        if name[:4] == b"data":
            _refuse_short(path, max(0, length - _W64_CHUNK), size - position - _W64_CHUNK, _UNKNOWN_64)
            file.seek(min(end, size))
            if file.read(16) == _W64:
                raise UnreadableError(_joined(path))
            return
        position = end


def _check_au(path: Path, file: BinaryIO, size: int, header: str) -> None:
    file.seek(4)
    offset, length = struct.unpack(header, file.read(8))
    _refuse_short(path, length, size - offset, _UNKNOWN)
    if 0 < length < _UNKNOWN:
        file.seek(offset + length)
        if file.read(4) in (b".snd", b"dns."):
            raise UnreadableError(_joined(path))
        if size - offset - length > _SLACK:
            raise UnreadableError(_longer(path, length, size - offset - length))


def _refuse_short(path: Path, claimed: int, available: int, limit: int) -> None:
    if available < claimed < limit:
        raise UnreadableError(
            f"{path}: truncated: its header claims {claimed} bytes of sound, {available} are there; copy it again"
        )


def _refuse_more(path: Path, file: BinaryIO, size: int, end: int, header: str) -> None:
    """What stands behind the sound must be chunks, a tag, zeros, or next to nothing."""
    position = end + end % 2
    while size - position >= 8:
        file.seek(position)
        name, length = struct.unpack(header, file.read(8))
        if name in _CHUNKED:
            raise UnreadableError(_joined(path))
        printable = all(0x20 <= byte < 0x7F for byte in name)
        if not printable or length > size - position - 8:
            if position == end + 1:
                position = end  # some programs leave the byte out that makes lengths even
                continue
            file.seek(position)
            if name[:3] in (b"ID3", b"TAG") or size - position <= _SLACK or not any(file.read(_SLACK)):
                return
            raise UnreadableError(_longer(path, end, size - position))
        position += 8 + length + length % 2


def _joined(path: Path) -> str:
    return (
        f"{path}: several files joined one behind another, of which only the first would be heard; join their sound "
        "(ffmpeg, sox) instead"
    )


def _longer(path: Path, claimed: int, more: int) -> str:
    return (
        f"{path}: its header claims {claimed} bytes, {more} more follow that are not described: it was not closed when "
        "it was written; write it again"
    )


def _check_last_page(path: Path, file: BinaryIO, size: int) -> None:
    """The mark may also turn up in compressed sound, so the version behind it, which is 0, is asked for too."""
    file.seek(max(0, size - _LONGEST_PAGE))
    tail = file.read()
    start = tail.rfind(_PAGE_MARK + b"\0")
    if start < 0:  # what was appended to the file is longer than any page
        return
    page = tail[start:]
    segments = page[_PAGE_HEADER - 1] if len(page) >= _PAGE_HEADER else 0
    lengths = page[_PAGE_HEADER : _PAGE_HEADER + segments]
    missing = _PAGE_HEADER + segments + sum(lengths) - len(page)
    if missing > 0:
        raise UnreadableError(f"{path}: truncated: its last page lacks {missing} or more bytes; copy it again")


def _refuse_joined_ogg(path: Path, file: BinaryIO) -> None:
    """A page that begins a stream behind one that does not: streams of one recording begin together."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        place = 0
        while place >= 0 and data[place + 5 : place + 6] and data[place + 5] & _FIRST_PAGE:
            place = data.find(_PAGE_MARK + b"\0", place + 5)
        if place >= 0 and data.find(_PAGE_MARK + bytes((0, _FIRST_PAGE)), place) >= 0:
            raise UnreadableError(_joined(path))
