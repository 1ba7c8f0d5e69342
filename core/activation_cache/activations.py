"""What the frozen stages make of every example, computed once instead of once per epoch, and kept on disk.

An output is found again by everything that it depends on: the weights, code and settings of the stages, the input
contract, the random change if there is one, and the content of the file. Nothing has to be asked for or cleared.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from rich.filesize import decimal
from torch import Tensor

from graftwork.core.activation_cache.eviction import cache_folder, make_room, parse_size, store_bytes
from graftwork.core.activation_cache.frozen_pass import Pass, outputs
from graftwork.core.activation_cache.key import UnknownIdentityError, frozen_stage_keys
from graftwork.core.activation_cache.stored_features import StoredFeatures
from graftwork.core.activation_cache.tensor_store import Store, names, open_store, read, sound_names, writer
from graftwork.core.compute.runtime import Runtime
from graftwork.core.data.content import content_digests
from graftwork.core.data.examples import Examples
from graftwork.core.data.views import view_count
from graftwork.core.errors import OutputError, SettingsError
from graftwork.core.model.backbone import MAPS, Backbone
from graftwork.core.model.decoder import map_shapes
from graftwork.core.recipe import Recipe
from graftwork.core.types import Augment, InputContract

log = logging.getLogger(__name__)

FREE_SHARE = 0.25
"""Largest share of the disk (what is free, and what the cache has already) that the cache takes unasked."""

NOT_STORED, ELSEWHERE = "frozen stages are not stored: %s", "another process cannot"


_SPENT: ContextVar[list[float] | None] = ContextVar("seconds of passes through frozen stages", default=None)


@contextmanager
def timed_passes() -> Iterator[list[float]]:
    """Collects the seconds of every pass through frozen stages that is asked for inside, also of one that found all in
    the store: what one run computes there, others find."""
    spent: list[float] = []
    token = _SPENT.set(spent)
    try:
        yield spent
    finally:
        _SPENT.reset(token)


@contextmanager
def _timed() -> Iterator[None]:
    began = time.monotonic()
    try:
        yield
    finally:
        spent = _SPENT.get()
        if spent is not None:
            spent.append(time.monotonic() - began)


@_timed()
def run_frozen_stages(
    backbone: Backbone,
    examples: Examples,
    stop: int,
    runtime: Runtime,
    recipe: Recipe,
    augment: Augment | None = None,
    *,
    views: int | None = None,
    add: bool = True,
) -> Examples | None:
    """The examples after stages 0 up to `stop`; None, and a message, where these cannot be kept.

    With `augment`, every example has so many changed `views`, by default as the recipe says. Examples that have been
    that far already are returned as they are. What a store holds already is not computed again; with several processes
    each computes its share. Vectors and frames, after all stages, are kept in memory where there is no store. add:
    whether the store gets what it has not; else it is only looked into, and serves all examples or none.
    """
    if examples.stage >= stop:
        return examples
    views = 1 if augment is None else view_count(recipe) if views is None else views
    work = Pass(backbone, examples, stop, runtime, recipe, augment, max(views, 1))
    if recipe.views != 0 and examples.stage == 0:
        found = _from_store(work, add=add)
        if found is not None:
            return found
    if stop < len(backbone.stages) or backbone.stages[-1].name == MAPS:
        if recipe.views != 0 and add:
            log.info("the %d frozen stages run anew in every epoch", stop)
        return None
    return _in_memory(work)


def same_on_all_processes(examples: Examples, runtime: Runtime) -> Examples:
    """The examples without their tensors, where these do not fit in the memory of every process: all then take the same
    way."""
    if not _any(runtime, examples.tensors is None):
        return examples
    return replace(examples, tensors=None)


@_timed()
def cached_inputs(backbone: Backbone, examples: Examples, runtime: Runtime, recipe: Recipe) -> Examples:
    """The examples as they were read, out of the store, where they do not fit in memory: files are then decoded once,
    not in every epoch. They are returned as they are where they fit, or cannot be kept."""
    if examples.tensors is not None or recipe.views == 0:
        return examples
    found = _from_store(Pass(backbone, examples, 0, runtime, recipe, None, 1))
    return examples if found is None else found


def vectors(examples: Examples) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Examples that have been through all stages, as one table (rows, feature_dim)."""
    return torch.stack(list(examples.tensors or ())).float().numpy()


