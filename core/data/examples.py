"""The examples of a manifest as tensors: read once, kept in memory where they fit, read again where they do not."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Literal, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from graftwork.core.compute.cores import cores_here, processes_here
from graftwork.core.compute.host_memory import available_bytes
from graftwork.core.compute.overlap import made_ahead, page_locked
from graftwork.core.compute.preemption import ignore_requests
from graftwork.core.data.manifest import Manifest
from graftwork.core.data.memory_mapped import MappedTensors
from graftwork.core.data.reading_threads import each, reading_threads
from graftwork.core.errors import (
    ContractError,
    GraftworkError,
    MissingPackageError,
    TrainingError,
    UnreadableError,
)
from graftwork.core.example import Example
from graftwork.core.progress import progress
from graftwork.core.tasks.transcripts import frames_needed
from graftwork.core.types import Augment, Features, InputContract

log = logging.getLogger(__name__)

MEMORY_SHARE = 0.25
"""Share of the free memory that examples may fill."""

EXAMPLE_ERRORS = (UnreadableError, ContractError, MissingPackageError)
"""What reading one example may raise that says nothing about the others: a decoder may be missing for this file."""

READ_AHEAD_BYTES = 2**28
"""So much may be read ahead, as tensors, by the largest so far; at least `FEWEST_AHEAD` examples a thread are."""

FEWEST_AHEAD = 4

_READ_AHEAD = 64
_HANDING_OVER_SECONDS = 1e-3
"""A file that is read sooner than this, as a row of an .npz, is read sooner than a thread has taken it up."""


@dataclass(frozen=True)
class Unreadable:
    """An example that was left out, and why. row: its number in the manifest's table, None where there is none."""

    path: str
    reason: str
    row: int | None = None

    def __str__(self) -> str:
        return self.reason if self.row is None else f"row {self.row}: {self.reason}"


@dataclass(frozen=True, eq=False)
class Examples:
    """A manifest with its tensors.

    tensors: one a row as the contract's `read` gave it, or None where they did not fit in memory.
    left_out: rows of the source that could not be read and are not in the manifest any more.
    stage: how many stages of a backbone the tensors have been through; 0 for what was read from files.
    views: how many tensors every row has, side by side: changed copies of which each epoch draws one.
    seconds: duration of every row; None where examples have none, or all the same.
    """

    manifest: Manifest
    contract: InputContract
    tensors: Sequence[Tensor] | None
    left_out: tuple[Unreadable, ...] = ()
    stage: int = 0
    views: int = 1
    seconds: tuple[float, ...] | None = None

    def __len__(self) -> int:
        return len(self.manifest)

    def subset(self, index: Sequence[int] | NDArray[np.generic]) -> Examples:
        """The rows at `index`, sharing their tensors."""
        chosen = np.asarray(index, dtype=np.int64)
        places = (chosen[:, None] * self.views + np.arange(self.views)).ravel()
        if isinstance(self.tensors, MappedTensors):
            tensors: Sequence[Tensor] | None = self.tensors.take(places)
        else:
            tensors = None if self.tensors is None else tuple(self.tensors[int(i)] for i in places)
        seconds = None if self.seconds is None else tuple(self.seconds[int(i)] for i in chosen)
        return replace(self, manifest=self.manifest.subset(chosen), tensors=tensors, seconds=seconds)

    def tensor(self, row: int, view: int = 0) -> Tensor:
        if self.tensors is None:
            return self.contract.read(self.manifest.examples[row])
        return self.tensors[row * self.views + view]


