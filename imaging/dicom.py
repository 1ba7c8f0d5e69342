"""DICOM files as scans: pixels and spacing only. No name, number, date or other word about a patient leaves here."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftwork.core.errors import MissingPackageError, UnreadableError
from graftwork.imaging.pixels import BYTE
from graftwork.imaging.scan import Scan


def read_dicom(path: str) -> Scan:
    """One DICOM file: (1, height, width), (3, height, width) for colour, a depth axis before height for many frames.

    Grey values are stored * slope + intercept (Hounsfield units for CT), frame by frame where frames differ;
    MONOCHROME1, where low values are bright, is inverted within the stored bits first, so that bright is
    always high. Frames keep their order in the file. `spacing_mm` needs PixelSpacing (and
    SpacingBetweenSlices for many frames); the spacing at an X-ray detector is not that of the patient and is
    not taken for it. `affine` is None: one slice does not say where its neighbours lie. Raises UnreadableError for
    a damaged file or one without an image, MissingPackageError if its compression needs a package.
    """
    import pydicom
    from pydicom.errors import InvalidDicomError
    from pydicom.pixels import pixel_array

    try:
        dataset = pydicom.dcmread(path)
    except InvalidDicomError:
        raise UnreadableError(f"{path}: is not a DICOM file: the mark DICM is missing") from None
    except (OSError, EOFError, ValueError, AttributeError, KeyError, NotImplementedError) as error:
        raise UnreadableError(f"{path}: cannot be read as DICOM: {error}") from error
    if "PixelData" not in dataset:
        raise UnreadableError(f"{path}: holds no image (no PixelData); is it a report or a structure set?")
    _require_decoder(dataset, path)
    try:
        stored = pixel_array(dataset)
        values = _values(dataset, stored)
    except (
        OSError,
        EOFError,
        ValueError,
        AttributeError,
        KeyError,
        RuntimeError,
        NotImplementedError,
    ) as error:
        raise UnreadableError(f"{path}: its pixels cannot be decoded: {error}") from error
    rgb = int(dataset.get("SamplesPerPixel", 1)) == 3 or dataset.PhotometricInterpretation == "PALETTE COLOR"
    spacing = _spacing_mm(dataset, frames=values.ndim == 4)
    byte = rgb and int(dataset.BitsAllocated) == 8
    return Scan(values, path, spacing_mm=spacing, full_range=BYTE if byte else None, rgb=rgb)


def _require_decoder(dataset: Any, path: str) -> None:
    from pydicom.pixels import get_decoder

    syntax = dataset.file_meta.get("TransferSyntaxUID") if hasattr(dataset, "file_meta") else None
    if syntax is None or not syntax.is_compressed or not syntax.is_encapsulated:
        return
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise UnreadableError(f"{path}: compressed as {syntax.name}, which pydicom cannot read") from None
    if not decoder.is_available:
        raise MissingPackageError(
            f"{path}: compressed as {syntax.name}, which needs one of: {'; '.join(decoder.missing_dependencies)}. "
            "`pip install 'pylibjpeg[all]'` covers most, or decompress the files first (gdcmconv --raw)."
        )


def _values(dataset: Any, stored: NDArray[Any]) -> NDArray[np.float32]:
    """Channels first, with the modality's slope and intercept."""
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        from pydicom.pixels import apply_color_lut

        coloured = apply_color_lut(stored, dataset).astype(np.float32)
        # Palettes usually have 16-bit entries, of which 8-bit pictures use the upper byte.
        depth = int(dataset.RedPaletteColorLookupTableDescriptor[2])
        return np.moveaxis(coloured / 257 if depth == 16 else coloured, -1, 0)
    if int(dataset.get("SamplesPerPixel", 1)) == 3:
        return np.moveaxis(stored.astype(np.float32), -1, 0)
    values = stored.astype(np.float32)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        signed = int(dataset.PixelRepresentation) == 1
        values = (-1 if signed else 2 ** int(dataset.BitsStored) - 1) - values
    if values.ndim == 2:
        slope, intercept = _rescaling(dataset, 0)
        return (values * slope + intercept)[None]
    pairs = np.array([_rescaling(dataset, frame) for frame in range(len(values))], dtype=np.float32)
    return (values * pairs[:, 0, None, None] + pairs[:, 1, None, None])[None]


def _rescaling(dataset: Any, frame: int) -> tuple[float, float]:
    """Slope and intercept of a frame: its own, else the ones all frames share, else the file's, else 1 and 0."""
    group = _functional_group(dataset, frame, "PixelValueTransformationSequence")
    source = dataset if group is None else group
    return float(source.get("RescaleSlope", 1) or 1), float(source.get("RescaleIntercept", 0) or 0)


def _spacing_mm(dataset: Any, frames: bool) -> tuple[float, ...] | None:
    group = _functional_group(dataset, 0, "PixelMeasuresSequence")
    source = dataset if group is None else group
    within = source.get("PixelSpacing")
    if not within:
        return None
    spacing = (float(within[0]), float(within[1]))
    if not frames:
        return spacing
    between = source.get("SpacingBetweenSlices")
    return (float(between), *spacing) if between else None


def _functional_group(dataset: Any, frame: int, name: str) -> Any | None:
    """The macro of that name for a frame of an enhanced multi-frame object; None where the file has none."""
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    for group in [*per_frame[frame : frame + 1], *shared[:1]]:
        macro = group.get(name)
        if macro:
            return macro[0]
    return None
