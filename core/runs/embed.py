"""Features of any number of files, in shards: computed once, without targets, in bounded memory."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from graftwork.core.activation_cache.frozen_pass import Pass, outputs
from graftwork.core.compute.allocator import give_back_freed_memory
from graftwork.core.compute.global_state import undisturbed
from graftwork.core.compute.runtime import Runtime, start_runtime
from graftwork.core.data.content import content_digests
from graftwork.core.data.examples import Examples, Unreadable, read_many, unequal, unreadable_report
from graftwork.core.data.manifest import Manifest
from graftwork.core.errors import SettingsError, UnreadableError
from graftwork.core.example import Example, File, Text
from graftwork.core.inference.inputs import Inputs, find_inputs
from graftwork.core.inference.vector_shards import (
    Shard,
    begin_shards,
    digests_of,
    known_paths,
    shard_number,
    write_shard,
)
from graftwork.core.model.backbone import FRAMES, MAPS, Backbone
from graftwork.core.model.stage_outputs import with_every_stage
from graftwork.core.recipe import Recipe
from graftwork.core.tasks import REGRESSION

log = logging.getLogger(__name__)

SHARD_ROWS = 10_000
TOGETHER_BYTES, TOGETHER_ROWS = 1 << 28, 1024
"""Examples are in memory together up to so many bytes and rows."""


@dataclass(frozen=True)
class Embedded:
    """rows: that have got a vector now. known: that had one before. unreadable: files that could not be read, in all
    processes' view their own. width: of a vector; 0 where nothing was computed. seconds: in all."""

    rows: int
    known: int
    unreadable: tuple[Unreadable, ...]
    width: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def __str__(self) -> str:
        rate = "" if not self.rows else f", {self.rows / max(self.seconds, 1e-9):.0f} files a second"
        left_out = f"; {len(self.unreadable)} could not be read" if self.unreadable else ""
        return f"{self.rows} files in {self.seconds:.1f} s{rate}; {self.known} had a vector before{left_out}"


@undisturbed()
def embed(
    backbone: Backbone, inputs: Inputs, out: str | Path, *, stage: str | None = None, recipe: Recipe | None = None,
    shard_rows: int = SHARD_ROWS, skip_unreadable: bool = False, root: str | None = None,
    path_column: str | None = None,
) -> Embedded:  # fmt: skip
    """Writes what a stage gives for every input, pooled over space or time, into shards in the folder `out`.

    inputs: as `predict` takes them. stage: by default the last. recipe: device, batch size and precision count.
    shard_rows: files of a shard; what is lost when a run is ended. Files that have a vector in `out` already are passed
    over, so that the same call goes on, and one with more inputs adds to what is there; of those that have changed
    since, that is said. Several processes (torchrun)
    share the work, each writing shards of its own. Recordings that the contract cuts have the mean of their windows.
    skip_unreadable: files that cannot be read are left out, and named in the result.

    Raises SettingsError for a stage that there is not, OutputError for a folder with something else, UnreadableError
    that lists all files that cannot be read, behind the others, unless they are skipped.
    """
    started, recipe, place = time.monotonic(), recipe or Recipe(), Path(out)
    if shard_rows < 1:
        raise SettingsError(f"--shard-rows: expected at least 1, found {shard_rows}")
    names = [own.name for own in backbone.stages]
    stage = names[-1] if stage is None else stage
    if stage not in names:
        raise SettingsError(f"--stage: expected one of {', '.join(names)}, found {stage!r}")
    if names[-1] == MAPS:
        raise SettingsError("a backbone for masks gives maps; embed with one for labels, without --mask-values")
    examples = find_inputs(inputs, backbone.domain, root=root, path_column=path_column)
    if not examples:
        raise SettingsError("nothing to embed: name files, patterns or a table")
    runtime = start_runtime(recipe)
    about = {
        "backbone": backbone.id,
        "weights": backbone.digest(),
        "input": backbone.contract.to_json(),
        "stage": stage,
    }
    if runtime.rank == 0:
        begin_shards(place, about)
    runtime.wait()
    shards = begin_shards(place, about)
    known = known_paths(shards)
    todo = [example for example in examples if str(example) not in known]
    _say_changed(examples, known, shards)
    runtime.wait()  # all have looked before the first one writes
    first = 1 + max((shard_number(path) for path in shards), default=-1)
    blocks = [todo[start : start + shard_rows] for start in range(0, len(todo), shard_rows)]
    work = _Work(*_up_to(backbone, stage), runtime, recipe)
    unreadable: list[Unreadable] = []
    rows = 0
    for number in runtime.share(range(len(blocks))):
        found = list(_vectors(work, blocks[number], unreadable))
        if found:
            good = [example for example, _ in found]
            write_shard(place, first + number, Shard(tuple(map(str, good)), tuple(content_digests(good)),
                                                     np.stack([vector for _, vector in found])))  # fmt: skip
            rows += len(found)
            log.info("shard %d of %d: %d files", number + 1, len(blocks), len(found))
    runtime.wait()
    if unreadable and not skip_unreadable:
        raise UnreadableError(f"{unreadable_report(unreadable)}\nthe vectors of the others are in {out}")
    for failure in unreadable:
        log.warning("left out: %s", failure)
    return Embedded(rows, len(examples) - len(todo), tuple(unreadable), work.width if rows else 0,
                    time.monotonic() - started)  # fmt: skip


