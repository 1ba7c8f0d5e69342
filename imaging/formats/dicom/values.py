"""From the numbers that a DICOM file stores to values: units of the modality, bright is high, padding is background."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftwork.core.errors import UnreadableError
from graftwork.imaging.formats.dicom.header import frame_group, number
from graftwork.imaging.formats.dicom.tables import modality_values, palette_colours

Floats = NDArray[np.float32]


def values_of(dataset: Any, stored: NDArray[Any], path: str) -> Floats:
    """Channels first, (channels, height, width) or (channels, frames, height, width); NaN where there is padding.

    stored: as pydicom gives it. Colours are red, green and blue, those of palettes from 0 to 255. Grey values are put
    through the modality's table, or its slope and intercept (frame by frame where frames differ), or the scaling of a
    dose. MONOCHROME1, where low values are bright, is inverted within its bits first. Raises UnreadableError for
    numbers in the header that are none.
    """
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        return np.moveaxis(palette_colours(dataset, stored, path), -1, 0)
    if int(dataset.get("SamplesPerPixel", 1)) == 3:
        return np.moveaxis(stored.astype(np.float32), -1, 0)
    values = _in_units(dataset, stored, path)
    padding = _padding(dataset, stored, path)
    if padding is not None:
        values[padding] = np.nan
    return values[None]


def padding_filled(values: Floats) -> Floats:
    """The values with the lowest of the others in place of padding (NaN): what lies outside the field of view is
    background, whatever number the scanner wrote there. The same where nothing is padding."""
    outside = np.isnan(values)
    if not outside.any():
        return values
    values[outside] = 0.0 if outside.all() else values[~outside].min()
    return values


def _in_units(dataset: Any, stored: NDArray[Any], path: str) -> Floats:
    inverted = dataset.PhotometricInterpretation == "MONOCHROME1"
    if dataset.get("ModalityLUTSequence"):
        looked_up, depth = modality_values(dataset, stored, path)
        return np.float32(2**depth - 1) - looked_up if inverted else looked_up
    values: Floats = stored.astype(np.float32)
    if inverted:
        if stored.dtype.kind == "f":
            raise UnreadableError(f"{path}: floating point where low is bright (MONOCHROME1): which value is the "
                                  "brightest is not known; write it as MONOCHROME2")  # fmt: skip
        signed = int(dataset.PixelRepresentation) == 1
        values = np.float32(-1 if signed else 2 ** int(dataset.BitsStored) - 1) - values
    dose = number(dataset, "DoseGridScaling", path)
    if dose is not None:
        values *= np.float32(dose)
        return values
    frames = values.reshape(-1, *values.shape[-2:])
    for place, frame in enumerate(frames):
        slope, intercept = _rescaling(dataset, place, path)
        frame *= np.float32(slope)
        frame += np.float32(intercept)
    return values


def _rescaling(dataset: Any, frame: int, path: str) -> tuple[float, float]:
    """Slope and intercept of a frame: its own, else the ones all frames share, else the file's, else 1 and 0."""
    source = frame_group(dataset, frame, "PixelValueTransformationSequence") or dataset
    slope, intercept = number(source, "RescaleSlope", path), number(source, "RescaleIntercept", path)
    if slope == 0:
        raise UnreadableError(f"{path}: RescaleSlope is zero, which makes all values one; correct the header")
    return 1.0 if slope is None else slope, 0.0 if intercept is None else intercept


def _padding(dataset: Any, stored: NDArray[Any], path: str) -> NDArray[np.bool_] | None:
    """Where the stored values are padding, None where the header names none (DICOM PS3.3 C.7.5.1.1.2)."""
    names = ("PixelPaddingValue", "PixelPaddingRangeLimit")
    if stored.dtype.kind == "f":
        prefix = "Double" if stored.dtype.itemsize == 8 else ""
        names = (f"{prefix}FloatPixelPaddingValue", f"{prefix}FloatPixelPaddingRangeLimit")
    first = number(dataset, names[0], path)
    if first is None:
        return None
    last = number(dataset, names[1], path)
    low, high = sorted((_as_stored(first, stored), _as_stored(first if last is None else last, stored)))
    return (stored >= low) & (stored <= high)


def _as_stored(value: float, stored: NDArray[Any]) -> float:
    """A negative number that was written without its sign, as some headers have it, with its sign."""
    if stored.dtype.kind == "i" and value > np.iinfo(stored.dtype).max:
        return value - float(2 ** (8 * stored.dtype.itemsize))
    return value
