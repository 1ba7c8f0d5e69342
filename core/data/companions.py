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
    with open(path, "rb") as stream:
        found = _DATA_FILE.search(stream.read(_HEADER_BYTES))
    if found is None or found[1].upper().split()[0] in (b"LOCAL", b"LIST") or b"%" in found[1]:
        return None
    return os.path.join(os.path.dirname(path), os.fsdecode(found[1]))
