"""Which format a sound file is of by its content: names are often wrong, as m4a that was renamed to .mp3."""

from __future__ import annotations

import functools
import logging
from pathlib import Path

from graftwork.audio.sound.formats import FFMPEG_SUFFIXES

log = logging.getLogger(__name__)

ENDINGS = {
    "wav": (".wav", ".wave"),
    "flac": (".flac",),
    "ogg": (".ogg", ".oga", ".opus"),
    "mp3": (".mp3", ".mpga"),
    "aiff": (".aiff", ".aif", ".aifc"),
    "m4a": (".m4a", ".mp4", ".m4b", ".mov"),
    "3gp": (".3gp", ".3g2"),
    "webm": (".webm", ".mkv", ".mka"),
    "wma": (".wma", ".asf", ".wmv"),
    "aac": (".aac", ".adts"),
}
"""Endings that files of each format rightly have."""

NEED_FFMPEG = ("m4a", "3gp", "webm", "wma", "aac")

_BEGINNINGS = {b"fLaC": "flac", b"OggS": "ogg", b"\x1a\x45\xdf\xa3": "webm", b"\x30\x26\xb2\x75": "wma"}
_HEAD_BYTES = 12


def format_of(path: Path) -> str | None:
    """The format of a file, a key of `ENDINGS`, by its first bytes, behind an ID3 tag if there is one; None where they
    are of none of these. Raises OSError."""
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
        tagged = head[:3] == b"ID3" and len(head) >= 10
        if tagged:
            size = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
            stream.seek(10 + size)
            head = stream.read(_HEAD_BYTES)
    if head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:12] == b"WAVE":
        return "wav"
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "aiff"
    if head[4:8] == b"ftyp":
        return "3gp" if head[8:10] == b"3g" else "m4a"
    if head[:4] in _BEGINNINGS:
        return _BEGINNINGS[head[:4]]
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        if head[1] & 0xF6 == 0xF0:  # no layer: ADTS (ISO 13818-7)
            return "aac"
        return "mp3" if head[1] & 0x18 != 0x08 and head[1] & 0x06 else None
    return "mp3" if tagged else None


def needs_ffmpeg(path: Path) -> bool:
    """Whether soundfile does not decode a file; by its ending where its content does not say. Raises OSError."""
    found = format_of(path)
    if found is None:
        return path.suffix.lower() in FFMPEG_SUFFIXES
    if path.suffix.lower() not in ENDINGS[found]:
        _say_misnamed(found, path.suffix.lower())
    return found in NEED_FFMPEG


def described(path: Path) -> str:
    """The format in words: `.m4a`, or `m4a named .mp3`. Raises OSError."""
    found = format_of(path)
    return path.suffix if found is None or path.suffix.lower() in ENDINGS[found] else f"{found} named {path.suffix}"


@functools.lru_cache(maxsize=1 << 8)
def _say_misnamed(found: str, ending: str) -> None:
    """Once for every pair of format and ending, however many files are so."""
    log.warning("some files named %s are %s, and are read as that", ending or "without an ending", found)
