"""Common Voice: tables with `path` and `client_id` beside a folder `clips`, in which their files lie."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from graftwork.core.data.table_files import read_table
from graftwork.core.domain import CorpusTable

if TYPE_CHECKING:
    import pandas as pd

CLIPS = "clips"
PARTS = {"train.tsv": "train", "dev.tsv": "val", "test.tsv": "test"}
WHOLE = "validated.tsv"
COLUMNS = ("path", "client_id")


def read_common_voice(source: Path, pattern: str | None) -> CorpusTable | None:
    """The rows of one table of a release, or of its folder: those of its train, dev and test tables as parts, or where
    it has none of them those of `validated.tsv`. None for what is no release. Raises ManifestError."""
    import pandas as pd

    folder = source if source.is_dir() else source.parent
    if not (folder / CLIPS).is_dir():
        return None
    if source.is_dir():
        names = [name for name in PARTS if (source / name).is_file()]
        names = names or [name for name in (WHOLE,) if (source / name).is_file()]
    else:
        names = [source.name] if source.suffix.lower() == ".tsv" else []
    tables = {name: read_table(folder / name) for name in names}
    if not tables or not all(column in table for table in tables.values() for column in COLUMNS):
        return None
    if not source.is_dir() and not _in_clips(folder, tables[source.name]):
        return None
    if source.is_dir() and names != [WHOLE]:
        tables = {name: table.assign(split=PARTS[name]) for name, table in tables.items()}
    whole = pd.concat(tables.values()).fillna("")
    places = [(name, int(row) + 2) for name, table in tables.items() for row in table.index]
    kept = [index for index, path in enumerate(whole["path"]) if pattern is None or fnmatchcase(path, pattern)]
    return CorpusTable(
        whole.iloc[kept].reset_index(drop=True),
        folder / CLIPS,
        tuple(places[index] for index in kept),
        f"is read as Common Voice has it: {', '.join(names)} with the files in {CLIPS}",
    )


def _in_clips(folder: Path, table: pd.DataFrame) -> bool:
    """Whether paths of a table are seen from `clips` and not from its own folder."""
    first = str(table["path"].iloc[0]).strip() if len(table) else ""
    return bool(first) and not (folder / first).exists()