def _say_changed(examples: Sequence[Example], known: Mapping[str, float], shards: Sequence[Path]) -> None:
    """Files that were written after their vectors, and hold something else now: theirs are of what they held before."""
    newer = [one for one in examples
             if isinstance(one, File) and os.path.getmtime(one.path) > known.get(one.path, math.inf)]  # fmt: skip
    if not newer:
        return
    before = digests_of(shards, {one.path for one in newer})
    changed = [one for one, digest in zip(newer, content_digests(newer), strict=True) if digest != before[one.path]]
    if changed:
        log.warning("%d of the files, the first %s, hold something else than when their vectors were computed, which "
                    "stay as they are; name another --out to compute them anew", len(changed), changed[0])  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Work:
    """The backbone up to the stage, the columns of its output that are the vector, and how it is run."""

    backbone: Backbone
    columns: slice
    runtime: Runtime
    recipe: Recipe

    @property
    def width(self) -> int:
        return int(self.columns.stop - self.columns.start)


def _up_to(backbone: Backbone, stage: str) -> tuple[Backbone, slice]:
    """The backbone whose last stage gives a vector (batch, width) in which the stage's is those columns."""
    if stage == backbone.stages[-1].name != FRAMES:
        return backbone, slice(0, backbone.feature_dim)
    derived, found = with_every_stage(backbone)
    return derived, next(own for own in found if own.stage == stage).columns("mean")


def _vectors(
    work: _Work, examples: Sequence[Example], unreadable: list[Unreadable]
) -> Iterator[tuple[Example, NDArray[np.float32]]]:
    """Every example that can be read with its vector, in order; the others are added to `unreadable`."""
    cut = work.backbone.domain.windows
    windows = [[example] for example in examples] if cut is None else cut(examples, work.backbone.contract)
    owners = [example for example, own in zip(examples, windows, strict=True) for _ in own]
    sums: dict[Example, list[NDArray[np.float32]]] = {}
    wrong: dict[Example, str] = {}
    for places, tensors in _read(work, [window for own in windows for window in own], owners, wrong):
        for place, vector in zip(places, _run(work, tensors), strict=True):
            sums.setdefault(owners[place], []).append(vector)
        del tensors
        give_back_freed_memory()  # the C library does not use all of it again: a long run would grow
    unreadable += [Unreadable(str(example), reason) for example, reason in wrong.items()]
    for example in dict.fromkeys(owners):
        if example not in wrong:
            yield example, np.mean(sums.pop(example), axis=0, dtype=np.float32)


def _read(
    work: _Work, windows: Sequence[Example], owners: Sequence[Example], wrong: dict[Example, str]
) -> Iterator[tuple[list[int], list[Tensor]]]:
    """Places of windows with their tensors, so many at a time as fit in memory together."""
    places: list[int] = []
    tensors: list[Tensor] = []
    held = 0
    for place, (_, result) in enumerate(read_many(work.backbone.contract, windows, "embedding")):
        if isinstance(result, Exception):
            wrong.setdefault(owners[place], str(result))
            continue
        places.append(place)
        tensors.append(result)
        held += result.numel() * result.element_size()
        if held >= TOGETHER_BYTES or len(places) >= TOGETHER_ROWS:
            yield places, tensors
            places, tensors, held = [], [], 0
    if places:
        yield places, tensors


def _run(work: _Work, tensors: Sequence[Tensor]) -> Iterable[NDArray[np.float32]]:
    """The vector of every tensor, in order."""
    contract = work.backbone.contract
    names = tuple(Text(str(number)) for number in range(len(tensors)))  # stand for files, which have been read
    blank = Manifest("embed", names, REGRESSION, "", (), np.zeros(len(tensors)))
    examples = Examples(blank, contract, tuple(tensors), seconds=unequal([contract.seconds(one) for one in tensors]))
    stop = len(work.backbone.stages)
    passed = Pass(work.backbone, examples, stop, work.runtime, work.recipe, None, 1)
    found: dict[int, NDArray[np.float32]] = {}
    for batch, _, rows in outputs(passed, [(row, 0) for row in range(len(tensors))]):
        for row, output in zip(batch, rows, strict=True):
            found[row] = output.float().numpy()[work.columns]
    return [found[row] for row in range(len(tensors))]
