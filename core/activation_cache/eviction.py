"""The folder of all stores: where it is, how much room it takes, and which store makes room for another."""

from __future__ import annotations

import logging
import os
import re
import shutil
import time
import uuid
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from graftwork.core.activation_cache.tensor_store import last_use
from graftwork.core.errors import SettingsError

log = logging.getLogger(__name__)

MARGIN_BYTES = 512 * 2**20
"""Disk space that stays free for everybody else."""

IN_USE_SECONDS = 600.0
"""A store used more recently than this may be being written by another process and is not removed."""

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_REMOVED = ".graftwork-removed-"


def cache_folder(given: str | None) -> Path:
    """The folder of all stores: `given`, else $GRAFTWORK_CACHE, else graftwork in $XDG_CACHE_HOME or in ~/.cache.

    Raises SettingsError if it lies in a home folder and there is none.
    """
    try:
        if chosen := given or os.environ.get("GRAFTWORK_CACHE"):
            return Path(chosen).expanduser()
        if shared := os.environ.get("XDG_CACHE_HOME"):
            return Path(shared) / "graftwork"
        return Path.home() / ".cache" / "graftwork"
    except RuntimeError as error:
        raise SettingsError("there is no home folder to keep a cache in; name a folder with --cache") from error


def parse_size(text: str) -> int:
    """Bytes of a size such as "500MB", "20 GB", "1.5GiB" or "800000". Raises SettingsError for anything else."""
    found = re.fullmatch(r"([0-9]{1,18}(?:\.[0-9]{1,18})?) *(|[kmgt]i?)b?", text.strip().lower())
    if found is None:
        raise SettingsError(f"{text!r} is not a size; expected one like 500MB, 20GB, 1.5GiB or a number of bytes")
    return int(Decimal(found[1]) * _UNITS[found[2]])


def store_bytes(cache: Path) -> dict[Path, int]:
    """Every store folder in the cache with its size in bytes. Other folders are none of ours."""
    return {folder: _size(folder) for folder in _folders(cache) if last_use(folder) is not None}


@dataclass(frozen=True)
class CacheStore:
    """A folder of stored outputs, its size, and when it was last opened or written, in seconds since the epoch."""

    path: Path
    bytes: int
    last_used: float


def stores(cache: Path) -> list[CacheStore]:
    """Every store in the cache, the last used first."""
    found = [CacheStore(folder, size, last_use(folder) or 0.0) for folder, size in store_bytes(cache).items()]
    return sorted(found, key=lambda one: -one.last_used)


def clear(cache: Path) -> int:
    """Removes every store that is not in use; returns how many bytes that has freed."""
    _remove_leftovers(cache)
    unused = [one for one in stores(cache) if time.time() - one.last_used > IN_USE_SECONDS]
    return sum(one.bytes for one in unused if _remove(one.path, one.bytes))


def make_room(cache: Path, needed: int, limit: int, keep: Path) -> bool:
    """Whether `needed` more bytes fit into a cache of at most `limit` bytes, and onto the disk.

    If they do not, the stores that were not used for longest are removed until they do: never `keep`, and none in
    use. If that would not be enough, nothing is removed.
    """
    _remove_leftovers(cache)
    sizes = store_bytes(cache)
    excess = max(sum(sizes.values()) + needed - limit, needed + MARGIN_BYTES - _free(cache))
    chosen = []
    for folder in sorted(sizes, key=lambda folder: last_use(folder) or 0.0):
        if excess <= 0:
            break
        used = last_use(folder)
        if folder.resolve() != keep.resolve() and used is not None and time.time() - used > IN_USE_SECONDS:
            chosen.append(folder)
            excess -= sizes[folder]
    if excess > 0:
        return False
    # All of them, whatever the outcome of one: the caller hears "no" if one could not be removed.
    removed = [_remove(folder, sizes[folder]) for folder in chosen]
    return all(removed)


def _folders(cache: Path) -> list[Path]:
    try:
        return sorted(path for path in cache.iterdir() if path.is_dir() and not path.is_symlink())
    except OSError:
        return []


def _size(folder: Path) -> int:
    total = 0
    for path in folder.glob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:  # removed meanwhile
            continue
    return total


def _free(cache: Path) -> int:
    existing = next(path for path in (cache.absolute(), *cache.absolute().parents) if path.exists())
    return shutil.disk_usage(existing).free


def _remove(folder: Path, size: int) -> bool:
    # Renamed first, so that nobody opens half a store. A process that has it mapped keeps its data.
    grave = folder.with_name(f"{_REMOVED}{uuid.uuid4().hex}")
    try:
        folder.rename(grave)
        shutil.rmtree(grave)
    except FileNotFoundError:
        return True
    except OSError as error:
        log.warning("%s: cannot be removed (%s)", folder, error)
        return False
    log.info("cache: removed %s (%.0f MB)", folder, size / 1e6)
    return True


def _remove_leftovers(cache: Path) -> None:
    for folder in _folders(cache):
        if folder.name.startswith(_REMOVED):
            shutil.rmtree(folder, ignore_errors=True)
