"""What grafts say of examples as a table: one row an example, and, where recordings are cut, one a window."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from graftwork.core.compute.allocator import give_back_freed_memory
from graftwork.core.compute.runtime import Runtime
from graftwork.core.data.examples import Examples, Unreadable, read_many, unequal, unreadable_report
from graftwork.core.data.manifest import Manifest
from graftwork.core.data.windows import join_table, timeline
from graftwork.core.errors import UnreadableError
from graftwork.core.example import Example
from graftwork.core.inference.together import GraftGroup, predict_together
from graftwork.core.inference.unfinished import FileState, Found, Unfinished, file_state
from graftwork.core.recipe import Recipe
from graftwork.core.types import InputContract, InputMonitor, OutsideMode

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

BLOCK = 128
"""Files that are held in memory at once."""

MANY = 64
"""Files from which on it pays to make the backbone faster before."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """table: `path`, then for each graft its columns (under its name where there are several), `error` where a file
    could not be read, `outside` where one is unlike the training's. windows: the same for every window of recordings
    that were cut, with `start_s` and `end_s`."""

    table: pd.DataFrame
    windows: pd.DataFrame


def predict_table(
    groups: Iterable[GraftGroup], examples: Sequence[Example], recipe: Recipe, *, named: bool, skip_unreadable: bool,
    outside: OutsideMode, abstain: float | None = None, one_run: bool = False, unfinished: Unfinished | None = None,
) -> Predictions:  # fmt: skip
    """Predictions of every graft for the examples; those that cannot be read have an `error` if they are skipped, else
    UnreadableError lists them all. named: whether columns begin with the graft's name. abstain: as of
    `Adapter.predict`. one_run: the grafts are of one run, which reasons in `outside` need not name. unfinished: where
    every block of files is kept when it is done, and what an earlier start has kept."""
    import pandas as pd

    paths = [str(example) for example in examples]
    table, reasons = pd.DataFrame({"path": paths}), dict[str, str]()
    unlike: dict[str, str] = {}
    tables: list[pd.DataFrame] = []
    all_windows: list[Example] = []
    unread_windows: dict[str, str] = {}
    for number, group in enumerate(groups):
        contract, monitor = group.backbone.contract, group.monitor(outside, named=named and not one_run)
        windows = _windows(examples, group)
        asked = list(dict.fromkeys(window for own in windows for window in own))
        all_windows += asked
        group = group.for_many() if len(asked) >= MANY else group
        named_windows = [[str(window) for window in own] for own in windows]
        known = {} if unfinished is None else _known(unfinished, str(number), asked, group.runtime)
        blocks, failed = _known_table(known, monitor), dict[str, str]()
        todo = [window for window in asked if window not in known]
        for start in range(0, len(todo), BLOCK):
            part = todo[start : start + BLOCK]
            states = [file_state(one) for one in part] if unfinished is not None else []
            block, wrong = _predict_block(group, monitor or contract, part, recipe, skip_unreadable,
                                          failed_before=bool(reasons or failed), named=named)  # fmt: skip
            blocks.append(block)
            failed |= wrong
            whole = skip_unreadable or not (reasons or failed)
            if unfinished is not None and whole and len(asked) > BLOCK and group.runtime.rank == 0:
                unfinished.keep(str(number), _to_keep(part, states, block, monitor))
            give_back_freed_memory()
        # Grafts over other backbones read the same file in their own way, and may fail for another reason.
        _add_reasons(reasons, _reasons(paths, named_windows, failed))
        _add_reasons(unread_windows, failed)
        for path, reason in ({} if monitor is None else monitor.outside).items():
            unlike[path] = f"{unlike[path]}; {reason}" if path in unlike else reason
        found = pd.concat(blocks, ignore_index=True)
        if known:
            found = found.set_index("path").reindex([path for path in map(str, asked) if path not in failed])
            found = found.reset_index()
        tables.append(found)
        cut = any(own != [path] for path, own in zip(paths, named_windows, strict=True))
        if cut:
            learnt = {f"{name}." if named else "": (graft.task, graft.classes)
                      for name, graft in zip(group.names, group.grafts, strict=True)}  # fmt: skip
            found = join_table(found, _owners(paths, named_windows), learnt)
        table = table.merge(_decided(found, group, abstain, named=named), how="left", on="path")
    if reasons and not skip_unreadable:
        raise UnreadableError(unreadable_report([Unreadable(path, reason) for path, reason in reasons.items()]))
    if reasons:
        log.warning("%d of %d files could not be read: see the column `error`", len(reasons), len(paths))
        table["error"] = table["path"].map(reasons)
    if unlike:
        log.warning("%d of %d files are unlike the training's: see the column `outside`", len(unlike), len(paths))
        table["outside"] = table["path"].map(unlike)
    return Predictions(table, timeline(tables, unread_windows, all_windows, examples))


def _known(unfinished: Unfinished, by: str, asked: Sequence[Example], runtime: Runtime) -> dict[Example, Found]:
    """What is known already of the examples; nothing where processes do not know the same, as without a common disk."""
    known = {example: found for example in asked if (found := unfinished.find(by, example)) is not None}
    own = zlib.crc32("\n".join(map(str, known)).encode()) % 2**16  # exact as float32, also summed
    if runtime.total(float(runtime.total(own) != own * runtime.processes)):
        return {}
    return known


def _known_table(known: dict[Example, Found], monitor: InputMonitor | None) -> list[pd.DataFrame]:
    """The rows that are known, as one table or none; what is outside is told to the monitor."""
    import pandas as pd

    if monitor is not None:
        monitor.outside |= {str(one): found.outside for one, found in known.items() if found.outside is not None}
    rows = [{"path": str(example), **found.row} for example, found in known.items()]
    return [pd.DataFrame(rows)] if rows else []


def _to_keep(
    examples: Sequence[Example], states: Sequence[FileState], block: pd.DataFrame, monitor: InputMonitor | None
) -> list[tuple[Example, FileState, Found]]:
    """What was found of a block, without what could not be read: its reason may have gone by the next start."""
    rows = {str(row.pop("path")): {str(name): value for name, value in row.items()}
            for row in block.to_dict("records")}  # fmt: skip
    outside = {} if monitor is None else monitor.outside
    return [(example, state, Found(rows[str(example)], outside.get(str(example))))
            for example, state in zip(examples, states, strict=True) if str(example) in rows]  # fmt: skip


def _decided(found: pd.DataFrame, group: GraftGroup, abstain: float | None, *, named: bool) -> pd.DataFrame:
    """The table with recalibrated probabilities, and with what is decided by them."""
    for name, graft, decisions in zip(group.names, group.grafts, group.decisions, strict=True):
        before = f"{name}." if named else ""
        columns = [f"{before}probability_{label}" for label in graft.classes]
        if not graft.task.one_class or columns[0] not in found:
            continue
        chances = found[columns].to_numpy(dtype=np.float64)
        if decisions.recalibration.kind != "none":
            chances = decisions.recalibration.apply(chances)
            changed = graft.task.prediction_columns(chances, graft.classes)
            found = found.assign(**{f"{before}{key}": value for key, value in changed.items()})
        more = decisions.columns(chances, graft.classes, abstain)
        found = found.assign(**{f"{before}{key}": value for key, value in more.items()})
    return found


def _windows(examples: Sequence[Example], group: GraftGroup) -> list[list[Example]]:
    """The windows of every example; itself alone where it is not cut."""
    cut = group.backbone.domain.windows
    return [[example] for example in examples] if cut is None else cut(examples, group.backbone.contract)


def _add_reasons(known: dict[str, str], new: dict[str, str]) -> None:
    for path, reason in new.items():
        known[path] = reason if known.get(path) in (None, reason) else f"{known[path]}; {reason}"


def _owners(paths: Sequence[str], windows: Sequence[Sequence[str]]) -> dict[str, list[str]]:
    owners: dict[str, list[str]] = {}
    for path, own in zip(paths, windows, strict=True):
        for window in own:
            owners.setdefault(window, []).append(path)
    return owners


def _reasons(paths: Sequence[str], windows: Sequence[Sequence[str]], failed: dict[str, str]) -> dict[str, str]:
    """Why a file could not be read, or how many of its windows, by its path."""
    found = {}
    for path, own in zip(paths, windows, strict=True):
        wrong = [failed[window] for window in own if window in failed]
        if wrong:
            found[path] = wrong[0] if len(own) == 1 else (
                f"{len(wrong)} of {len(own)} windows could not be read, the first: {wrong[0]}"
            )  # fmt: skip
    return found


def _predict_block(
    group: GraftGroup, contract: InputContract, examples: Sequence[Example], recipe: Recipe, skip_unreadable: bool, *,
    failed_before: bool, named: bool,
) -> tuple[pd.DataFrame, dict[str, str]]:  # fmt: skip
    """Predictions for the examples that can be read, and why the others cannot.

    Once something cannot be read and must not be skipped, nothing is predicted any more: the rest is only read, so that
    the report is complete.
    """
    import pandas as pd

    read = list(read_many(contract, examples, "reading"))
    failures = {str(example): str(result) for example, result in read if isinstance(result, Exception)}
    good = [(example, result) for example, result in read if not isinstance(result, Exception)]
    table = pd.DataFrame({"path": [str(example) for example, _ in good]})
    if good and (skip_unreadable or not (failures or failed_before)):
        first = group.grafts[0]
        readable = tuple(example for example, _ in good)
        blank = Manifest("", readable, first.task, "", first.classes, np.zeros(len(good)))
        tensors = tuple(tensor for _, tensor in good)
        rows = Examples(blank, contract, tensors, seconds=unequal([contract.seconds(tensor) for tensor in tensors]))
        found = predict_together(group, rows, recipe)
        for name, graft, predictions in zip(group.names, group.grafts, found, strict=True):
            columns = graft.task.prediction_columns(predictions, graft.classes)
            table = table.assign(**{f"{name}.{key}" if named else key: value for key, value in columns.items()})
    return table, failures
