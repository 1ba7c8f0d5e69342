"""Named tensors on disk: the format of a store, and its writer and reader. What the tensors mean is not known here.

A store is a folder. Every writer appends raw values to data files of its own, `<uuid>.bin`, and lists what is
whole in `<uuid>.json`; so any number of processes write at the same time without locks, and readers see all of it.
An index is the only authority: bytes that none lists do not exist.
"""

from __future__ import annotations

import json
import logging
import os
import time
import uuid
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, get_args

import torch
from torch import Tensor

from graftwork.core.activation_cache.store_damage import remove_damaged
from graftwork.core.activation_cache.tensor_index import (
    PREFIX,
    RECORD,
    SCHEMA,
    are_ragged,
    places_of,
    remove_abandoned,
    unwritable,
    write_index,
)
from graftwork.core.data.memory_mapped import MappedTensors
from graftwork.core.errors import OutputError, SettingsError
from graftwork.core.recipe import StoreType
from graftwork.core.versions import advice_on_schema

log = logging.getLogger(__name__)

PUBLISH_SECONDS = 30.0
"""How long a writer may keep what it added to itself: at most this much work is lost when it is killed."""

FILE_BYTES = 2 * 2**30
"""Where a writer goes on in a new data file: Linux refuses to map a file that is larger than the machine's memory."""

_ELSEWHERE = "delete it or name another --cache"
_ALIGNMENT = 64
_WIDER = {"float16": "use --cache-dtype bfloat16 or float32", "bfloat16": "use --cache-dtype float32"}


@dataclass(frozen=True)
class Store:
    """One folder of tensors of one dtype.

    ragged: as its writers said (`Writer.ragged`), or, if none did, whether the shapes differ; None while it is empty.
    It is what held when the store was opened.
    """

    folder: Path
    dtype: StoreType
    ragged: bool | None

    @property
    def torch_dtype(self) -> torch.dtype:
        return _torch_dtype(self.dtype)


def open_store(cache: Path, key: str, about: dict[str, Any], dtype: StoreType) -> Store:
    """The store of this key, made if it is not there; its time of last use is now.

    about: what the store holds, in words and numbers for people; it is not compared.
    Raises OutputError if the folder cannot be written, or holds another format or dtype.
    """
    if dtype not in get_args(StoreType):
        raise SettingsError(f"--cache-dtype {dtype!r}: expected one of {', '.join(get_args(StoreType))}")
    folder = cache / key
    record: Any = {"schema": SCHEMA, "about": about, "dtype": dtype}
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if (folder / RECORD).exists():
            record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except OSError as error:
        raise unwritable(folder, error) from error
    except ValueError:
        record = None
    found = record.get("schema") if isinstance(record, dict) else None
    if found != SCHEMA:
        raise OutputError(f"{folder}: expected a store of schema {SCHEMA}, found {found!r}; {_advice(found)}")
    if record.get("dtype") != dtype:
        raise OutputError(f"{folder}: holds {record.get('dtype')}, not {dtype}; {_ELSEWHERE}")
    # Written anew each time: this sets its time, and tells a folder or a disk that takes no more at once.
    write_index(folder, folder / RECORD, record)
    try:
        remove_abandoned(folder)
    except OSError as error:
        raise unwritable(folder, error) from error
    return Store(folder, dtype, are_ragged(folder, _torch_dtype(dtype)))


def _advice(schema: Any) -> str:
    """What to do about a store of this schema."""
    found, known = (int(number) if (number := str(one).removeprefix(PREFIX)).isdecimal() else 0
                    for one in (schema, SCHEMA))  # fmt: skip
    return advice_on_schema(found, known, _ELSEWHERE) + (f", or {_ELSEWHERE}" if found > known else "")


