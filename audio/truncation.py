"""Sound files that end too early, where libsndfile would quietly make do with what is there."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from graftwork.core.errors import UnreadableError

_CHUNKED = {b"RIFF": ("<4sI", b"data"), b"FORM": (">4sI", b"SSND")}
"""WAV and AIFF: how a chunk begins, and which one has the sound."""

_UNKNOWN = 0x7F000000
"""Programs that write to a pipe give a size near the largest possible, signed or unsigned, or 0: these say nothing."""

_PAGE_MARK, _PAGE_HEADER, _LONGEST_PAGE = b"OggS", 27, 27 + 255 + 255 * 255
"""Ogg, RFC 3533: a page begins with 27 bytes, the last of which counts its segments; a byte for each length follows."""


def refuse_truncated(path: Path) -> None:
    """Raises UnreadableError for a WAV or AIFF whose sound, or an Ogg file whose last page, is not all there.

    An Ogg file cut between two pages, or in the first bytes of one, looks like a complete one, and is not found.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        mark = file.read(4)
        if mark in _CHUNKED:
            _check_chunks(path, file, size, *_CHUNKED[mark])
        elif mark == _PAGE_MARK:
            _check_last_page(path, file, size)


def _check_chunks(path: Path, file: BinaryIO, size: int, header: str, sound: bytes) -> None:
    position = 12
    while position + 8 <= size:
        file.seek(position)
        name, length = struct.unpack(header, file.read(8))
        available = size - position - 8
        if name == sound:
            if available < length < _UNKNOWN:
                raise UnreadableError(
                    f"{path}: truncated: its header claims {length} bytes of sound, {available} are there; copy it "
                    "again"
                )
            return
        position += 8 + length + length % 2


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
