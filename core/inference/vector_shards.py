"""Vectors of many files in a folder of Parquet files, the shards: path, digest of the file, vector."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graftwork.core.errors import OutputError, UnreadableError
from graftwork.core.files import DamagedFileError, atomic_write, read_checked_json, write_checked_json
from graftwork.core.versions import advice_on_schema

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1
RECORD = "embed.json"
NAME = "part-{:05d}.parquet"


@dataclass(frozen=True, eq=False)
class Shard:
    """Examples as people write them (rows,), SHA-256 of their files' bytes (rows,), vectors (rows, width) float32."""

    paths: tuple[str, ...]
    digests: tuple[str, ...]
    vectors: NDArray[np.float32]


def begin_shards(folder: Path, about: dict[str, Any]) -> list[Path]:
    """Makes the folder for vectors of this kind, or opens the one that is there; returns its shards in order.

    about: what vectors depend on, plain values. Raises OutputError for a folder that holds something else, vectors of
    another kind, or those of another version.
    """
    record = {"schema": SCHEMA, **about}
    if (folder / RECORD).exists():
        found = read_shard_record(folder)
        changed = sorted(name for name in record.keys() | found.keys() if found.get(name) != record.get(name))
        if changed:
            raise OutputError(f"{folder}: holds vectors of another {', '.join(changed)}; name another --out")
        return shard_files(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder}: is not empty, and no vectors of `embed` are here; name another --out")
    folder.mkdir(parents=True, exist_ok=True)
    write_checked_json(folder / RECORD, record)
    return []


def read_shard_record(folder: Path) -> dict[str, Any]:
    """What vectors in a folder depend on. Raises OutputError where there are none, or another version's."""
    try:
        record = read_checked_json(folder / RECORD)
    except FileNotFoundError as error:
        raise OutputError(f"{folder}: no vectors here, {RECORD} is missing; `embed` writes them") from error
    except (OSError, DamagedFileError, ValueError) as error:
        raise OutputError(f"{folder / RECORD}: cannot be read ({error})") from error
    if record.get("schema") != SCHEMA:
        raise OutputError(f"{folder / RECORD}: schema {record.get('schema')!r}, this version reads {SCHEMA}; "
                          + advice_on_schema(record.get("schema"), SCHEMA, "embed anew"))  # fmt: skip
    return record


def shard_files(folder: Path) -> list[Path]:
    """The shards of a folder, in the order of their numbers."""
    return sorted(folder.glob("part-*.parquet"), key=shard_number)


def shard_number(path: Path) -> int:
    return int(path.stem.removeprefix("part-"))


def write_shard(folder: Path, number: int, shard: Shard) -> None:
    """Writes one shard, whole or not at all. Raises OutputError."""
    import pyarrow
    import pyarrow.parquet

    width = shard.vectors.shape[1]
    flat = pyarrow.array(np.ascontiguousarray(shard.vectors, dtype=np.float32).ravel())
    columns = {"path": pyarrow.array(shard.paths, pyarrow.string()), "digest": pyarrow.array(shard.digests),
               "vector": pyarrow.FixedSizeListArray.from_arrays(flat, width)}  # fmt: skip
    with atomic_write(folder / NAME.format(number)) as temporary:
        pyarrow.parquet.write_table(pyarrow.table(columns), temporary)


def read_shard(path: Path) -> Shard:
    """Raises UnreadableError for a file that is no shard."""
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
        vectors = table["vector"].combine_chunks()
        flat = vectors.flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
        return Shard(tuple(table["path"].to_pylist()), tuple(table["digest"].to_pylist()),
                     flat.reshape(len(table), -1))  # fmt: skip
    except (OSError, ValueError, KeyError, AttributeError, pyarrow.lib.ArrowException) as error:
        raise _damaged(path, error) from error


def known_paths(shards: Sequence[Path]) -> dict[str, float]:
    """The paths that have vectors already, with the time of their shard, in seconds since the epoch. Raises
    UnreadableError for a damaged shard."""
    import pyarrow.parquet

    known: dict[str, float] = {}
    for path in shards:
        try:
            paths = pyarrow.parquet.read_table(path, columns=["path"])["path"].to_pylist()
            known |= dict.fromkeys(paths, path.stat().st_mtime)
        except (OSError, ValueError, KeyError, pyarrow.lib.ArrowException) as error:
            raise _damaged(path, error) from error
    return known


def digests_of(shards: Sequence[Path], paths: Collection[str]) -> dict[str, str]:
    """The digest that each of these paths has in the last shard that holds it. Raises UnreadableError for a damaged
    shard."""
    import pyarrow.parquet

    found: dict[str, str] = {}
    for path in shards:
        try:
            table = pyarrow.parquet.read_table(path, columns=["path", "digest"]).to_pydict()
        except (OSError, ValueError, KeyError, pyarrow.lib.ArrowException) as error:
            raise _damaged(path, error) from error
        found |= {name: digest for name, digest in zip(table["path"], table["digest"], strict=True) if name in paths}
    return found


def _damaged(path: Path, error: Exception) -> UnreadableError:
    return UnreadableError(f"{path}: cannot be read as vectors of `embed`: {error}; delete it, and embed again")


def each_shard(folder: str | Path) -> Iterator[Shard]:
    """The shards of a folder that `embed` wrote, one after the other: all of them may not fit in memory. Raises
    OutputError where there are none, UnreadableError for a damaged one."""
    read_shard_record(Path(folder))
    for path in shard_files(Path(folder)):
        yield read_shard(path)


def read_vectors(folder: str | Path) -> tuple[pd.DataFrame, NDArray[np.float32]]:
    """All rows that `embed` wrote into a folder: a table with the columns path and digest, and the vectors (rows,
    width), float32, as scikit-learn takes them. Raises OutputError where there are none, UnreadableError for a damaged
    shard."""
    import pandas as pd

    shards = list(each_shard(folder))
    paths = [path for shard in shards for path in shard.paths]
    digests = [digest for shard in shards for digest in shard.digests]
    vectors = np.concatenate([shard.vectors for shard in shards]) if shards else np.zeros((0, 0), np.float32)
    return pd.DataFrame({"path": paths, "digest": digests}), vectors
