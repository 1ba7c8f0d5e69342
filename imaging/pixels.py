"""Pictures: PNG, JPEG, BMP and TIFF as scans. What their values mean for a network is decided in `intensity`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from graftwork.core.errors import UnreadableError
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
    become red, green, blue. Pillow reads a 16-bit colour PNG with 8 bits a channel; grey keeps all 16.
    Raises UnreadableError for a damaged file, or a TIFF of several pages.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            pages = getattr(picture, "n_frames", 1) if picture.format == "TIFF" else 1
            if pages > 1:
                raise UnreadableError(
                    f"{path}: has {pages} pages, and one picture a file is expected; save the pages one by one, "
                    "or as one NIfTI volume"
                )
            picture.load()
            # Pillow gave 16-bit grey PNGs as 32-bit before version 11: the format still knows.
            word = picture.format == "PNG" and picture.mode == "I"
            ImageOps.exif_transpose(picture, in_place=True)
            values, full_range = _values(picture)
    except UnidentifiedImageError:
        raise UnreadableError(f"{path}: is not a picture that can be read, whatever its name says") from None
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        # Pillow's decoders raise each of these for damaged files; SyntaxError is its own for a broken PNG.
        raise UnreadableError(f"{path}: cannot be decoded: {error}") from error
    return Scan(values, path, full_range=WORD if word else full_range, rgb=values.shape[0] == 3)


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
