"""Memory that torch frees on a CPU stays with the process for the next batch, as long as something is computed.

The C library gives large blocks back to the system at once, which hands them out again page by page, each set to zero
first: a network whose every batch needs the same blocks can wait for that longer than it computes (MobileNetV2 at 96
pixels, 64 to a batch: 3.9 ms an image, with kept blocks 1.75). PyTorch keeps such blocks itself on a GPU, not on a CPU.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

KEPT_BYTES = 2**27
"""Blocks up to this size are kept. Larger ones leave large holes: with 2**30 a network over volumes (resnet10-3d, four
of 64 voxels a side) took 26 % more memory for 19 % less time, with this 13 % more for 6 % less."""

FREE_BYTES = 2**30
"""So much may lie free at the end of the heap before it is given back."""

USUAL_BYTES = 2**25
"""The largest block that the GNU C library comes to keep by itself, on machines of 64 bits (mallopt(3))."""

SETTLED_BY = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_MMAP_MAX_")
"""Variables by which a user has said how memory is kept; `glibc.malloc` in `GLIBC_TUNABLES` as well."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h

_lock = Lock()
_users = 0


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Inside, freed blocks of this process are kept; the last one to leave gives back what is free.

    A decorator as well. The setting is the process', for all its threads; afterwards it stays at what the library comes
    to by itself with large blocks (`USUAL_BYTES`). Nothing changes with another library than the GNU one, and where the
    environment has settled the matter (`SETTLED_BY`).
    """
    library = None if _is_settled() else _gnu_library()
    if library is None:
        yield
        return
    _count(library, 1)
    try:
        yield
    finally:
        _count(library, -1)


def give_back_freed_memory() -> None:
    """Lets the system have what is kept and not in use, so that resident memory says what is."""
    library = _gnu_library()
    if library is not None:
        library.malloc_trim(0)


def _count(library: ctypes.CDLL, change: int) -> None:
    global _users
    with _lock:
        before, _users = _users, _users + change
        if before and _users:
            return
        if not (_users and library.mallopt(_MMAP_THRESHOLD, KEPT_BYTES)):  # older versions refuse so much
            library.mallopt(_MMAP_THRESHOLD, USUAL_BYTES)
        library.mallopt(_TRIM_THRESHOLD, FREE_BYTES if _users else 2 * USUAL_BYTES)
        if not _users:
            library.malloc_trim(0)


def _is_settled() -> bool:
    named = any(name in os.environ for name in SETTLED_BY)
    return named or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")


def _gnu_library() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") and hasattr(library, "mallopt") else None
