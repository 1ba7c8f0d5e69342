"""What is in an example, as a digest: two rows with the same digest hold the same, whatever they are called."""

from __future__ import annotations

import hashlib
import math
import os
import zipfile
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from graftwork.core.compute.host_memory import available_bytes
from graftwork.core.data.companions import companions
from graftwork.core.data.decoding import decoding
from graftwork.core.errors import UnreadableError
from graftwork.core.example import ArchiveRow, Channels, Example, File, Series, Span, Text, WithMask

_BLOCK_BYTES = 1 << 20

REMEMBERED = 1 << 21
"""Digests that are kept in memory, of some 300 bytes each."""


def content_digests(examples: Sequence[Example]) -> list[str]:
    """SHA-256 of every file's bytes, or of the row's bytes for rows of an archive, in the order given; for windows of a
    recording, of its digest and the window's place; for folders, of what is in their files, whatever these are called;
    for images with masks, of both; for several files, of theirs in this order; for texts, of their UTF-8 bytes.

    Raises UnreadableError for the first file that cannot be read.
    """
    archives: dict[tuple[str, str], NDArray[np.generic]] = {}
    return [_digest(example, archives) for example in examples]


def _digest(example: Example, archives: dict[tuple[str, str], NDArray[np.generic]]) -> str:
    """archives: arrays that were read before, by their file and part."""
    match example:
        case File(path):
            return _digest_of_folder(path, None) if os.path.isdir(path) else _digest_of_file(path)
        case ArchiveRow(archive, part, row):
            if (archive, part) not in archives:
                archives[archive, part] = _images(archive, part)
            images = archives[archive, part]
            if row >= len(images):
                raise UnreadableError(f"{example}: the archive has {len(images)} rows in {part}_images")
            return hashlib.sha256(np.ascontiguousarray(images[row]).tobytes()).hexdigest()
        case Span(file, _, _):
            return _digest_of_texts(f"{_digest_of_file(file)} {example.start_s:.3f} {example.end_s:.3f}")
        case Series(folder, uid):
            return _digest_of_folder(folder, uid) if os.path.isdir(folder) else _digest_of_file(str(example))
        case Channels(parts):
            return _digest_of_texts(*(_digest(part, archives) for part in parts))
        case WithMask(image, mask):
            return _digest_of_texts(_digest(image, archives), _digest(mask, archives))
        case Text(text):
            return _digest_of_texts(text)


def _digest_of_texts(*texts: str) -> str:
    return hashlib.sha256(" ".join(texts).encode()).hexdigest()


def _digest_of_folder(folder: str, series: str | None) -> str:
    files = sorted(_digest_of_file(entry.path) for entry in os.scandir(folder) if entry.is_file())
    return _digest_of_texts(*files, series or "")


def _digest_of_file(path: str) -> str:
    """That of its bytes; of a header and its data, which lie in two files, of both."""
    try:
        digests = [_digest_of_state(_Opened(one, os.stat(one))) for one in (path, *companions(path))]
        return digests[0] if len(digests) == 1 else _digest_of_texts(*sorted(digests))
    except OSError as error:
        raise UnreadableError(f"{path}: cannot be read ({error.strerror or error})") from error


class _Opened:
    """A file as it is now, whatever it is called: links to one file are equal, and are read once."""

    __slots__ = ("path", "state")

    def __init__(self, path: str, found: os.stat_result) -> None:
        self.path = path
        # The time of the last change of any kind also tells a new file in the place of a removed one.
        self.state = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)

    def __hash__(self) -> int:
        return hash(self.state)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Opened) and self.state == other.state


@lru_cache(maxsize=REMEMBERED)
def _digest_of_state(file_now: _Opened) -> str:
    """Remembered for as long as the file stays as it is: folds ask for the same files again and again."""
    total = hashlib.sha256()
    with open(file_now.path, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            total.update(block)
    return total.hexdigest()


def check_array(archive: str, name: str) -> None:
    """Looks at what an array of an .npz claims before it is unpacked: a small file can unpack to any size.

    Raises UnreadableError where it does not fit in memory, and what zipfile and NumPy raise for damaged files. An array
    that is not there is no matter of this.
    """
    with zipfile.ZipFile(archive) as members:
        if f"{name}.npy" not in members.namelist():
            return
        with members.open(f"{name}.npy") as stream:
            version = np.lib.format.read_magic(stream)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(stream)
    needed, free = math.prod(shape) * dtype.itemsize, available_bytes()
    if needed > free:
        raise UnreadableError(f"{archive}: {name} claims {needed / 1e9:.0f} GB, and {free / 1e9:.0f} GB of memory are "
                              "free: is it damaged?")  # fmt: skip


def _images(archive: str, part: str) -> NDArray[np.generic]:
    with decoding(archive, f"cannot read {part}_images"):
        check_array(archive, f"{part}_images")
        with np.load(archive, allow_pickle=False) as arrays:
            images: NDArray[np.generic] = arrays[f"{part}_images"]
    return images
