"""Which task a target is, where nobody says so: by the name of its column, and by what its cells look like."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from graftwork.core.data.table_rows import TableRows
from graftwork.core.tasks import MASK, MULTI_LABEL, REGRESSION, SINGLE_LABEL, TEXT, Task
from graftwork.core.tasks.cells import NUMBER, number_in

SENTENCE_COLUMNS = ("sentence", "text", "transcript")
MASK_COLUMN = "mask"

MISSING = ("nan", "na", "n/a", "null", "none", "inf", "+inf", "-inf", "infinity", "-infinity", "-", "--", "?", ".",
           "missing", "unknown", "#n/a", "#na", "#null!", "#num!", "#value!", "#ref!", "#div/0!", "#name?")  # fmt: skip
"""Cells, lower case, that programs and people write where there is no number."""

FEW_NUMBERS = 10
"""As many different whole numbers are classes, as digits are."""

ROWS_PER_CLASS = 10
"""With fewer rows for each of many different whole numbers it must be said whether these are classes."""

FEW_ROWS = 3
"""Where most whole numbers are in fewer rows, they look like a quantity, however few there are."""

STRANGE_SHARE = 0.1
"""Words in so few cells of a column of numbers are taken for slips."""

_LIKE_A_NUMBER = re.compile(r"[+-]?[0-9][0-9.,'\s]*[^\W\d_%°]{0,6}[%°]?")
"""Digits with separators of thousands, or with a unit behind them."""


def task_by_name(names: Sequence[str]) -> Task | None:
    """The task that the name of a target stands for, if it stands for one."""
    if list(names) == [MASK_COLUMN]:
        return MASK
    return TEXT if names[0] in SENTENCE_COLUMNS and len(names) == 1 else None


def guessed_task(rows: TableRows, names: Sequence[str], columns: list[list[str]]) -> Task:
    """What the cells look like: several labels, numbers, or single labels. What is ambiguous is noted in `rows`."""
    rows.refuse_files(names[0])
    if len(columns) > 1:
        return MULTI_LABEL
    numbers = [number_in(cell) for cell in columns[0]]
    found = [number for number in numbers if number is not None]
    whole = all(number == int(number) for number in found)
    many = len(set(found)) > FEW_NUMBERS
    strange = [index for index, (cell, number) in enumerate(zip(columns[0], numbers, strict=True))
               if cell and number is None]  # fmt: skip
    # What is written as a number and is none here is too large for one.
    absent = [index for index in strange
              if columns[0][index].lower() in MISSING or NUMBER.fullmatch(columns[0][index])]  # fmt: skip
    alike = {columns[0][index] for index in strange if _LIKE_A_NUMBER.fullmatch(columns[0][index])}
    if len(alike) > max(FEW_NUMBERS, len(columns[0]) / 2) and not names_people(names[0]):
        rows.note(f"{len(alike)} different cells such as {min(alike)!r} look like numbers with separators or units: "
                  "write plain numbers with a decimal point, or add --task single-label if these are classes", None,
                  names[0])  # fmt: skip
        return SINGLE_LABEL
    if found and strange:
        slips = len(absent) == len(strange) or (
            (many or not whole) and len(strange) <= STRANGE_SHARE * (len(found) + len(strange))
        )
        for index in strange if slips else ():
            rows.note(f"is {columns[0][index]!r}, and {len(found)} other rows have numbers: mend or remove it; if all "
                      "are names of classes, add --task single-label", index, names[0])  # fmt: skip
        return SINGLE_LABEL
    if absent and len(absent) < len(columns[0]):
        named = ", ".join(sorted({repr(columns[0][index]) for index in absent}))
        rows.warn(f"column {names[0]!r}: {named} in {len(absent)} rows is taken for a class of its own; where it means "
                  "that nobody knows, remove these rows")  # fmt: skip
    if not found or not whole:
        return REGRESSION if found else SINGLE_LABEL
    if many and not names_people(names[0]):
        kinds = len(set(found))
        if len(found) < ROWS_PER_CLASS * kinds:
            rows.note(f"{len(found)} rows have {kinds} different whole numbers: add --task regression if they are "
                      "numbers, or --task single-label if they are classes", None, names[0])  # fmt: skip
        else:
            rows.warn(f"column {names[0]!r}: {kinds} different whole numbers are taken for classes; if they are "
                      "numbers, add --task regression")  # fmt: skip
    elif len(set(found)) > 2 and not names_people(names[0]):
        kinds, rare = len(set(found)), sum(count < FEW_ROWS for count in Counter(found).values())
        if rare > kinds / 2:
            rows.warn(f"column {names[0]!r}: {kinds} different whole numbers, {rare} of them in under {FEW_ROWS} rows, "
                      "are taken for classes; if they are numbers, add --task regression")  # fmt: skip
    return SINGLE_LABEL


def names_people(name: str) -> bool:
    """Whether the name of a column, or of several, says that it names people."""
    return any(word in name.lower() for word in ("speaker", "patient", "subject", "client", "participant", "person"))
