"""The text of a table, whatever its bytes are encoded in: UTF-8, or, said, UTF-16 or Windows-1252 (Latin-1)."""

from __future__ import annotations

import codecs
import logging
import re
from pathlib import Path

from graftwork.core.errors import ManifestError, Problem

log = logging.getLogger(__name__)

UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

LEADING = 16
"""Bytes by which UTF-16 without a byte order mark is known: every other one is zero in names of columns."""

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f]")
"""Characters that no table of text holds."""


def read_text(path: Path) -> str:
    """The text of a file. What is not UTF-8 is said, with the first word that depends on it.

    Raises ManifestError for what is no text, and for UTF-8 that is damaged.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ManifestError(str(path), [Problem(f"cannot be read as a table: {error.strerror}")]) from error
    encoding = _utf16(data)
    if encoding is not None:
        try:
            text = data.decode(encoding).removeprefix("\ufeff")
        except UnicodeDecodeError as error:
            raise ManifestError(str(path), [Problem(f"is damaged UTF-16 text: {error}")]) from error
        log.warning("%s: is read as UTF-16 text", path)
        return text
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        text = _windows_1252(path, data, error)
    if "\0" in text:
        raise ManifestError(str(path), [Problem("is no text (it holds zero bytes); a table is expected")])
    return text


def _utf16(data: bytes) -> str | None:
    if data[:2] in UTF16_MARKS:
        return "utf-16"
    head = data[:LEADING]
    even, odd = head[0::2], head[1::2]
    if len(odd) > 2 and not any(odd) and all(even):
        return "utf-16-le"
    return "utf-16-be" if len(odd) > 2 and not any(even) and all(odd) else None


def _windows_1252(path: Path, data: bytes, error: UnicodeDecodeError) -> str:
    """The text in the encoding of Western Windows, of which the printable part of Latin-1 is one."""
    replaced = data.decode("utf-8", errors="replace")
    broken = replaced.count("\ufffd")
    if sum(ord(letter) > 127 for letter in replaced) - broken >= broken:
        raise ManifestError(str(path), [Problem(f"is damaged UTF-8 text ({error}); write it again")]) from error
    text = data.decode("cp1252", errors="replace")
    if "\ufffd" in text or _CONTROL.search(text):
        raise ManifestError(
            str(path), [Problem(f"is not UTF-8 text, nor in another encoding that is known ({error}); a CSV or "
                                "TSV table is expected")]
        ) from error  # fmt: skip
    word = next(word for word in re.split(r"[,;\t\r\n]", text) if not word.isascii())
    log.warning("%s: is not UTF-8 and is read as Windows-1252 (Latin-1) text, as in %r; write it as UTF-8 if that is "
                "wrong", path, word)  # fmt: skip
    return text