def _from_store(work: Pass, *, add: bool = True) -> Examples | None:
    """The examples out of the store, after what is missing there has been added; None where that cannot be done, or
    must not."""
    runtime = work.runtime
    opened, failure = _open(work, make=add)
    if not add and _any(runtime, opened is None):
        return None
    # Until all have looked: what one adds from here on counts as missing for every one.
    if _any(runtime, opened is None) or opened is None:
        log.warning(NOT_STORED, failure or ELSEWHERE)
        return None
    first_of: dict[str, tuple[int, int]] = {}
    for number, name in enumerate(opened.wanted):
        if name not in opened.have:
            first_of.setdefault(name, divmod(number, work.views))
    missing = list(first_of.items())
    if not add and _any(runtime, bool(missing)):
        return None
    if not missing:
        log.info("all %d examples after %s are in %s", len(work.examples), opened.last, opened.store.folder)
        return _read(work, opened.store, opened.wanted, work.stop)
    work = _from_deepest(work, opened)
    share = [missing[number] for number in runtime.share(range(len(missing)))]
    failure = _fill(work, opened, share, runtime.processes)
    if _any(runtime, bool(failure)):
        log.warning(NOT_STORED, failure or ELSEWHERE)
        return None
    # Machines without a common disk have seen their own share only.
    have = names(opened.store)
    failure = _fill(work, opened, [(name, where) for name, where in missing if name not in have], 1)
    if _any(runtime, bool(failure)):
        log.warning(NOT_STORED, failure or ELSEWHERE)
        return None
    return _read(work, _reopened(work, opened.store), opened.wanted, work.stop)


@dataclass(frozen=True)
class _OpenStore:
    """Where the outputs of a piece of work are kept.

    wanted: the entry of every view of every row. have: entries that were whole when it was opened. keys: of the
    first 0, 1, … stages. last: the stage's name.
    """

    cache: Path
    store: Store
    wanted: tuple[str, ...]
    have: frozenset[str]
    keys: tuple[str, ...]
    last: str


def _open(work: Pass, *, make: bool = True) -> tuple[_OpenStore | None, str]:
    """The store, or why there is none. make: whether a store that is not there is begun."""
    last = work.backbone.stages[work.stop - 1].name if work.stop else "reading"
    about = {"backbone": work.backbone.id, "up to": last, "input": work.backbone.contract.to_json()}
    digests = content_digests(work.examples.manifest.examples)
    wanted = tuple(f"{digest}.{view}" for digest in digests for view in range(work.views))
    try:
        cache = cache_folder(work.recipe.cache)
        keys = frozen_stage_keys(work.backbone, work.stop, work.runtime, work.recipe, work.augment)
        if not make and not (cache / keys[-1]).is_dir():
            return None, "there is no store"
        store = open_store(cache, keys[-1], about, work.recipe.cache_dtype)
        have = sound_names(store, wanted)
    except UnknownIdentityError as error:
        return (
            None,
            f"{work.backbone.id}, its input contract or the augmentation holds {error}, whose content is not known",
        )
    except (OutputError, SettingsError) as error:
        return None, str(error)
    return _OpenStore(cache, store, wanted, have, keys, last), ""


def _reopened(work: Pass, store: Store) -> Store:
    """The store as it is now; its record is written already."""
    return open_store(store.folder.parent, store.folder.name, {}, work.recipe.cache_dtype)


def _read(work: Pass, store: Store, wanted: Sequence[str], stage: int) -> Examples:
    return replace(work.examples, contract=_stored(work, bool(store.ragged), stage), tensors=read(store, wanted),
                   stage=stage, views=work.views, seconds=_seconds(work, bool(store.ragged)))  # fmt: skip


