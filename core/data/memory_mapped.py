"""Tensors that lie in files and are mapped into memory: nothing is read before a value is looked at.

What lies where in which file is the caller's knowledge; `tensor_store` has a format for it.
"""

from __future__ import annotations

import math
import mmap
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

RESIDENT_BYTES = 128 * 2**20
"""After so many bytes have been handed out, the pages read so far are given back to the system."""

# Touching one page brings its neighbours that are in the page cache: Linux maps up to 64 KiB around it.
_AROUND_BYTES = 2**16


@dataclass(frozen=True)
class TensorLocation:
    """Where a tensor lies. offset: bytes from the start of the file. checksum: CRC-32 of its bytes."""

    file: Path
    offset: int
    shape: tuple[int, ...]
    checksum: int

    def end(self, dtype: torch.dtype) -> int:
        """The size that the file must have to hold all values."""
        count = math.prod(self.shape)
        return self.offset + count * dtype.itemsize if count else 0


@dataclass
class _Maps:
    """The maps of all files, and how many bytes were handed out since their pages were last given back."""

    by_file: dict[Path, mmap.mmap]
    handed_out: int = 0

    def count(self, size: int) -> None:
        """Gives the pages back once enough was handed out: they were never changed, so they are simply read again.

        There is no lock: a count that two threads overwrite only makes it later.
        """
        self.handed_out += size + _AROUND_BYTES
        if self.handed_out > RESIDENT_BYTES and hasattr(mmap, "MADV_DONTNEED"):
            self.handed_out = size + _AROUND_BYTES
            for mapped in self.by_file.values():
                mapped.madvise(mmap.MADV_DONTNEED)


class MappedTensors(Sequence[Tensor]):
    """Tensors of one dtype in files. Reading is safe from several threads and in forked processes; where it is pickled,
    as for a process that is started afresh, the places travel and the files are mapped anew.

    The tensors are views of the maps: whoever changes one in place changes no file, and loses the change
    when pages are given back. They stay valid after this object is gone and after the file is unlinked.
    """

    def __init__(self, places: Sequence[TensorLocation], dtype: torch.dtype, maps: _Maps | None = None) -> None:
        """Maps the files, unless `maps` has them. Raises OSError where one cannot be opened or mapped."""
        if maps is None:
            # An empty file cannot be mapped, and tensors without elements need no file.
            files = dict.fromkeys(place.file for place in places if math.prod(place.shape))
            maps = _Maps({file: _map(file) for file in files})
        self._maps = maps
        self._places = tuple(places)
        self._dtype = dtype

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> MappedTensors: ...
    def __getitem__(self, index: int | slice) -> Tensor | MappedTensors:
        """The tensor in the dtype and shape it was stored in; for a slice, as `take`."""
        if isinstance(index, slice):
            return self.take(range(len(self))[index])
        place = self._places[operator.index(index)]
        count = math.prod(place.shape)
        if not count:
            return torch.empty(place.shape, dtype=self._dtype)
        self._maps.count(count * self._dtype.itemsize)
        mapped = self._maps.by_file[place.file]
        return torch.frombuffer(mapped, dtype=self._dtype, count=count, offset=place.offset).reshape(place.shape)

    def __reduce__(self) -> tuple[type[MappedTensors], tuple[tuple[TensorLocation, ...], torch.dtype]]:
        return MappedTensors, (self._places, self._dtype)

    def take(self, index: Sequence[int] | NDArray[np.generic]) -> MappedTensors:
        """The tensors at `index`, in its order, from the same maps."""
        places = [self._places[i] for i in np.asarray(index, dtype=np.int64)]
        return MappedTensors(places, self._dtype, self._maps)


def _map(file: Path) -> mmap.mmap:
    # torch wants memory that may be written to; a private copy is one, and the file stays as it is.
    with file.open("rb") as opened:
        return mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_COPY)
