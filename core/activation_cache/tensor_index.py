"""The indexes of a store of tensors: which data file lists what, and what is whole."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

import torch

from graftwork.core.data.memory_mapped import TensorLocation
from graftwork.core.errors import OutputError
from graftwork.core.files import atomic_write

log = logging.getLogger(__name__)

PREFIX = "graftwork-store-"
SCHEMA = f"{PREFIX}2"
RECORD = "store.json"

_ABANDONED_SECONDS = 24 * 3600.0


def unwritable(folder: Path, error: OSError) -> OutputError:
    """The error that names the folder and what may help."""
    return OutputError(f"{folder}: cannot be written ({error.strerror or error}); make room or name another --cache")


def write_index(folder: Path, path: Path, value: dict[str, Any]) -> None:
    """Writes JSON. Plain ASCII, as names may hold bytes that are not UTF-8."""
    try:
        with atomic_write(path, "private") as temporary:
            temporary.write_text(json.dumps(value), encoding="ascii")
    except OutputError as error:
        if isinstance(error.__cause__, OSError):
            raise unwritable(folder, error.__cause__) from error.__cause__
        raise


def remove_abandoned(folder: Path) -> None:
    """Removes data that no index lists, and half-written indexes, once nobody can be writing them any more."""
    for path in folder.iterdir():
        unlisted = path.suffix == ".bin" and not path.with_suffix(".json").exists()
        half_written = path.suffix == ".json" and path.name.startswith(".")
        try:
            if (unlisted or half_written) and time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
                path.unlink()
        except FileNotFoundError:
            pass
        except OSError as error:
            log.warning("%s: cannot be removed (%s)", path, error)


def _indexes(folder: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Every data file with its index. A broken index is left out with a warning."""
    found = []
    for path in sorted(folder.glob("*.json")):
        if path.name == RECORD or path.name.startswith("."):
            continue
        try:
            index = json.loads(path.read_text(encoding="ascii"))
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            log.warning("%s: left out, it cannot be read (%s)", path, error)
            continue
        if not isinstance(index, dict) or index.get("schema") != SCHEMA or not isinstance(index.get("entries"), dict):
            log.warning("%s: left out, expected an index of schema %s", path, SCHEMA)
            continue
        found.append((path.with_suffix(".bin"), index))
    return found


def places_of(folder: Path, dtype: torch.dtype) -> dict[str, TensorLocation]:
    """Where every whole entry lies."""
    places = {}
    for data, index in _indexes(folder):
        try:
            size = data.stat().st_size
        except OSError:
            continue
        for name, entry in index["entries"].items():
            place = _place(data, entry)
            if place is None:
                log.warning(
                    "%s: entry %s left out, it is not an offset, a shape and a checksum",
                    data.with_suffix(".json"),
                    name,
                )
            elif place.end(dtype) <= size:
                places[name] = place
    return places


def _place(data: Path, entry: Any) -> TensorLocation | None:
    match entry:
        case [int(offset), [*shape], int(checksum)] if offset >= 0 and all(
            isinstance(n, int) and n >= 0 for n in shape
        ):
            return TensorLocation(data, offset, tuple(shape), checksum)
    return None


def are_ragged(folder: Path, dtype: torch.dtype) -> bool | None:
    """Whether the first axes of the entries are lengths of their own: as the writers said, or, if none did, whether the
    shapes differ; None for none."""
    said = [index["ragged"] for _, index in _indexes(folder) if isinstance(index.get("ragged"), bool)]
    if said:
        return any(said)
    shapes = {place.shape for place in places_of(folder, dtype).values()}
    return len(shapes) > 1 if shapes else None
