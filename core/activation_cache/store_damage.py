"""Damage to stored tensors: what was written is compared with its checksum before it is used for the first time."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import torch

from graftwork.core.activation_cache.tensor_index import places_of
from graftwork.core.data.memory_mapped import TensorLocation
from graftwork.core.errors import OutputError

log = logging.getLogger(__name__)

_BLOCK_BYTES = 1 << 20


def remove_damaged(folder: Path, dtype: torch.dtype, wanted: Iterable[str]) -> int:
    """Removes the data files of a store in which a wanted entry is not what was written, with all that they hold.

    Returns how many entries are lost: they have to be computed anew. A process reads each entry once for this. Raises
    OutputError for a file that cannot be read, or is damaged and cannot be removed.
    """
    wanted, lost = tuple(wanted), 0
    # What is damaged in one file may lie in another one too.
    while found := _remove_once(folder, dtype, wanted):
        lost += found
    return lost


def _remove_once(folder: Path, dtype: torch.dtype, wanted: Iterable[str]) -> int:
    places = places_of(folder, dtype)
    by_file: dict[Path, list[TensorLocation]] = {}
    for name in dict.fromkeys(wanted):
        if name in places:
            by_file.setdefault(places[name].file, []).append(places[name])
    lost = 0
    for file, held in by_file.items():
        if all(_is_sound(place, dtype) for place in sorted(held, key=lambda place: place.offset)):
            continue
        count = sum(place.file == file for place in places.values())
        log.warning("%s: damaged; its %d entries are computed anew", file, count)
        lost += count
        try:
            for path in (file.with_suffix(".json"), file):
                path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{file}: damaged, and cannot be removed ({error.strerror or error}); delete it or name "
                              "another --cache") from error  # fmt: skip
    return lost


def _is_sound(place: TensorLocation, dtype: torch.dtype) -> bool:
    try:
        state = place.file.stat()
        return _is_sound_since(place, dtype, state.st_mtime_ns, state.st_size)
    except FileNotFoundError:  # another process has found it damaged
        return False
    except OSError as error:
        raise OutputError(f"{place.file}: cannot be read ({error.strerror or error}); name another --cache") from error


@lru_cache(maxsize=1 << 20)
def _is_sound_since(place: TensorLocation, dtype: torch.dtype, mtime_ns: int, size: int) -> bool:
    """Remembered for as long as the file has this time and size: folds and strategies read the same entries."""
    left, found = place.end(dtype) - place.offset, 0
    with open(place.file, "rb", buffering=0) as file:
        file.seek(place.offset)
        while left > 0:
            block = file.read(min(left, _BLOCK_BYTES))
            if not block:
                return False
            found, left = zlib.crc32(block, found), left - len(block)
    return found == place.checksum
