"""Numbers and functional groups out of a DICOM header. Messages name elements, never what stands in them."""

from __future__ import annotations

from typing import Any

import numpy as np

from graftwork.core.errors import UnreadableError


def numbers(header: Any, name: str, count: int, path: str) -> tuple[float, ...] | None:
    """The element as `count` finite numbers; None where it is missing or empty. Raises UnreadableError for any other
    content."""
    try:
        found = header.get(name)
        if found is None or (hasattr(found, "__len__") and len(found) == 0):
            return None
        values = np.atleast_1d(np.array(found, dtype=np.float64))
    except (ValueError, TypeError, AttributeError, ArithmeticError):
        # pydicom converts an element when it is asked for, and quotes it in what it raises.
        values = np.empty(0)
    if values.shape != (count,) or not np.isfinite(values).all():
        said = "a finite number" if count == 1 else f"{count} finite numbers"
        raise UnreadableError(f"{path}: {name} is not {said}; correct the header")
    return tuple(float(value) for value in values)


def number(header: Any, name: str, path: str) -> float | None:
    """The element as a finite number, None where it is missing or empty. Raises UnreadableError as `numbers` does."""
    found = numbers(header, name, 1, path)
    return None if found is None else found[0]


def hint(header: Any, name: str, path: str) -> float | None:
    """The element as a finite number, None for anything else: for those on which no value and no place depends."""
    try:
        return number(header, name, path)
    except UnreadableError:
        return None


def pixel_spacing_mm(header: Any, path: str) -> tuple[float, float] | None:
    """(between rows, between columns), None where the header does not say. Raises UnreadableError for anything but two
    numbers above zero."""
    found = numbers(header, "PixelSpacing", 2, path)
    if found is None:
        return None
    if min(found) <= 0:
        raise UnreadableError(f"{path}: PixelSpacing is not 2 numbers above zero; correct the header")
    return found[0], found[1]


def slice_distance_mm(header: Any, path: str) -> float | None:
    """Between slices, None where the header does not say. Its sign, which nuclear medicine writes for the direction
    (DICOM PS3.3 C.8.4.15), is no part of it. Raises UnreadableError for zero and for what is no number."""
    found = number(header, "SpacingBetweenSlices", path)
    if found == 0:
        raise UnreadableError(f"{path}: SpacingBetweenSlices is zero; correct the header")
    return None if found is None else abs(found)


def frame_group(header: Any, frame: int, name: str) -> Any | None:
    """The functional group of that name for a frame of an enhanced object: its own, else the one that all frames share;
    None where there is none."""
    per_frame = header.get("PerFrameFunctionalGroupsSequence") or []
    shared = header.get("SharedFunctionalGroupsSequence") or []
    for group in [*per_frame[frame : frame + 1], *shared[:1]]:
        macro = group.get(name)
        if macro:
            return macro[0]
    return None
