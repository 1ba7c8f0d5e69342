"""Pictures: PNG, JPEG, BMP and TIFF as scans. What their values mean for a network is decided in `preprocessing`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from graftwork.core.data.decoding import decoding
from graftwork.core.errors import UnreadableError
from graftwork.imaging.formats import tiff
from graftwork.imaging.formats.memory import check_room
from graftwork.imaging.scan import Scan

if TYPE_CHECKING:
    from PIL.Image import Image

BYTE = (0.0, 255.0)
WORD = (0.0, 65535.0)
GREY = {"L": BYTE, "I;16": WORD, "I;16B": WORD, "I;16L": WORD, "I;16N": WORD, "I": None, "F": None}
"""Pillow's grey modes and the full range of their values; 32-bit ones hold measurements and have none."""


def read_picture(path: str) -> Scan:
    """A picture as (1, height, width) if it is grey, (3, height, width) red, green, blue if it has colour.

    It is turned upright as its EXIF orientation says. Transparency is laid over black, so that a transparent
    border does not light up. Black-and-white pictures become 0 and 255; palettes and other colour models
    become red, green, blue. A TIFF of several pages is a volume, (channels, pages, height, width), in their order.
    Pillow reads a 16-bit colour PNG with 8 bits a channel; grey keeps all 16. Bright is high,
    also where a TIFF stores white as zero. Raises UnreadableError for a damaged file, a TIFF whose pages are
    no slices or with values that Pillow does not read, and one that does not fit in memory.
    """
    with opened(path, stacks=True) as picture:
        if tiff.page_count(picture) > 1:
            slices = [_page_values(page, path) for page in tiff.pages(picture, path)]
            stack = np.stack([values for values, _ in slices], axis=1)
            return Scan(stack, path, full_range=slices[0][1], rgb=len(stack) == 3)
        # Pillow gave 16-bit grey PNGs as 32-bit before version 11: the format still knows.
        word = picture.format == "PNG" and picture.mode == "I"
        values, full_range = _page_values(picture, path)
    return Scan(values, path, full_range=WORD if word else full_range, rgb=values.shape[0] == 3)


def _page_values(picture: Image, path: str) -> tuple[NDArray[np.float32], tuple[float, float] | None]:
    if picture.format == "TIFF" and picture.mode in GREY:
        grey, full_range = tiff.grey_values(picture, path)
        return grey[None], full_range
    return _values(picture)


@contextmanager
def opened(path: str, *, stacks: bool = False) -> Iterator[Image]:
    """The picture, decoded and upright; of a stack the first page. Raises UnreadableError as `read_picture` does, for
    what fails inside too, and unless `stacks` for a TIFF of several pages."""
    from PIL import ImageOps, UnidentifiedImageError

    with decoding(path, "cannot be decoded"):
        try:
            picture = _open(path)
        except UnidentifiedImageError:
            kind = tiff.kind_of(path)
            if kind is None:
                raise UnreadableError(f"{path}: is not a picture that can be read, whatever its name says") from None
            raise UnreadableError(f"{path}: is {kind}, which Pillow does not read; save it as grey or colour of 8 or "
                                  "16 bits, or grey of 32-bit floating point, without JPEG 2000") from None  # fmt: skip
        with picture:
            pages = tiff.page_count(picture)
            size = (len(picture.getbands()), picture.height, picture.width)
            check_room(size if pages == 1 else (pages, *size), path, "pixels", whole=True)
            if picture.format == "TIFF":
                if not stacks:
                    tiff.check_one_page(picture, path)
                tiff.check_channels(picture, path)
                # By its name Pillow would map the file into memory, and those that lie on their side wrongly.
                picture.filename = ""  # type: ignore[attr-defined]
            picture.load()
            if picture.format != "TIFF":  # whose orientation Pillow applies when it loads
                ImageOps.exif_transpose(picture, in_place=True)
            yield picture


EXIF_ORIENTATION, UPRIGHT = 0x0112, 1


def turned_by(path: str) -> int:
    """The EXIF orientation of a picture, 1 to 8, by which it is turned when it is read; 1 for none. Raises
    UnreadableError for what is no picture."""
    with decoding(path, "cannot be read as a picture"), _open(path) as picture:
        return int(picture.getexif().get(EXIF_ORIENTATION, UPRIGHT))


_OPENING = Lock()


def _open(path: str) -> Image:
    """Pillow calls pictures of more than 179 megapixels an attack. Scans of that size are usual, and whether one fits
    in memory is looked at before it is decoded; the limit is put back at once, for whoever else relies on it."""
    from PIL import Image

    with _OPENING:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(path)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _values(picture: Image) -> tuple[NDArray[np.float32], tuple[float, float] | None]:
    """Channels first, without transparency, and the full range of the type."""
    if picture.mode == "1":
        picture = picture.convert("L")
    elif picture.mode in ("P", "PA"):
        clear = picture.mode == "PA" or "transparency" in picture.info
        picture = picture.convert("RGBA" if clear else "RGB")
    elif picture.mode not in (*GREY, "LA", "La", "RGB", "RGBA"):
        picture = picture.convert("RGBA" if "A" in picture.mode or "a" in picture.mode else "RGB")
    elif picture.mode == "La":
        picture = picture.convert("LA")
    if picture.mode in GREY:
        return np.asarray(picture).astype(np.float32)[None], GREY[picture.mode]
    values: NDArray[np.float32] = np.asarray(picture).astype(np.float32)
    if picture.mode in ("LA", "RGBA"):
        values = values[..., :-1] * (values[..., -1:] / np.float32(255))
    # A view: torch resizes channels-last memory as fast, and copying a large picture takes longer than decoding it.
    return values.transpose(2, 0, 1), BYTE
