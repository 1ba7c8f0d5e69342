"""What a TIFF's tags say of its values and Pillow leaves out: signs, bits, which end is white, further channels."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graftwork.core.errors import UnreadableError

if TYPE_CHECKING:
    from PIL.Image import Image

DESCRIPTION = 270
HYPERSTACK = re.compile(r"\b(channels|frames)=([0-9]+)")
"""How ImageJ writes that pages are more than slices."""

BITS, COMPRESSION, PHOTOMETRIC, SAMPLES, SAMPLE_FORMAT = 258, 259, 262, 277, 339
WHITE_IS_ZERO = 0
UNSIGNED, SIGNED, FLOAT = 1, 2, 3
FORMATS = {UNSIGNED: "unsigned", SIGNED: "signed", FLOAT: "floating-point", 5: "complex", 6: "complex"}


def check_channels(picture: Image, path: str) -> None:
    """Raises UnreadableError for a TIFF with more channels than Pillow reads."""
    samples, bands = int(_tags(picture).get(SAMPLES, 1)), len(picture.getbands())
    if samples > bands:
        raise UnreadableError(f"{path}: has {samples} channels, of which {bands} would be read; save every channel "
                              "as a file, and name them with | between them")  # fmt: skip


def check_one_page(picture: Image, path: str) -> None:
    """Raises UnreadableError for a TIFF of several pages."""
    pages = page_count(picture)
    if pages > 1:
        raise UnreadableError(f"{path}: has {pages} pages, and one picture a file is expected; save the pages one by "
                              "one, or as one NIfTI volume")  # fmt: skip


def page_count(picture: Image) -> int:
    """Pages of a TIFF, 1 of other pictures."""
    return int(getattr(picture, "n_frames", 1)) if picture.format == "TIFF" else 1


def pages(picture: Image, path: str) -> Iterator[Image]:
    """The pages of a stack in turn, each decoded. Raises UnreadableError where they are not slices of one size and
    kind, as where a smaller copy lies behind a picture, and where a stack has channels or times as well."""
    described = str(_tags(picture).get(DESCRIPTION, ""))
    several = [f"{count} {what}" for what, count in HYPERSTACK.findall(described) if int(count) > 1]
    if described.startswith("ImageJ") and several:
        raise UnreadableError(f"{path}: is a stack of {' and '.join(several)}: save every one as a stack of its own, "
                              "and name them with | between them")  # fmt: skip
    first = (picture.size, picture.mode)
    for number in range(page_count(picture)):
        picture.seek(number)
        if (picture.size, picture.mode) != first:
            raise UnreadableError(f"{path}: its pages differ: {first[0][0]} x {first[0][1]} pixels ({first[1]}) and "
                                  f"{picture.size[0]} x {picture.size[1]} ({picture.mode}) on page {number + 1}; save "
                                  "those that are slices of one volume")  # fmt: skip
        check_channels(picture, path)
        picture.load()
        yield picture


def grey_values(picture: Image, path: str) -> tuple[NDArray[np.float32], tuple[float, float] | None]:
    """(height, width) of a grey TIFF that Pillow has decoded, high where it is bright, and the full range of its type,
    None for those of 32 bits, and signed ones, which hold measurements.

    Raises UnreadableError where white is zero and the brightest value is not known.
    """
    tags = _tags(picture)
    bits, kind = int(_first(tags.get(BITS, 1))), int(_first(tags.get(SAMPLE_FORMAT, UNSIGNED)))
    stored: NDArray[Any] = np.asarray(picture)
    if picture.mode == "I" and bits == 32 and kind == UNSIGNED:
        stored = stored.view(np.uint32)
    if picture.mode == "L" and kind == SIGNED:
        stored = stored.view(np.int8)
    values = stored.astype(np.float32)
    measured = picture.mode in ("I", "F") or kind != UNSIGNED
    top = float(2 ** max(bits, 8) - 1)
    # Pillow turns white into bright itself where it gives 8 bits.
    if int(tags.get(PHOTOMETRIC, 1)) == WHITE_IS_ZERO and picture.mode != "L":
        if kind not in (UNSIGNED, SIGNED):
            raise UnreadableError(f"{path}: holds floating point where zero is white: which value is black is not "
                                  "known; save it with zero as black")  # fmt: skip
        values = np.float32(top if kind == UNSIGNED else -1) - values
    return values, None if measured else (0.0, top)


def kind_of(path: str) -> str | None:
    """The values of a TIFF that Pillow cannot open, for people; None for another kind of file."""
    content = Path(path).read_bytes()[: 1 << 16]
    order = {b"II": "<", b"MM": ">"}.get(content[:2])
    if order is None or content[2:4] not in (b"*\0", b"\0*"):
        return None
    try:
        (place,) = struct.unpack_from(f"{order}I", content, 4)
        (count,) = struct.unpack_from(f"{order}H", content, place)
        found = {}
        for entry in range(place + 2, place + 2 + 12 * min(count, 100), 12):
            tag, _, length, value = struct.unpack_from(f"{order}HHI4s", content, entry)
            start = entry + 8 if length <= 2 else struct.unpack(f"{order}I", value)[0]
            (found[tag],) = struct.unpack_from(f"{order}H", content, start)
    except struct.error:
        return "a TIFF whose tags cannot be read"
    kind = FORMATS.get(found.get(SAMPLE_FORMAT, UNSIGNED), "unknown")
    samples = found.get(SAMPLES, 1)
    return (f"a TIFF of {samples} {kind} channel{'s' if samples > 1 else ''} of {found.get(BITS, 1)} bits, compression "
            f"{found.get(COMPRESSION, 1)}")  # fmt: skip


def _tags(picture: Image) -> dict[int, Any]:
    tags: dict[int, Any] = dict(picture.tag_v2)  # type: ignore[attr-defined]
    return tags


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, tuple) else value
