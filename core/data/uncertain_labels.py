"""Labels that are not sure, as CheXpert has them: -1 is uncertain, an empty cell is not mentioned.

Such a cell is read as 0 or 1, or is ignored: it counts neither in the loss nor in a metric.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from graftwork.core.data.table_rows import TableRows
from graftwork.core.tasks.labels import UNCERTAIN, UNKNOWN

Uncertain = Literal["ignore", "zero", "one"]
Blank = Literal["zero", "ignore"]

CELLS = {"ignore": UNKNOWN, "zero": "0", "one": "1"}


@dataclass(frozen=True)
class UnsureLabels:
    """uncertain: what -1 is read as, None where that is an error. blank: what an empty cell is read as; CheXpert's own
    baselines take it for absent (Irvin et al. 2019), and so does None, where `uncertain` is given."""

    uncertain: Uncertain | None = None
    blank: Blank | None = None

    @property
    def asked(self) -> bool:
        """Whether cells of several labels may be unsure."""
        return self.uncertain is not None or self.blank is not None


def settled(rows: TableRows, names: Sequence[str], columns: list[list[str]], unsure: UnsureLabels) -> list[list[str]]:
    """The cells of label columns with what unsure ones are read as; how many these are is said."""
    blank = CELLS[unsure.blank or "zero"]
    found, blanks, doubts = [], 0, 0
    for cells in columns:
        own = []
        for cell in cells:
            doubtful = unsure.uncertain is not None and cell in UNCERTAIN
            blanks, doubts = blanks + (not cell), doubts + doubtful
            own.append(blank if not cell else CELLS[unsure.uncertain] if unsure.uncertain and doubtful else cell)
        found.append(own)
    said = [f"{count} {what} are {'ignored' if cell == UNKNOWN else f'read as {cell}'}"
            for count, what, cell in ((doubts, "uncertain cells (-1)", CELLS[unsure.uncertain or "ignore"]),
                                      (blanks, "empty cells", blank)) if count]  # fmt: skip
    if said:
        rows.warn(f"labels {', '.join(names)}: {', '.join(said)}")
    return found
