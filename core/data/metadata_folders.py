"""Folders of files with a `metadata` table beside them, as Hugging Face's imagefolder and audiofolder have them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from graftwork.core.data.class_folders import PART_NAMES, matches
from graftwork.core.data.table_files import read_table
from graftwork.core.domain import CorpusTable
from graftwork.core.errors import ManifestError, Problem

if TYPE_CHECKING:
    import pandas as pd

TABLES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
FILE_NAME = "file_name"


def read_metadata_folder(folder: Path, suffixes: Sequence[str], pattern: str | None) -> CorpusTable | None:
    """The tables in a folder, or in its folders of parts, that have a column `file_name`, seen from their own folder.

    Without a column `split` the folders `train`, `validation` and `test`, in which either tables or files lie, are the
    parts. None where there is no such table. Raises ManifestError.
    """
    import pandas as pd

    if not folder.is_dir():
        return None
    below = sorted(child for child in folder.iterdir() if child.is_dir() and child.name.lower() in PART_NAMES)
    tables = [table for home in (folder, *below) if (table := _read(folder, home)) is not None]
    if not tables:
        return None
    whole = pd.concat([table for _, table in tables], ignore_index=True).fillna("")
    places = tuple((name, int(row) + 2) for name, table in tables for row in table.index)
    parts = [Path(path).parts[0].lower() if Path(path).parts else "" for path in whole["path"]]
    told = f"its examples are those of {', '.join(name for name, _ in tables)}"
    if "split" not in whole and all(part in PART_NAMES for part in parts):
        whole["split"] = parts
        told += ", its parts are its folders"
    if pattern is None:
        return CorpusTable(whole, folder, places, told)
    kept = [index for index, path in enumerate(whole["path"]) if matches(folder / path, folder, pattern)]
    if not kept:
        raise ManifestError(str(folder), [Problem(f"no file_name of its metadata is like {pattern}")])
    whole = whole.iloc[kept].reset_index(drop=True)
    return CorpusTable(whole, folder, tuple(places[index] for index in kept), told)


def _read(folder: Path, home: Path) -> tuple[str, pd.DataFrame] | None:
    """The name of the table in a folder, and its rows with paths as seen from the whole; None where it has none."""
    for name in TABLES:
        if (home / name).is_file():
            table = read_table(home / name)
            if FILE_NAME not in table:
                continue
            # `file_name` stays what the table says, also where it is what is to be learnt.
            own = home.relative_to(folder)
            table = table.drop(columns="path", errors="ignore")
            table.insert(0, "path", [str(own / cell.strip().replace("\\", "/")) if cell.strip() else ""
                                     for cell in table[FILE_NAME]])  # fmt: skip
            return str(own / name), table
    return None