def _stored(work: Pass, ragged: bool, stage: int) -> InputContract:
    if stage == 0:
        return work.examples.contract
    if work.backbone.stages[-1].name != MAPS:
        return StoredFeatures(ragged, whole=work.backbone.stages[stage - 1].keeps_padding)
    spatial = tuple(work.backbone.contract.blank().shape[1:])
    return StoredFeatures(ragged, map_shapes(work.backbone, stage), spatial)


def _fill(work: Pass, opened: _OpenStore, missing: Sequence[tuple[str, tuple[int, int]]], processes: int) -> str:
    """Adds what is missing; returns why that could not be done, or nothing. processes: how many add as much."""
    if not missing:
        return ""
    try:
        with writer(opened.store) as out:
            for number, (batch, ragged, tensors) in enumerate(outputs(work, [where for _, where in missing])):
                out.ragged = ragged
                if number == 0:
                    needed = processes * _expected_bytes(work, missing, batch, tensors)
                    limit = _limit(work.recipe, opened.cache)
                    if not make_room(opened.cache, needed, limit, opened.store.folder):
                        return (f"about {decimal(needed)} are needed in {opened.cache}, more than --cache-limit "
                                f"({decimal(limit)}) or the disk allows")  # fmt: skip
                    log.info("storing the output of %s for %d examples, about %s, in %s", opened.last,
                             processes * len(missing), decimal(needed), opened.store.folder)  # fmt: skip
                for index, tensor in zip(batch, tensors, strict=True):
                    out.add(missing[index][0], tensor)
    except OutputError as error:
        return str(error)
    return ""


def _from_deepest(work: Pass, opened: _OpenStore) -> Pass:
    """The same work from the deepest stage whose outputs are stored for all examples, or from the files.

    Machines with disks of their own may find different ones; they do not have to agree on where to begin.
    """
    for stop in range(work.stop - 1, 0, -1):
        folder = opened.cache / opened.keys[stop]
        if not folder.is_dir():
            continue
        wanted = set(opened.wanted)
        try:
            store = open_store(opened.cache, folder.name, {}, work.recipe.cache_dtype)
            whole = wanted <= names(store) and wanted <= sound_names(store, opened.wanted)
        except OutputError as error:
            log.warning("%s", error)
            continue
        if whole:
            log.info("going on from the stored output of %s", work.backbone.stages[stop - 1].name)
            return replace(work, examples=_read(work, store, opened.wanted, stop), augment=None)
    return work


def _in_memory(work: Pass) -> Examples:
    places = [(row, view) for row in range(len(work.examples)) for view in range(work.views)]
    kept: dict[int, Tensor] = {}
    ragged = False
    for batch, ragged, tensors in outputs(work, places):  # noqa: B007
        kept |= dict(zip(batch, tensors, strict=True))
    return replace(work.examples, contract=StoredFeatures(ragged), stage=work.stop, views=work.views,
                   tensors=tuple(kept[place] for place in range(len(places))),
                   seconds=_seconds(work, ragged))  # fmt: skip


def _seconds(work: Pass, ragged: bool) -> tuple[float, ...] | None:
    """Durations matter as long as what is stored is a sequence; vectors go into batches by chance."""
    return work.examples.seconds if ragged or work.stop == 0 else None


def _expected_bytes(
    work: Pass, missing: Sequence[tuple[str, tuple[int, int]]], batch: Sequence[int], tensors: Sequence[Tensor]
) -> int:
    """Size of all that is missing, by the first batch: in proportion to the examples' durations where they differ."""
    width = 4 if work.recipe.cache_dtype == "float32" else 2
    seen = sum(tensor.numel() for tensor in tensors) * width
    seconds = work.examples.seconds
    lengths = [1.0 if seconds is None else seconds[row] for _, (row, _) in missing]
    return round(seen * sum(lengths) / sum(lengths[index] for index in batch))


def _limit(recipe: Recipe, cache: Path) -> int:
    if recipe.cache_limit is not None:
        return parse_size(recipe.cache_limit)
    return round(FREE_SHARE * (shutil.disk_usage(cache).free + sum(store_bytes(cache).values())))


def _any(runtime: Runtime, here: bool) -> bool:
    """Whether it is so in any process: all have to take the same way."""
    return runtime.total(float(here)) > 0
