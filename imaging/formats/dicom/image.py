"""DICOM files as scans: pixels and geometry only. No name, number, date or other word about a patient leaves here."""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import Any

from graftwork.core.compute.host_memory import available_bytes
from graftwork.core.data.decoding import decoding
from graftwork.core.errors import MissingPackageError, UnreadableError
from graftwork.imaging.formats.dicom.geometry import placed_frames, placed_slice
from graftwork.imaging.formats.dicom.header import number
from graftwork.imaging.formats.dicom.opening import read_dataset
from graftwork.imaging.formats.dicom.values import padding_filled, values_of
from graftwork.imaging.formats.memory import check_room
from graftwork.imaging.formats.pixels import BYTE
from graftwork.imaging.scan import Scan

SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
"""Storage classes of segmentations, by segments and as a map of labels."""

DEFLATED = b"1.2.840.10008.1.2.1.99"
_BLOCK_BYTES = 1 << 20

PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def read_dicom(path: str) -> Scan:
    """One DICOM file: (1, height, width), (3, height, width) for colour, a depth axis before height for many frames.

    Values are those of `values_of`, with the lowest of all in place of padding. A slice that says how it lies is turned
    as `plane_of` says, frames that do are put in the order of their positions and turned to RAS; `spacing_mm` and
    `affine` come from there. A segmentation holds the number of its segment at every voxel. The spacing at an X-ray
    detector is not that of the patient and is not taken for it. Raises UnreadableError for a damaged file, one without
    an image or frames that make no volume, MissingPackageError if its compression needs a package.
    """
    scan, dataset = decode(path)
    if str(dataset.get("SOPClassUID", "")) in SEGMENTATIONS:
        from graftwork.imaging.formats.dicom.segments import read_segments

        return read_segments(scan, dataset)
    scan = replace(scan, values=padding_filled(scan.values))
    return placed_slice(scan, dataset) if scan.values.ndim == 3 else placed_frames(scan, dataset)


def decode(path: str) -> tuple[Scan, Any]:
    """The pixels of a file in its own order, NaN where there is padding, and the data set with its header.

    Raises UnreadableError and MissingPackageError as `read_dicom` does, but for geometry.
    """
    from pydicom.pixels import pixel_array

    with decoding(path, "cannot be read as DICOM"):
        _check_deflated(path)
        dataset = read_dataset(path)
    held = [name for name in PIXELS if name in dataset]
    if not held:
        raise UnreadableError(f"{path}: holds no image (no PixelData); is it a report or a structure set?")
    with decoding(path, "its pixels cannot be decoded"):
        _check_room(dataset, path)
        _require_decoder(dataset, path)
        if "PhotometricInterpretation" not in dataset:
            raise UnreadableError(f"{path}: PhotometricInterpretation is missing: what its pixels mean is not known")
        pixels = pixel_array(dataset)
        _check_frames(dataset, pixels.ndim, len(pixels), path)
        values = values_of(dataset, pixels, path)
        palette = dataset.PhotometricInterpretation == "PALETTE COLOR"
        rgb = palette or int(dataset.get("SamplesPerPixel", 1)) == 3
        byte = palette or (rgb and int(dataset.BitsAllocated) == 8)
    return Scan(values, path, full_range=BYTE if byte else None, rgb=rgb), dataset


def _check_deflated(path: str) -> None:
    """Raises UnreadableError for a deflated file that unpacks to more than fits in memory: pydicom unpacks it whole."""
    from pydicom.filereader import read_dataset

    with open(path, "rb") as stream:
        if DEFLATED not in stream.read(1024):
            return
        stream.seek(132)  # behind the mark
        read_dataset(stream, False, True, stop_when=lambda tag, *_: tag.group != 2)  # which alone is not deflated
        inflate, unpacked, free = zlib.decompressobj(-zlib.MAX_WBITS), 0, available_bytes()
        pending = stream.read(_BLOCK_BYTES)
        while pending:
            unpacked += len(inflate.decompress(pending, _BLOCK_BYTES))
            if unpacked > free:
                raise UnreadableError(f"{path}: unpacks to more than the {free / 1e9:.3g} GB of memory that are free")
            pending = inflate.unconsumed_tail or stream.read(_BLOCK_BYTES)


def _check_room(dataset: Any, path: str) -> None:
    """Raises UnreadableError where the header claims more than fits in memory."""
    sizes = [number(dataset, name, path) or 1 for name in ("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel")]
    check_room([int(size) for size in sizes], path, whole=True)


def _check_frames(dataset: Any, dimensions: int, length: int, path: str) -> None:
    """Raises UnreadableError where a file holds more frames than its header says: pydicom hands out all of them."""
    said = int(number(dataset, "NumberOfFrames", path) or 1)
    one = 2 + (int(dataset.get("SamplesPerPixel", 1)) > 1)
    held = length if dimensions > one else 1
    if held != said:
        raise UnreadableError(f"{path}: its header says {said} frame{'' if said == 1 else 's'}, and it holds {held}")


def _require_decoder(dataset: Any, path: str) -> None:
    from pydicom.pixels import get_decoder

    syntax = dataset.file_meta.get("TransferSyntaxUID") if hasattr(dataset, "file_meta") else None
    if syntax is None or not syntax.is_transfer_syntax:
        fault = "missing" if syntax is None else "none that DICOM has"
        raise UnreadableError(f"{path}: its transfer syntax is {fault}: how its pixels are stored is not known")
    if not syntax.is_compressed or not syntax.is_encapsulated:
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
