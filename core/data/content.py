"""What is in a file, as a digest: two rows with the same digest hold the same example, whatever they are called."""

from __future__ import annotations

import hashlib
import math
import os
import zipfile
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import psutil
from numpy.typing import NDArray

from graftwork.core.data.decoding import decoding
from graftwork.core.errors import UnreadableError

ROW_MARK = ".npz#"
"""Separates a MedMNIST archive from the row in it: `file.npz#train/17` is row 17 of `train_images`."""

SPAN_MARK = "#t="
"""Separates a recording from seconds of it: `talk.wav#t=12,22`, as W3C's media fragments have it."""

SERIES_MARK = "#series="
"""Separates a folder of DICOM files from the SeriesInstanceUID of one volume in it."""

MASK_MARK = "#mask="
"""Separates an image from the file of its mask: an example of what is to be drawn is named by both."""

CHANNEL_MARK = "|"
"""Separates files that are the channels of one example: `t1.nii.gz|t2.nii.gz`."""

_BLOCK_BYTES = 1 << 20


def split_row_path(path: str) -> tuple[str, str, int] | None:
    """`("file.npz", "train", 17)` for `file.npz#train/17`, None for the path of an ordinary file.

    Raises UnreadableError where the part behind the mark is not `part/row`.
    """
    archive, mark, row = path.rpartition(ROW_MARK)
    if not mark:
        return None
    part, _, number = row.partition("/")
    if not number.isdigit():
        raise UnreadableError(f"{path}: expected a row such as {archive}.npz#train/17")
    return f"{archive}.npz", part, int(number)


def split_span(path: str) -> tuple[str, float, float] | None:
    """`("talk.wav", 12.0, 22.0)` for `talk.wav#t=12,22`, None for the path of a whole file."""
    recording, mark, span = path.rpartition(SPAN_MARK)
    if not mark:
        return None
    start, _, end = span.partition(",")
    try:
        return recording, float(start), float(end)
    except ValueError:
        return None


def split_series(path: str) -> tuple[str, str | None]:
    """`("folder", "1.2.3")` for `folder#series=1.2.3`, `(path, None)` for anything else."""
    folder, mark, uid = path.rpartition(SERIES_MARK)
    return (folder, uid) if mark else (path, None)


def image_of(path: str) -> str:
    """The image of an example that is named together with its mask; the path itself for any other."""
    return path.partition(MASK_MARK)[0]


def mask_of(path: str) -> str | None:
    """The file of the mask that an example is named together with, None where there is none."""
    return path.partition(MASK_MARK)[2] or None


def channel_files(path: str) -> list[str]:
    """`["t1.nii.gz", "t2.nii.gz"]` for `t1.nii.gz|t2.nii.gz`, `[path]` for anything else."""
    return (
        [path]
        if CHANNEL_MARK not in path or os.path.exists(path)
        else [part.strip() for part in path.split(CHANNEL_MARK)]
    )


def absolute_path(path: str, folder: str | os.PathLike[str] = "") -> str:
    """The absolute path of an example that is named as seen from a folder, by default the current one."""
    files = [os.path.abspath(os.path.join(folder, os.path.expanduser(file))) for file in channel_files(path)]
    return CHANNEL_MARK.join(files)


def recording_of(path: str) -> str:
    """The file that a window was cut from; the path itself for a whole file."""
    span = split_span(path)
    return path if span is None else span[0]


def content_digests(paths: Sequence[str]) -> list[str]:
    """SHA-256 of every file's bytes, or of the row's bytes for rows of an archive, in the order given; for windows of a
    recording, of its digest and the window's place; for folders, of what is in their files, whatever these are called;
    for images with masks, of both; for several files, of theirs in this order.

    Raises UnreadableError for the first file that cannot be read.
    """
    archives: dict[tuple[str, str], NDArray[np.generic]] = {}
    digests = []
    for path in paths:
        mask = mask_of(path)
        if mask is not None:
            both = " ".join(content_digests([image_of(path), mask]))
            digests.append(hashlib.sha256(both.encode()).hexdigest())
            continue
        files = channel_files(path)
        if len(files) > 1:
            digests.append(hashlib.sha256(" ".join(content_digests(files)).encode()).hexdigest())
            continue
        row, span = split_row_path(path), split_span(path)
        if span is not None:
            whole = f"{_digest_of_file(span[0])} {span[1]:.3f} {span[2]:.3f}"
            digests.append(hashlib.sha256(whole.encode()).hexdigest())
            continue
        if row is None:
            folder, series = split_series(path)
            digests.append(_digest_of_folder(folder, series) if os.path.isdir(folder) else _digest_of_file(path))
            continue
        archive, part, number = row
        if (archive, part) not in archives:
            archives[archive, part] = _images(archive, part)
        images = archives[archive, part]
        if number >= len(images):
            raise UnreadableError(f"{path}: the archive has {len(images)} rows in {part}_images")
        digests.append(hashlib.sha256(np.ascontiguousarray(images[number]).tobytes()).hexdigest())
    return digests


def example_exists(path: str) -> bool:
    """Whether the file, for a row of an archive its archive, for a series its folder, or all of several, is there."""
    files = channel_files(path)
    if len(files) > 1:
        return all(example_exists(file) for file in files)
    row = split_row_path(path)
    if row is None and os.path.isdir(split_series(path)[0]):
        return True
    return os.path.isfile(recording_of(path) if row is None else row[0])


def _digest_of_folder(folder: str, series: str | None) -> str:
    files = sorted(_digest_of_file(entry.path) for entry in os.scandir(folder) if entry.is_file())
    return hashlib.sha256(" ".join([*files, series or ""]).encode()).hexdigest()


def _digest_of_file(path: str) -> str:
    try:
        state = os.stat(path)
        return _digest_of_state(path, state.st_mtime_ns, state.st_size)
    except OSError as error:
        raise UnreadableError(f"{path}: cannot be read ({error.strerror or error})") from error


@lru_cache(maxsize=1 << 18)
def _digest_of_state(path: str, mtime_ns: int, size: int) -> str:
    """Remembered for as long as the file has this time and size: folds ask for the same files again and again."""
    total = hashlib.sha256()
    with open(path, "rb") as file:
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
    needed, free = math.prod(shape) * dtype.itemsize, psutil.virtual_memory().available
    if needed > free:
        raise UnreadableError(f"{archive}: {name} claims {needed / 1e9:.0f} GB, and {free / 1e9:.0f} GB of memory are "
                              "free: is it damaged?")  # fmt: skip


def _images(archive: str, part: str) -> NDArray[np.generic]:
    with decoding(archive, f"cannot read {part}_images"):
        check_array(archive, f"{part}_images")
        with np.load(archive, allow_pickle=False) as arrays:
            images: NDArray[np.generic] = arrays[f"{part}_images"]
    return images
