"""Lookup tables of DICOM files, of the modality and of palettes, with entries of any bits: pydicom reads 8 and 16."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftwork.core.errors import UnreadableError

COLOURS = ("Red", "Green", "Blue")


def modality_values(dataset: Any, stored: NDArray[Any], path: str) -> tuple[NDArray[np.float32], int]:
    """What the table of the modality gives for every stored value, and the bits of its entries. Raises UnreadableError
    for a table that is none."""
    table = dataset.ModalityLUTSequence[0]
    return _looked_up(stored, table.get("LUTDescriptor"), table.get("LUTData"), path)


def palette_colours(dataset: Any, stored: NDArray[Any], path: str) -> NDArray[np.float32]:
    """(..., 3) red, green and blue of indices into a palette, from 0 to 255 whatever its bits. Raises UnreadableError
    for a palette that is none."""
    if "SegmentedRedPaletteColorLookupTableData" in dataset:
        from pydicom.pixels import apply_color_lut

        coloured: NDArray[np.float32] = apply_color_lut(stored, dataset).astype(np.float32)
        return coloured if int(dataset.RedPaletteColorLookupTableDescriptor[2]) == 8 else coloured / np.float32(257)
    channels, depth = [], 8
    for colour in COLOURS:
        name = f"{colour}PaletteColorLookupTable"
        found, depth = _looked_up(stored, dataset.get(f"{name}Descriptor"), dataset.get(f"{name}Data"), path)
        channels.append(found)
    values = np.stack(channels, axis=-1)
    # Some devices call 8-bit entries 16-bit ones: nothing of such a palette is brighter than 255 of 65535.
    brightest = max(_entries(dataset, colour).max(initial=0) for colour in COLOURS)
    return values if brightest <= 255 and depth > 8 else values * np.float32(255 / (2**depth - 1))


def _entries(dataset: Any, colour: str) -> NDArray[np.float32]:
    name = f"{colour}PaletteColorLookupTable"
    return _numbers(dataset.get(f"{name}Data"), int(dataset.get(f"{name}Descriptor")[0]) or 2**16)


def _looked_up(stored: NDArray[Any], descriptor: Any, data: Any, path: str) -> tuple[NDArray[np.float32], int]:
    """The entry of every stored value; values below the first entry and beyond the last have these (DICOM PS3.3
    C.11.1.1 and C.7.6.3.1.5)."""
    if descriptor is None or len(descriptor) != 3 or not data:
        raise UnreadableError(f"{path}: a lookup table lacks its descriptor or its entries; correct the header")
    count, first, bits = int(descriptor[0]) or 2**16, int(descriptor[1]), int(descriptor[2])
    if stored.dtype.kind == "i" and first >= 2**15:
        first -= 2**16  # written without its sign
    entries = _numbers(data, count)
    if len(entries) < count or not 1 <= bits <= 16:
        raise UnreadableError(f"{path}: a lookup table has {len(entries)} entries of {bits} bits, and says {count}; "
                              "correct the header")  # fmt: skip
    found: NDArray[np.float32] = entries[np.clip(stored.astype(np.int64) - first, 0, count - 1)]
    return found, bits


def _numbers(data: Any, count: int) -> NDArray[np.float32]:
    """Entries that are numbers already, or bytes: one or two of them an entry."""
    if not isinstance(data, bytes):
        return np.asarray(data, dtype=np.float32).reshape(-1)
    kind = "u1" if len(data) < 2 * count else "<u2"
    return np.frombuffer(data[: len(data) // 2 * 2] if kind != "u1" else data, kind).astype(np.float32)[:count]
