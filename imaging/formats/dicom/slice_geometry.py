"""Where the slices of a DICOM volume lie, by what each says of itself: their order, distances and orientation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graftwork.core.errors import UnreadableError

UNEVEN = 0.05
"""Share of the usual distance by which one may differ: positions are written with few digits."""

SAME_MM = 1e-3
ALIGNED = 1e-3
"""Largest difference of direction cosines that counts as none."""

SLANTED = 0.01
"""Largest error of the lengths of direction cosines, and of their product: some headers have three digits."""

TILT = 0.01
"""Largest shift of a slice within its plane, per distance to the next: more is a tilted gantry."""


@dataclass(frozen=True, eq=False)
class Plane:
    """A slice in the patient: `position` (3,) of its first pixel's centre in mm, `across` and `down` (3,) unit vectors
    along a row and along a column, all towards left, posterior and head; `spacing_mm` between rows, between columns."""

    position: NDArray[np.float64]
    across: NDArray[np.float64]
    down: NDArray[np.float64]
    spacing_mm: tuple[float, float]

    def upright(self) -> bool:
        """Whether the directions are two unit vectors at right angles, as far as the digits of headers say."""
        gram = np.array([self.across @ self.across - 1, self.down @ self.down - 1, self.across @ self.down])
        return bool(np.abs(gram).max() <= SLANTED)

    def affine(self, step: NDArray[np.float64]) -> NDArray[np.float64]:
        """(4, 4), from the index (width, height, depth) to mm towards right, anterior and head; step: (3,), from a
        slice to the next, towards left, posterior and head."""
        affine = np.eye(4)
        columns = (self.across * self.spacing_mm[1], self.down * self.spacing_mm[0], step, self.position)
        affine[:3] = np.stack(columns, axis=1)
        affine[:2] *= -1  # DICOM counts towards left and posterior
        return affine


def stack(planes: Sequence[Plane], path: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The order of the slices, from the first along their normal, and the affine (4, 4) of the stack: from the index
    (width, height, depth) to mm towards right, anterior and head.

    Raises UnreadableError, naming `path`, for slices of different orientation or spacing, two at one place, missing
    ones or uneven distances, and slices shifted against each other.
    """
    first = planes[0]
    if not first.upright():
        raise UnreadableError(f"{path}: ImageOrientationPatient is not two unit vectors at right angles; correct the "
                              "header")  # fmt: skip
    for plane in planes[1:]:
        turned = max(np.abs(plane.across - first.across).max(), np.abs(plane.down - first.down).max())
        if turned > ALIGNED:
            raise UnreadableError(f"{path}: slices have different orientations: is it a localiser, or two series?")
        if not np.allclose(plane.spacing_mm, first.spacing_mm, rtol=1e-3):
            raise UnreadableError(f"{path}: slices have pixels of {_mm(first.spacing_mm)} and {_mm(plane.spacing_mm)}")
    normal = np.cross(first.across, first.down)
    places = np.array([plane.position @ normal for plane in planes])
    order = np.argsort(places, kind="stable")
    gaps = np.diff(places[order])
    if gaps.min() < SAME_MM:
        at = float(places[order][int(gaps.argmin())])
        count = int((gaps < SAME_MM).sum())
        raise UnreadableError(f"{path}: {count + 1} slices lie where another does, the first at {at:g} mm: duplicates, "
                              "or several volumes (times, echoes) in one series; keep one of them")  # fmt: skip
    usual = float(np.median(gaps))
    wrong = np.flatnonzero(np.abs(gaps - usual) > UNEVEN * usual)
    if len(wrong):
        places = places[order]
        listed = ", ".join(f"{gaps[one]:.4g} mm behind {places[one]:.4g} mm" for one in wrong[:5])
        raise UnreadableError(f"{path}: {len(order)} slices usually {usual:.4g} mm apart, but {listed}: slices are "
                              "missing, or their distances are uneven")  # fmt: skip
    step = (planes[order[-1]].position - planes[order[0]].position) / (len(planes) - 1)
    if np.abs(step - normal * (step @ normal)).max() > TILT * usual:
        raise UnreadableError(f"{path}: slices are shifted against each other (a tilted gantry); correct that first, "
                              "for example with dcm2niix")  # fmt: skip
    return order, planes[order[0]].affine(step)


def _mm(spacing: tuple[float, float]) -> str:
    return " x ".join(f"{length:g}" for length in spacing) + " mm"
