"""Scans as people would see them in a list: small, in grey or their own colours."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

from graftwork.core.example import Named
from graftwork.imaging.formats.scan_files import read_scan
from graftwork.imaging.scan import Scan

SIDE = 192
"""Most pixels along a side."""

SHOWN_PERCENT = (0.5, 99.5)
"""Quantiles of a measurement that are drawn black and white."""


def preview(named: Named) -> bytes:
    """A PNG of at most `SIDE` pixels a side: a picture itself, of a volume its middle slices across all three axes, the
    head or the front upwards where the file says where it lies. Raises UnreadableError as `read_scan` does."""
    from PIL import Image

    scan = read_scan(named)
    shown = scaled(scan)
    spacing = scan.spacing_mm or (1.0,) * len(scan.spatial_shape)
    if shown.ndim == 3:
        planes = [(shown, spacing)]
    else:
        middle = [length // 2 for length in scan.spatial_shape]
        planes = [(np.take(shown, middle[axis], axis)[::-1], tuple(np.delete(spacing, axis))) for axis in range(3)]
    images = []
    for plane, (down, across) in planes:
        height, width = plane.shape[0] * down, plane.shape[1] * across
        scale = SIDE / max(height, width)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        images.append(Image.fromarray(np.ascontiguousarray(plane)).resize(size, Image.Resampling.BILINEAR))
    whole = Image.new("RGB", (sum(one.width for one in images), max(one.height for one in images)))
    place = 0
    for image in images:
        whole.paste(image.convert("RGB"), (place, (whole.height - image.height) // 2))
        place += image.width
    grey = not scan.rgb
    held = io.BytesIO()
    (whole.convert("L") if grey else whole).save(held, "PNG")
    return held.getvalue()


def scaled(scan: Scan) -> NDArray[np.uint8]:
    """(height, width, 3) or (depth, height, width, 3), black to white over the range of the file's type, or over
    `SHOWN_PERCENT`; of several channels that are no colours the first."""
    values = np.nan_to_num(scan.values if scan.rgb else scan.values[:1], posinf=0.0, neginf=0.0)
    low, high = scan.full_range or np.percentile(values, SHOWN_PERCENT)
    shares = np.clip((values - low) / max(float(high - low), 1e-12), 0, 1)
    bytes_ = np.round(255 * np.moveaxis(shares, 0, -1)).astype(np.uint8)
    return bytes_ if scan.rgb else np.repeat(bytes_, 3, axis=-1)
