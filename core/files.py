"""Files appear whole or not at all: they are written beside their place, flushed to the disk, and renamed into it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from graftwork.core.errors import OutputError, UnreadableError

OURS = ".graftwork-"
"""Begins the names of files that are not results: what is being written, and locks."""

CHECKSUM = "sha256"
"""The field of a JSON file that holds the digest of the others."""

WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EINVAL)
"""What the system calls the errors of writing and flushing; the last two are those of reading as well, which a block
does before it writes, or names itself."""

_ENDINGS_LENGTH = 32


class DamagedFileError(ValueError):
    """A file whose content is not what was written."""


@contextmanager
def atomic_write(path: Path, access: Literal["shared", "private"] = "shared") -> Iterator[Path]:
    """A temporary path in the same folder; renamed to `path` if the block ends well, removed if it does not.

    access: "shared" files are as open as the user's umask makes them; "private" ones are the user's alone, as what
    holds decoded scans has to be. What was written survives a power cut.

    Raises OutputError where the file cannot be written. An OSError of the block that is of another file, or of none and
    not one of `WRITING`, as a decoder's, is the block's own and stays what it is.
    """
    endings = "".join(path.suffixes[-2:])[-_ENDINGS_LENGTH:]  # libraries tell .nii.gz from .gz
    temporary, made = path.parent / f"{OURS}{uuid.uuid4().hex}{endings}", False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The system applies the umask, which cannot be asked for without changing it for all threads.
        opened = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600 if access == "private" else 0o666)
        mode, made = stat.S_IMODE(os.fstat(opened).st_mode), True
        os.close(opened)
        yield temporary
        # A library may have put a file of its own in this place: safetensors does, and opens it to nobody else.
        if stat.S_IMODE(temporary.stat().st_mode) != mode:
            temporary.chmod(mode)
        _flush(temporary)
        os.replace(temporary, path)
        with suppress(OSError):  # some systems flush no folders; the file is in its place already
            _flush(path.parent)
    except OSError as error:
        # What is written through an open file has no name; nor has what a block reads so.
        own = error.errno in WRITING if error.filename is None else _is_of(error, (path, temporary, *path.parents))
        if not own:
            raise
        raise OutputError(f"{path}: cannot be written ({error.strerror or error}); name another --out") from error
    finally:
        if made:
            temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Removes what killed runs have left half-written in a folder and those in it, where nobody may be writing."""
    for path in folder.rglob(f"{OURS}*"):
        if path.is_file() and path.name != LOCK:
            path.unlink(missing_ok=True)


LOCK = f"{OURS}lock"


@contextmanager
def locked(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """While the block runs, no other process may enter one with this folder, which is made if it is not there.

    wait: until the other one has left its block. The system lets go of the lock of a process that was killed. Raises
    OutputError where another process has it, or where the folder cannot be written to.
    """
    from filelock import FileLock, Timeout

    lock, made = FileLock(folder / LOCK, timeout=-1 if wait else 0), not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise OutputError(f"{folder}: another run is writing here; wait for its end, or name another --out") from error
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror or error}); name another --out") from error
    try:
        yield
    finally:
        (folder / LOCK).unlink(missing_ok=True)  # while it is held: who waits for it looks whether it is still there
        lock.release()
        if made and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text. What is no text, as in words of a command line in another encoding, is escaped."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: Any) -> None:
    """Writes JSON with sorted keys, so that equal values give equal bytes. Raises ValueError for NaN."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def write_checked_json(path: Path, value: dict[str, Any]) -> None:
    """The same with a digest of the content beside it, by which `read_checked_json` tells damage."""
    plain = json.loads(json.dumps(value))
    plain.pop(CHECKSUM, None)
    write_json(path, plain | {CHECKSUM: _json_digest(plain)})


def read_checked_json(path: Path) -> dict[str, Any]:
    """What `write_checked_json` wrote, without the digest; files without one, of earlier versions, are read as they
    are.

    Raises OSError where there is no such file, DamagedFileError, a ValueError, for anything that is not what was
    written.
    """
    refuse_special(path)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise DamagedFileError("it is nested too deeply") from error
    except ValueError as error:  # no UTF-8, or no JSON
        raise DamagedFileError(f"it is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise DamagedFileError("expected an object")
    return as_written(value)


def as_written(value: dict[str, Any]) -> dict[str, Any]:
    """An object that `write_checked_json` wrote, without its digest; one without a digest as it is. Raises
    DamagedFileError where it is another."""
    plain = {name: one for name, one in value.items() if name != CHECKSUM}
    if CHECKSUM in value and value[CHECKSUM] != _json_digest(plain):
        raise DamagedFileError(f"its content was changed after it was written, or damaged: its {CHECKSUM} differs")
    return plain


def plain_numbers(values: NDArray[np.float64]) -> Any:
    """Nested lists for JSON; what is not a number is None, which `np.asarray(…, dtype=np.float64)` turns back."""
    plain = values.astype(object)
    plain[~np.isfinite(values)] = None
    return plain.tolist()


def _json_digest(value: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _is_of(error: OSError, paths: Sequence[Path]) -> bool:
    return not isinstance(error.filename, int) and Path(os.fsdecode(error.filename)) in paths


def _flush(path: Path) -> None:
    """Waits until the system has the file, or the names in a folder, on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def refuse_special(path: Path) -> None:
    """Raises OSError for what is there and no regular file, as a pipe or a device: reading it might never end."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "is no regular file", str(path))


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises UnreadableError."""
    try:
        refuse_special(path)
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UnreadableError(f"{path}: not a readable JSON file ({error})") from error
    if not isinstance(content, dict):
        raise UnreadableError(f"{path}: expected a JSON object, found {type(content).__name__}")
    return content