def read_examples(
    manifest: Manifest,
    contract: InputContract,
    *,
    unreadable: Literal["stop", "skip"] = "stop",
    memory_limit_bytes: int | None = None,
    frames: Callable[[Tensor], int] | None = None,
) -> Examples:
    """Reads every example once, so that everything wrong with them is known before anything is trained.

    unreadable: "stop" raises UnreadableError that lists all examples that cannot be read, or do not fit
    the contract; "skip" leaves them out and lists them in the result.
    memory_limit_bytes: most that may be kept, by default this process' share of a quarter of the free memory.
    frames: how many a backbone gives of an example, where text is to be learnt by it: an example that has too few for
    its transcript cannot be used either.
    """
    share = available_bytes() * MEMORY_SHARE / processes_here()
    limit = share if memory_limit_bytes is None else memory_limit_bytes
    kept: list[Tensor] = []
    good: list[int] = []
    failures: list[Unreadable] = []
    durations: list[float | None] = []
    used = 0
    needed = None if frames is None or manifest.task.output != "frames" else frames_needed(manifest.values)
    for row, (example, result) in enumerate(read_many(contract, manifest.examples, "reading")):
        if needed is not None and frames is not None and not isinstance(result, Exception):
            found = frames(result)
            if found < needed[row]:
                result = ContractError(f"{example}: the transcript is too long for the clip: its characters need "
                                       f"{needed[row]} frames, the clip has {found}; check both")  # fmt: skip
        if isinstance(result, Exception):
            place = manifest.rows[row] if manifest.rows and not os.path.isdir(manifest.source) else None
            failures.append(Unreadable(str(example), str(result), place))
            continue
        good.append(row)
        durations.append(contract.seconds(result))
        used += result.numel() * result.element_size()
        if used <= limit:
            kept.append(result)
        else:
            kept.clear()
    if failures and unreadable == "stop":
        raise UnreadableError(unreadable_report(failures))
    if not good:
        raise TrainingError(f"{manifest.source}: none of the {len(manifest)} examples can be used")
    if used > limit:
        log.info(
            "examples need %.0f MB, more than the %.0f MB allowed: files are read anew each time",
            used / 1e6,
            limit / 1e6,
        )
    for failure in failures:
        log.warning("left out: %s", failure)
    return Examples(
        manifest.subset(good) if failures else manifest,
        contract,
        None if used > limit else tuple(kept),
        tuple(failures),
        seconds=unequal(durations),
    )


def unequal(durations: Sequence[float | None]) -> tuple[float, ...] | None:
    """The durations (seconds) if all are known and not all the same."""
    known = tuple(duration for duration in durations if duration is not None)
    return known if len(known) == len(durations) and len(set(known)) > 1 else None


