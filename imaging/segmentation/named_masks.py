"""Masks whose files name classes by colours or by structures, as values: of class k of a table k."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from graftwork.core.errors import SettingsError, UnreadableError
from graftwork.imaging.formats.dicom.geometry import say_once
from graftwork.imaging.formats.dicom.structures import Structure, read_structures
from graftwork.imaging.formats.pixels import BYTE
from graftwork.imaging.scan import Scan
from graftwork.imaging.segmentation.class_tables import ClassTable

SHOWN = 5
"""Colours or names that an error lists."""


def coloured_values(scan: Scan, table: ClassTable, *, others_are_background: bool, lossy: bool) -> Scan:
    """The picture's class (1, *spatial) at every pixel by its colour.

    Raises UnreadableError, with the colours and how many pixels have them, for those that the table does not name,
    unless they are background, and for what is no picture of 8 bits.
    """
    if scan.full_range != BYTE:
        raise UnreadableError(f"{scan.path}: is no picture with 8 bits for each of red, green and blue, and "
                              "--mask-colours names its classes")  # fmt: skip
    red, green, blue = (scan.values[place % scan.channels].astype(np.int64) for place in range(3))
    packed = (red << 16) | (green << 8) | blue
    classes = np.full(packed.shape, -1, dtype=np.int64)
    for value, colours in enumerate(table.colours):
        for one, two, three in colours:
            classes[packed == (one << 16) | (two << 8) | three] = value
    unknown = classes < 0
    if unknown.any() and not others_are_background:
        held, counts = np.unique(packed[unknown], return_counts=True)
        order = np.argsort(-counts, kind="stable")[:SHOWN]
        most = zip(held[order].tolist(), counts[order].tolist(), strict=True)
        listed = "; ".join(f"{one >> 16},{one >> 8 & 255},{one & 255} at {count}" for one, count in most)
        more = f" and {len(held) - SHOWN} more" if len(held) > SHOWN else ""
        advice = ("its compression made them up: save it as PNG" if lossy else
                  "name them in --mask-colours, or take them for background: --other-values background")  # fmt: skip
        raise UnreadableError(f"{scan.path}: {int(unknown.sum())} of {unknown.size} pixels have {len(held)} colours "
                              f"that --mask-colours does not name: {listed}{more}; {advice}")  # fmt: skip
    classes[unknown] = 0
    return replace(scan, values=classes[None].astype(np.float32), rgb=False)


def structures_by_class(path: str, table: ClassTable | None) -> list[Structure]:
    """The structures of the file, numbered by the table's classes and only those that it names; without a table all,
    by their own numbers. What the table names and the file lacks is said."""
    held = read_structures(path)
    if table is None:
        return held
    found = [replace(one, number=value) for value, names in enumerate(table.structures, start=1) for name in names
             for one in held if one.name == name]  # fmt: skip
    there = {one.number for one in found}
    absent = [name for value, name in enumerate(table.names) if value and value not in there]
    if absent:
        say_once(f"{path}: has no structure for {', '.join(absent)}, which is taken for absent; it has "
                 f"{', '.join(one.name for one in held) or 'none with closed contours'}")  # fmt: skip
    return found


@dataclass
class StructureNumbers:
    """The name that a number stands for, and the file that says so: programs number structures anew in each."""

    names: dict[int, tuple[str, str]] = field(default_factory=dict)

    def add(self, structures: list[Structure], path: str) -> None:
        """Raises SettingsError where an earlier file has another name for a number."""
        for one in structures:
            known, first = self.names.setdefault(one.number, (one.name, path))
            if known != one.name:
                raise SettingsError(f"{path}: structure {one.number} is {one.name!r}, and {known!r} in {first}: "
                                    "numbers do not say which is which; name them, as --structures a,b")  # fmt: skip


def values_of(structures: list[Structure]) -> NDArray[np.int64]:
    """Background and the numbers of structures, ascending."""
    return np.array(sorted({0} | {one.number for one in structures}), dtype=np.int64)
