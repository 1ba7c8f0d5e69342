"""Tables and archives as files hold them, every cell a text: CSV, TSV, JSON, Parquet, a DataFrame, a MedMNIST archive.

What their columns mean is decided in `tables`.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from graftwork.core.data.delimited import read_delimited, refuse_doubled, refuse_irregular
from graftwork.core.data.json_tables import JSON_ENDINGS, JSON_LINES, read_json_table
from graftwork.core.data.manifest import PARTS
from graftwork.core.errors import ManifestError, MissingPackageError, Problem
from graftwork.core.example import ArchiveRow
from graftwork.core.names import composed

if TYPE_CHECKING:
    import pandas as pd

TABLES = (".csv", ".tsv", ".parquet", *JSON_LINES)
"""Endings that name a table wherever files are named; a `.json` is one where a manifest is asked for."""

MOST_CELLS = 200_000_000
"""A Parquet file or an archive that claims more is no table of examples, however small it is."""


def read_table(path: Path) -> pd.DataFrame:
    """The rows of a .csv, .tsv, .jsonl, .json or .parquet file that hold anything. Raises ManifestError, and
    MissingPackageError for Parquet without pyarrow."""
    refuse_irregular(path)
    kind = path.suffix.lower()
    if kind == ".parquet":
        return without_empty_rows(_parquet_table(path))
    return without_empty_rows(read_json_table(path) if kind in JSON_ENDINGS else read_delimited(path))


def without_empty_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The rows in which a cell is not empty."""
    return table[(table != "").any(axis=1)]


def as_texts(table: pd.DataFrame, source: Path) -> pd.DataFrame:
    """A typed table as the texts that a CSV file would hold; an index with a name is a column."""
    if any(name is not None and name not in table for name in table.index.names):
        table = table.reset_index()  # a column that somebody has made the index
    names = [composed(str(name).strip()) for name in table.columns]
    refuse_doubled(source, names)
    text = table.astype(object).where(table.notna(), "").astype(str)
    return text.set_axis(names, axis=1).reset_index(drop=True)


def _parquet_table(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        import pyarrow.parquet

        about = pyarrow.parquet.ParquetFile(path).metadata
        if about.num_rows * about.num_columns > MOST_CELLS:
            raise ManifestError(str(path), [Problem(f"is no table of examples: it claims {about.num_rows} rows")])
        return as_texts(pd.read_parquet(path), path)
    except ImportError as error:
        raise MissingPackageError(f"reading {path} needs pyarrow: pip install pyarrow") from error
    except (OSError, ValueError, KeyError, NotImplementedError, pyarrow.lib.ArrowException) as error:
        raise ManifestError(str(path), [Problem(f"cannot be read as a table: {error}")]) from error


def archive_table(path: Path) -> pd.DataFrame:
    """One row for every image of a MedMNIST .npz: path, split, and `label` or `label0`, `label1`, … Raises
    ManifestError."""
    import pandas as pd

    refuse_irregular(path, most_bytes=None)
    tables = []
    try:
        _refuse_bomb(path)
        with np.load(path, allow_pickle=False) as arrays:
            for part in PARTS:
                if f"{part}_labels" not in arrays:
                    continue
                labels = np.asarray(arrays[f"{part}_labels"])
                labels = labels.reshape(len(labels), -1)
                names = ["label"] if labels.shape[1] == 1 else [f"label{i}" for i in range(labels.shape[1])]
                table = pd.DataFrame(labels.astype(str), columns=names)
                table.insert(0, "path", [str(ArchiveRow(path.name, part, row)) for row in range(len(labels))])
                tables.append(table.assign(split=part))
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ManifestError(str(path), [Problem(f"cannot be read as an archive of arrays: {error}")]) from error
    if not tables:
        raise ManifestError(str(path), [Problem("expected arrays train_images, train_labels, … as MedMNIST has them")])
    return pd.concat(tables, ignore_index=True)


def _refuse_bomb(path: Path) -> None:
    """Raises ManifestError for labels that are far larger unpacked than any archive of examples has."""
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.filename.endswith("_labels.npy") and member.file_size > MOST_CELLS:
                raise ManifestError(str(path), [Problem(
                    f"is no archive of examples: {member.filename} has {member.file_size / 1e9:.1f} GB")])  # fmt: skip
