"""Folders in the Brain Imaging Data Structure: the images of `sub-…` folders with what `participants.tsv` says."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from graftwork.core.data.class_folders import matches
from graftwork.core.data.table_files import read_table
from graftwork.core.domain import CorpusTable
from graftwork.core.errors import ManifestError, Problem

PARTICIPANTS, PARTICIPANT = "participants.tsv", "participant_id"
NOTHING = "n/a"
"""What BIDS writes into a cell that nobody knows."""

_ENTITY = re.compile(r"(ses|run|acq|task|echo|dir|rec|space|desc)-([A-Za-z0-9]+)")
ENTITY_COLUMNS = {"ses": "session", "run": "run", "task": "task", "acq": "acquisition"}


def read_bids(source: Path, suffixes: Sequence[str], pattern: str | None) -> CorpusTable | None:
    """An image a row: `path`, `participant_id`, `session`, `run`, `task` and `acquisition` as far as names of files
    have them, `suffix` (T1w, bold, …), and the columns of `participants.tsv`. None for another folder.

    Images of one kind are taken, or those that are like the pattern. Raises ManifestError for several kinds without
    one, and where no image is left.
    """
    import pandas as pd

    file = source if source.name == PARTICIPANTS else source / PARTICIPANTS
    folder = file.parent
    subjects = sorted(one for one in folder.glob("sub-*") if one.is_dir()) if file.is_file() else []
    if not subjects:
        return None
    participants = read_table(file)
    if PARTICIPANT not in participants:
        raise ManifestError(str(file), [Problem(f"BIDS names its participants in a column {PARTICIPANT}")])
    participants = participants.replace(NOTHING, "")
    known = {_subject(cell): place for place, cell in enumerate(participants[PARTICIPANT])}
    images = [image for one in subjects for image in sorted(one.rglob("*"))
              if image.is_file() and image.name.lower().endswith(tuple(suffixes))]  # fmt: skip
    images = [image for image in images if pattern is None or matches(image, folder, pattern)]
    kinds = Counter(_kind(image) for image in images)
    if len(kinds) > 1 and pattern is None:
        found = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        raise ManifestError(str(folder), [Problem(f"holds images of several kinds ({found}): choose, as with --files "
                                                  f"'*_{kinds.most_common(1)[0][0]}.nii.gz'")])  # fmt: skip
    listed = [image for image in images if _of(image, folder) in known]
    if not listed:
        like = "" if pattern is None else f" and is like {pattern}"
        raise ManifestError(str(folder), [Problem(f"no image of a participant is one that is read here{like}")])
    rows, places = [], []
    for image in listed:
        row = known[_of(image, folder)]
        places.append((PARTICIPANTS, int(participants.index[row]) + 2))
        entities = {ENTITY_COLUMNS[name]: value for name, value in _ENTITY.findall(image.name)
                    if name in ENTITY_COLUMNS}  # fmt: skip
        said = {str(name): str(value) for name, value in participants.iloc[row].items() if name != "path"}
        rows.append({"path": image.relative_to(folder).as_posix(), "suffix": _kind(image)} | entities | said)
    told = f"is read as BIDS has it: {len(rows)} images ({', '.join(sorted(set(map(_kind, listed))))})"
    without = len(images) - len(listed)
    told += f"; {without} of subjects that {PARTICIPANTS} does not have are left out" if without else ""
    absent = len(set(known) - {_of(image, folder) for image in images})
    told += f"; {absent} participants have none" if absent else ""
    return CorpusTable(pd.DataFrame(rows, dtype=object).fillna(""), folder, tuple(places), told)


def _subject(cell: str) -> str:
    """The name of a participant's folder; some tables leave out its first part."""
    name = str(cell).strip()
    return name if name.startswith("sub-") else f"sub-{name}"


def _of(image: Path, folder: Path) -> str:
    return image.relative_to(folder).parts[0]


def _kind(image: Path) -> str:
    """The suffix of a BIDS name: what stands between its last `_` and its ending."""
    return image.name.split(".", 1)[0].rpartition("_")[2]
