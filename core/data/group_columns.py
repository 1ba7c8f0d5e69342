"""The groups that splits keep together: which column of a table names patients or speakers, or what in a path does."""

from __future__ import annotations

import re
from collections.abc import Sequence

from graftwork.core.data.table_rows import TableRows
from graftwork.core.errors import ManifestError, Problem
from graftwork.core.example import Example, Span, recording_of
from graftwork.core.names import composed

GROUP_COLUMNS = ("group", "patient", "speaker")
"""Columns that are taken for the groups, the first that is there and is not the target, unless one is named."""
PERSON_COLUMNS = ("patientid", "patientno", "patientnumber", "speakerid", "speakername", "spk", "spkid", "subject",
                  "subjectid", "participant", "participantid", "clientid", "person", "personid")  # fmt: skip
"""Columns that are taken for the groups after those, with a warning, however they are spelt: `Patient ID`."""


def read_groups(
    rows: TableRows, names: Sequence[str], examples: Sequence[Example], group: str | None, in_paths: list[str] | None
) -> tuple[list[str] | None, bool]:
    """The group of every row, None where there are none, and whether somebody has named them as groups.

    names: of the target's columns. group: the column that was asked for. in_paths: groups that paths name, in place
    of a column. What is assumed, or looks wrong, is said.
    """
    if in_paths is not None:
        return in_paths, True
    column = group or _group_column(rows, names)
    groups = None if column is None else rows.column(column, "groups")
    if column is None or groups is None:
        _warn_of_segments(rows, examples)
        return None, column is None or group is not None or column.lower() == "group"
    groups = rows.same_names(column, groups)
    if group is None and _letters(column) not in GROUP_COLUMNS:
        rows.warn(f"column {column!r} is taken for the groups that splits keep together ({len(set(groups))} in "
                  f"{len(groups)} rows); --group names another")  # fmt: skip
    _warn_of_alike_groups(rows, column, groups)
    if group is None:
        _warn_of_other_groups(rows, column, names)
    return groups, group is not None or column.lower() == "group"


def _group_column(rows: TableRows, names: Sequence[str]) -> str | None:
    """The column of the groups where none was named. Of a target that names people itself, other columns that do are
    none: each of its classes would be a group."""
    targets = {_letters(name) for name in names}
    people = (*GROUP_COLUMNS, *PERSON_COLUMNS)
    known = ("group",) if targets & set(people[1:]) else people
    columns = {_letters(str(column)): str(column) for column in reversed(rows.table.columns)}
    return next((columns[name] for name in known if name in columns and name not in targets), None)


def groups_from_paths(rows: TableRows, pattern: str, group: str | None, column: str) -> list[str] | None:
    """The group of every row, out of its path; rows whose path has none are noted. Raises ManifestError for what is no
    regular expression, and for a column of groups beside it."""
    try:
        searched = re.compile(pattern)
    except re.error as error:
        raise ManifestError(str(rows.source), [Problem(f"--group-from {pattern!r} is no regular expression: {error}")]
                            ) from error  # fmt: skip
    if group is not None:
        raise ManifestError(str(rows.source), [Problem("--group and --group-from name groups in two ways: give one")])
    cells = rows.column(column, "files")
    if cells is None:
        return None
    found = [searched.search(cell) for cell in cells]
    if cells and not any(found):
        raise ManifestError(str(rows.source), [Problem(f"--group-from {pattern!r} finds nothing in any of {len(cells)} "
                                                       f"paths, the first is {cells[0]!r}")])  # fmt: skip
    for index, match in enumerate(found):
        if match is None or not match[1 if searched.groups else 0]:
            rows.note(f"--group-from {pattern!r} finds nothing in {cells[index]!r}", index, column)
    return [composed(match[1 if searched.groups else 0] or "") if match else "" for match in found]


def _warn_of_segments(rows: TableRows, examples: Sequence[Example]) -> None:
    """Says where rows without groups are seconds of the same recordings: splits may separate them."""
    recordings = [recording_of(example) for example in examples if isinstance(example, Span)]
    different = len(set(recordings))
    if different < len(recordings):
        rows.warn(f"{len(recordings)} rows are seconds of {different} recordings, which splits may put on both sides: "
                  "name the recording or its speaker with --group")  # fmt: skip


def _warn_of_alike_groups(rows: TableRows, column: str, groups: Sequence[str]) -> None:
    folded: dict[str, set[str]] = {}
    for group in groups:
        folded.setdefault(group.casefold(), set()).add(group)
    alike = [sorted(one) for one in folded.values() if len(one) > 1]
    if alike:
        more = f", as are those of {len(alike) - 1} more" if len(alike) > 1 else ""
        rows.warn(f"column {column!r}: {', '.join(map(repr, alike[0]))} differ in case alone and are different groups"
                  f"{more}: if these are the same people, splits may separate them")  # fmt: skip


def _warn_of_other_groups(rows: TableRows, taken: str, names: Sequence[str]) -> None:
    """Says where further columns name people, whom splits that keep the groups together may separate."""
    passed_over = {_letters(name) for name in (*names, taken)}
    others = [str(column) for column in rows.table.columns if _letters(str(column)) not in passed_over
              and _letters(str(column)) in (*GROUP_COLUMNS, *PERSON_COLUMNS)]  # fmt: skip
    if others:
        rows.warn(f"splits keep {taken!r} together; {', '.join(map(repr, others))} may name people too, whom they may "
                  "separate: choose with --group")  # fmt: skip


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name.lower()))
