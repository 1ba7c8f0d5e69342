"""Files that belong to one that alone is named: the data of a header in a file of their own, or the header of data."""

from __future__ import annotations

import os
import re

PAIRS = {".hdr": ".img", ".img": ".hdr"}
"""Header and data of Analyze and of a NIfTI pair, under one name."""

HEADERS = (".mhd", ".nhdr")
"""Headers of MetaImage and NRRD, which name the file of their data."""

_DATA_FILE = re.compile(rb"^[ \t]*(?:ElementDataFile|data ?file)[ \t]*[=:][ \t]*([^\r\n]+?)[ \t]*\r?$", re.I | re.M)
_HEADER_BYTES = 1 << 16


def companions(path: str) -> tuple[str, ...]:
    """The other files that hold a part of what this one stands for, as far as they are there; none for most."""
    stem, ending = os.path.splitext(path)
    if ending.lower() in PAIRS:
        other = PAIRS[ending.lower()]
        found = [stem + form for form in (other, other.upper()) if os.path.isfile(stem + form)]
        return tuple(found[:1])
    if ending.lower() in HEADERS and (name := data_file(path)) is not None and os.path.isfile(name):
        return (name,)
    return ()


def data_file(path: str) -> str | None:
    """The file that a MetaImage or NRRD header names for its data; None where these are in the file, or in several."""
    named = named_data(path)
    if named is None or named.upper().split()[0] == "LIST" or "%" in named:
        return None
    return os.path.join(os.path.dirname(path), named)


def named_data(path: str) -> str | None:
    """What a MetaImage or NRRD header names in the place of data of its own, as it is written; None where these follow.
    Raises ValueError for a header without an end."""
    with open(path, "rb") as stream:
        head = stream.read(_HEADER_BYTES)
    found = _DATA_FILE.search(head)
    if head.startswith(b"NRRD"):
        ends = [place for place in (head.find(b"\n\n"), head.find(b"\r\n\r\n")) if place >= 0]
        if not ends and len(head) == _HEADER_BYTES:
            raise ValueError(f"its header is longer than {_HEADER_BYTES} bytes")
        found = _DATA_FILE.search(head[: min(ends, default=len(head)) + 1])
    elif found is None and len(head) == _HEADER_BYTES:
        raise ValueError(f"it does not say within {_HEADER_BYTES} bytes where its data are")
    named = None if found is None else os.fsdecode(found[1])
    return None if named is None or named.upper() == "LOCAL" else named