def read_many(
    contract: InputContract, examples: Sequence[Example], description: str
) -> Iterator[tuple[Example, Tensor | GraftworkError]]:
    """Every example with its tensor, or with the error that it raised, in order; reads some files ahead.

    Of every block the first file says whether the others are worth handing to threads.
    """
    known: set[object] = set()

    def read(example: Example) -> Tensor | GraftworkError:
        try:
            return contract.read(example)
        except EXAMPLE_ERRORS as error:
            return error

    with progress(description, len(examples)) as advance, reading_threads() as pool:
        start, largest = 0, 0
        while start < len(examples):
            # Of the first block nobody knows yet how large its examples are.
            fewest = FEWEST_AHEAD * cores_here()
            count = max(READ_AHEAD_BYTES // largest, fewest) if largest else fewest
            block = examples[start : start + min(count, _READ_AHEAD)]
            start += len(block)
            began = time.perf_counter()
            first = read(block[0])
            spread = map if time.perf_counter() - began < _HANDING_OVER_SECONDS else pool.map
            results = chain([first], each(read, block[1:], spread, known))
            for example, result in zip(block, results, strict=True):
                advance(1, "")
                largest = max(largest, result.nbytes if isinstance(result, Tensor) else 1)
                yield example, result


def unreadable_report(failures: Sequence[Unreadable]) -> str:
    """One message for everything that cannot be read."""
    shown = [f"  {failure}" for failure in failures[:50]]
    more = [f"  … and {len(failures) - 50} more"] if len(failures) > 50 else []
    count = f"{len(failures)} example{'s' if len(failures) != 1 else ''} cannot be used"
    return "\n".join([f"{count} (--skip-unreadable leaves them out):", *shown, *more])


@dataclass(frozen=True)
class RowAugment:
    """A random change with the seeds of every row's generator."""

    augment: Augment
    seeds: tuple[tuple[int, ...], ...]

    def __call__(self, tensor: Tensor, row: int) -> Tensor:
        return self.augment(tensor, np.random.default_rng(self.seeds[row]))


class _Joined(Sequence[Tensor]):
    """Tensors that are sent to another process together, in one piece of shared memory for each dtype: apart, each of
    them would take one of the few files that a process may have open."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        parts: dict[torch.dtype, list[Tensor]] = {}
        ends: dict[torch.dtype, int] = {}
        self.places: list[tuple[torch.dtype, int, torch.Size]] = []
        for tensor in tensors:
            parts.setdefault(tensor.dtype, []).append(tensor.reshape(-1))
            start = ends.get(tensor.dtype, 0)
            ends[tensor.dtype] = start + tensor.numel()
            self.places.append((tensor.dtype, start, tensor.shape))
        self.whole = {dtype: torch.cat(own) for dtype, own in parts.items()}

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> list[Tensor]: ...
    def __getitem__(self, index: int | slice) -> Tensor | list[Tensor]:
        if isinstance(index, slice):
            return [self[place] for place in range(len(self))[index]]
        dtype, start, shape = self.places[index]
        return self.whole[dtype][start : start + shape.numel()].view(shape)


class _Rows(Dataset[Tensor]):
    """What torch's DataLoader sees."""

    def __init__(self, examples: Examples, augment: RowAugment | None, seed: int, epoch: int) -> None:
        self.examples = examples
        self.augment = augment
        self.seed = seed
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.examples)

    def __getstate__(self) -> dict[str, Any]:
        """What is sent to a worker that is started afresh, as Windows, macOS and Python 3.14 do it."""
        if isinstance(self.examples.tensors, tuple):  # joined once for all workers
            self.examples = replace(self.examples, tensors=_Joined(self.examples.tensors))
        return self.__dict__

    def __getitem__(self, row: int) -> Tensor:
        views = self.examples.views
        # Which view an epoch sees depends on (seed, epoch, row) alone.
        view = int(np.random.default_rng((self.seed, self.epoch, row)).integers(views)) if views > 1 else 0
        tensor = self.examples.tensor(row, view)
        return tensor if self.augment is None else self.augment(tensor, row)


def epoch_augment(augment: Augment | None, rows: int, seed: int, epoch: int) -> RowAugment | None:
    """A random change whose generators depend on (seed, epoch, row) alone."""
    return None if augment is None else RowAugment(augment, tuple((seed, epoch, row) for row in range(rows)))


def load_batches(
    examples: Examples,
    batches: Sequence[Sequence[int] | NDArray[np.int64]],
    *,
    augment: RowAugment | None = None,
    seed: int = 0,
    epoch: int = 0,
    workers: int = 0,
    pin: bool = False,
) -> Iterator[Features]:
    """The batches of row numbers as features, in order; of several views, the one that (seed, epoch, row) draws.

    Worker processes are used only where there is something to do besides stacking tensors in memory. pin: in
    page-locked memory; batches are then made ahead, by threads where there are no workers.
    """
    idle = examples.tensors is not None and augment is None
    workers = 0 if idle or len(batches) < 2 else workers
    collate: Callable[[Sequence[Tensor]], Features] = examples.contract.collate
    rows = _Rows(examples, augment, seed, epoch)
    if pin and not workers:

        def make(batch: Sequence[int] | NDArray[np.int64]) -> Features:
            with page_locked():
                return collate([rows[int(row)] for row in batch]).pin_memory()

        # One thread alone calls what changes examples, which need not be made for several.
        yield from made_ahead(make, batches, threads=4 if idle else 1)
        return
    if workers and augment is not None:
        rows[0]  # what a change imports, as MONAI, is imported here once, not by every worker of every epoch
    loader: DataLoader[Tensor] = DataLoader(
        rows,
        batch_sampler=[[int(row) for row in batch] for batch in batches],
        collate_fn=collate,
        num_workers=workers,
        pin_memory=pin,
        worker_init_fn=_begin_worker,
    )
    yield from loader


def _begin_worker(_: int) -> None:
    """One thread; and a request to end, which clusters send to all processes, is for the one that learns: it ends its
    workers when it has kept where it stands."""
    torch.set_num_threads(1)
    ignore_requests()