def last_use(folder: Path) -> float | None:
    """When a store was last opened or written, in seconds since the epoch; None for a folder that is no store."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        used = (folder / RECORD).stat().st_mtime
    except (OSError, ValueError):
        return None
    # Older and newer formats are stores too; a store.json of another program is not.
    ours = isinstance(record, dict) and str(record.get("schema")).startswith(PREFIX)
    return used if ours else None


def names(store: Store) -> frozenset[str]:
    """Names of the entries that are whole."""
    return frozenset(places_of(store.folder, store.torch_dtype))


def sound_names(store: Store, wanted: Iterable[str]) -> frozenset[str]:
    """Names of the entries that are whole, after those files were removed in which a wanted one is damaged."""
    remove_damaged(store.folder, store.torch_dtype, wanted)
    return names(store)


def read(store: Store, wanted: Sequence[str]) -> MappedTensors:
    """The entries of these names in this order; no data is read yet.

    They are taken as they are: `sound_names` is for whoever has not written them. Raises KeyError for a name that is
    not there, OutputError if the files cannot be mapped.
    """
    places = places_of(store.folder, store.torch_dtype)
    try:
        return MappedTensors([places[name] for name in wanted], store.torch_dtype)
    except OSError as error:
        raise OutputError(f"{store.folder}: cannot be read ({error.strerror or error}); {_ELSEWHERE}") from error


def writer(store: Store) -> Writer:
    """A context in which entries are added to the store."""
    return Writer(store)


class Writer:
    """Adds entries. They can be read from the next publication on, at the latest when the block ends.

    ragged: set by whoever knows whether the first axes of the entries are lengths of their own, even if they
    happen to be equal. Kept with the entries; None for not known.
    """

    def __init__(self, store: Store) -> None:
        self.ragged: bool | None = None
        self._store = store
        self._file: BinaryIO | None = None
        self._path = store.folder
        self._end = 0
        self._entries: dict[str, tuple[int, list[int], int]] = {}
        self._published = (0, 0)  # how many entries, and up to which byte
        self._published_at = time.monotonic()

    def __enter__(self) -> Writer:
        return self

    def add(self, name: str, tensor: Tensor) -> None:
        """Appends one entry of any shape, its values converted to the store's dtype.

        Raises OutputError if a finite value is too large for the dtype, or if the data cannot be written. In the
        second case everything that was not published is lost, and a later `add` begins a new file.
        """
        values = _narrowed(name, tensor, self._store)
        try:
            file = self._file or self._begin()
            start = -(-self._end // _ALIGNMENT) * _ALIGNMENT
            file.seek(start)
            rest = values.reshape(-1).view(torch.uint8).numpy().data
            self._end, checksum = start + len(rest), zlib.crc32(rest)
            while rest:
                rest = rest[os.write(file.fileno(), rest) :]
        except OSError as error:
            self._abandon()
            raise unwritable(self._store.folder, error) from error
        self._entries[name] = (start, list(values.shape), checksum)
        if self._end >= FILE_BYTES:
            self._finish()
        elif time.monotonic() - self._published_at >= PUBLISH_SECONDS:
            self._publish()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._finish()
        except OutputError as failure:
            if error is None:
                raise
            log.warning("%s", failure)  # the block's own error is the one to see

    def _begin(self) -> BinaryIO:
        self._path = self._store.folder / f"{uuid.uuid4().hex}.bin"
        # Decoded scans lie here: they are their owner's alone.
        handle = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        self._file = open(handle, "wb", buffering=0)  # noqa: SIM115  # closed by _finish or _abandon
        return self._file

    def _finish(self) -> None:
        if self._file is not None:
            self._publish()
            self._file.close()
        self._forget()

    def _forget(self) -> None:
        self._file, self._end, self._entries, self._published = None, 0, {}, (0, 0)

    def _publish(self) -> None:
        self._published_at = time.monotonic()
        if self._file is None or (len(self._entries), self._end) == self._published:
            return
        index = {"schema": SCHEMA, "ragged": self.ragged, "entries": self._entries}
        try:
            os.fsync(self._file.fileno())
            # Also fails where the whole store was removed meanwhile: an index alone would bring a ruin back.
            os.utime(self._store.folder / RECORD)
            write_index(self._store.folder, self._path.with_suffix(".json"), index)
        except OSError as error:
            self._abandon()
            raise unwritable(self._store.folder, error) from error
        except OutputError:
            self._abandon()
            raise
        self._published = (len(self._entries), self._end)

    def _abandon(self) -> None:
        """Gives back the space of what was not published; what was stays."""
        if self._file is None:
            return
        entries, end = self._published
        try:
            self._file.truncate(end)
            self._file.close()
            if not entries:
                self._path.unlink()
        except OSError as error:  # no index lists the bytes, so they do no harm but to take space
            log.warning("%s: cannot be shortened (%s)", self._path, error)
        self._forget()


def _torch_dtype(name: StoreType) -> torch.dtype:
    return {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}[name]


def _narrowed(name: str, tensor: Tensor, store: Store) -> Tensor:
    """The values in the store's dtype, on the CPU. NaN and infinities stay what they are."""
    values = tensor.detach()
    narrow = values.to(store.torch_dtype)
    lost = torch.isfinite(values) & ~torch.isfinite(narrow)
    if lost.any():
        largest = values[lost].abs().max().item()
        advice = _WIDER.get(store.dtype, "run without --cache")
        raise OutputError(f"{store.folder}: {name}: {largest:g} is too large for {store.dtype}; {advice}")
    return narrow.cpu()
