"""How rows become the folds of cross-validation: drawn, once or several times, or a fold for every site."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graftwork.core.data.manifest import Manifest
from graftwork.core.errors import SettingsError


@dataclass(frozen=True)
class Folds:
    """count: of folds that are drawn, at least 2. leave_out: instead, a column of the manifest, whose every value is a
    fold (leave-one-site-out). repeats: how often folds are drawn anew.

    Raises SettingsError for numbers that are too small, and for both a count and a column.
    """

    count: int | None = None
    leave_out: str | None = None
    repeats: int = 1

    def __post_init__(self) -> None:
        if self.leave_out is not None and self.count is not None:
            raise SettingsError("--folds and --leave-out make folds in two ways: give one")
        if self.leave_out is None and (self.count is None or self.count < 2):
            raise SettingsError(f"--folds: expected at least 2, found {self.count}")
        if self.repeats < 1:
            raise SettingsError(f"--repeats: expected at least 1, found {self.repeats}")
        if self.leave_out is not None and self.repeats > 1:
            raise SettingsError(f"--repeats: the folds of --leave-out {self.leave_out} are the same every time")

    def numbers(self, manifest: Manifest, seed: int, repeat: int = 0) -> NDArray[np.int64]:
        """Fold (rows,), from 0, of every row; each repeat draws other ones. Raises SettingsError for fewer groups than
        folds, and for a column with an empty cell or one value only."""
        if self.leave_out is None:
            return manifest.fold_numbers(self.count or 0, seed + repeat)
        names = self.names(manifest)
        number = {name: place for place, name in enumerate(names)}
        return np.array([number[cell] for cell in manifest.column(self.leave_out)], dtype=np.int64)

    def names(self, manifest: Manifest) -> tuple[str, ...]:
        """What every fold is called: its number from 1, or the value of the column. Raises SettingsError as `numbers`
        does."""
        if self.leave_out is None:
            return tuple(str(number + 1) for number in range(self.count or 0))
        cells = manifest.column(self.leave_out)
        if "" in cells:
            place = cells.index("")
            row = manifest.rows[place] if manifest.rows else place
            raise SettingsError(f"--leave-out {self.leave_out}: row {row} has no value in that column")
        names = tuple(sorted(set(cells)))
        if len(names) < 2:
            raise SettingsError(f"--leave-out {self.leave_out}: every row says {names[0]!r}, at least two are needed")
        return names


def asked_folds(folds: int | None, leave_out: str | None, repeats: int) -> Folds | None:
    """The folds that these arguments ask for; None for none. Raises SettingsError as `Folds` does, and for repeats of
    nothing."""
    if folds is None and leave_out is None:
        if repeats != 1:
            raise SettingsError("--repeats: only folds are repeated, give --folds")
        return None
    return Folds(folds, leave_out, repeats)
