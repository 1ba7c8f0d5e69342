"""Predictions for files: what users name becomes paths, and what runs say of them becomes a table."""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from graftwork.core.compute.global_state import undisturbed
from graftwork.core.compute.runtime import start_runtime
from graftwork.core.data.content import ROW_MARK, absolute_path, channel_files, example_exists
from graftwork.core.data.examples import Examples, Unreadable, read_many, unequal, unreadable_report
from graftwork.core.data.manifest import Manifest
from graftwork.core.data.tables import read_paths
from graftwork.core.data.windows import join_table
from graftwork.core.data.windows import timeline as _timeline
from graftwork.core.domain import Domain
from graftwork.core.errors import OutputError, SettingsError, UnreadableError
from graftwork.core.files import whole_file
from graftwork.core.inference.segmentation import segment_files
from graftwork.core.inference.together import AdapterGroup, open_adapter_groups, predict_together, watch_for
from graftwork.core.model.adapter import RECORD, prediction_recipe, read_record
from graftwork.core.names import existing_path, other_forms
from graftwork.core.recipe import Recipe
from graftwork.core.tasks import find_task
from graftwork.core.types import InputContract, Outside

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

TABLES = (".csv", ".tsv", ".parquet")
PREDICT_BLOCK = 128
"""Files that `predict` holds in memory at once."""


@undisturbed()
def predict_files(
    domain: Domain, run: str, inputs: Sequence[str], *, weights: str | None, out: str | None, skip_unreadable: bool,
    batch_size: int, device: str, timeline: str | None = None, outside: Outside = "flag",
) -> pd.DataFrame:  # fmt: skip
    """Predictions for files, patterns or tables of paths; with skipping, unreadable files have an `error` instead.
    Of runs that learnt masks, as `segment_files`.

    Further folders of runs among the inputs predict the same files: every run then has columns of its own, under its
    name. Backbones that runs share are loaded and run once. timeline: a CSV file for the predictions of every window of
    recordings that the runs cut. outside: whether examples that are unlike those of the training have the reason in a
    column `outside`, or count as unreadable.
    """
    import pandas as pd

    if out is not None and os.path.isdir(out) and not _learnt_masks(run):
        raise OutputError(f"{out}: --out must be a file for predict, this is a folder")
    runs = [run, *(name for name in inputs if os.path.isfile(os.path.join(name, RECORD)))]
    paths = find_inputs([name for name in inputs if name not in runs])
    if not paths:
        raise SettingsError("nothing to predict: name files behind the runs")
    if len({Path(name).resolve() for name in runs}) < len(runs):
        raise SettingsError(f"a run is named twice: {', '.join(runs)}")
    if any(map(_learnt_masks, runs)):
        if len(runs) > 1 or timeline is not None:
            raise SettingsError("masks are predicted by one run at a time, and have no timeline")
        return segment_files(domain, run, paths, weights=weights, out=out, skip_unreadable=skip_unreadable,
                             batch_size=batch_size, device=device, outside=outside)  # fmt: skip
    recipe = prediction_recipe([read_record(Path(name)) for name in runs], device, batch_size)
    runtime = start_runtime(recipe)
    table, reasons = pd.DataFrame({"path": paths}), dict[str, str]()
    unlike: dict[str, str] = {}
    timelines: list[pd.DataFrame] = []
    unread_windows: dict[str, str] = {}
    for party in open_adapter_groups(runs, domain, weights, runtime):
        blocks = []
        contract = party.adapters[0].backbone.contract
        watch = watch_for(domain, party, outside, named=len(runs) > 1)
        windows = _windows(domain, paths, party)
        asked = list(dict.fromkeys(window for own in windows for window in own))
        failed: dict[str, str] = {}
        for start in range(0, len(asked), PREDICT_BLOCK):
            part = asked[start : start + PREDICT_BLOCK]
            block, wrong = _predict_block(party, watch or contract, part, recipe, skip_unreadable,
                                          failed_before=bool(reasons or failed), named=len(runs) > 1)  # fmt: skip
            blocks.append(block)
            failed |= wrong
        # Runs over other backbones read the same file in their own way, and may fail for another reason.
        _add_reasons(reasons, _reasons(paths, windows, failed))
        _add_reasons(unread_windows, failed)
        for path, reason in ({} if watch is None else watch.outside).items():
            unlike[path] = f"{unlike[path]}; {reason}" if path in unlike else reason
        found = pd.concat(blocks, ignore_index=True)
        timelines.append(found)
        cut = any(own != [path] for path, own in zip(paths, windows, strict=True))
        if cut:
            learnt = {f"{name}." if len(runs) > 1 else "": (adapter.task, adapter.classes)
                      for name, adapter in zip(party.names, party.adapters, strict=True)}  # fmt: skip
            found = join_table(found, _owners(paths, windows), learnt)
        table = table.merge(found, how="left", on="path")
    if reasons and not skip_unreadable:
        raise UnreadableError(unreadable_report([Unreadable(path, reason) for path, reason in reasons.items()]))
    if reasons:
        log.warning("%d of %d files could not be read: see the column `error`", len(reasons), len(paths))
        table["error"] = table["path"].map(reasons)
    if unlike:
        log.warning("%d of %d files are unlike the training's: see the column `outside`", len(unlike), len(paths))
        table["outside"] = table["path"].map(unlike)
    if timeline is not None:
        with whole_file(Path(timeline)) as beside:
            _timeline(timelines, unread_windows, paths).to_csv(beside, index=False, float_format="%.9g")
    if out is not None:
        with whole_file(Path(out)) as beside:
            table.to_csv(beside, index=False, float_format="%.9g")
    return table


def _learnt_masks(run: str) -> bool:
    return find_task(read_record(Path(run))["task"]).output == "maps"


def _windows(domain: Domain, paths: Sequence[str], party: AdapterGroup) -> list[list[str]]:
    """The windows of every path; itself alone where it is not cut."""
    if domain.windows is None:
        return [[path] for path in paths]
    return domain.windows(paths, party.adapters[0].backbone.contract)


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
    party: AdapterGroup, contract: InputContract, paths: Sequence[str], recipe: Recipe, skip_unreadable: bool, *,
    failed_before: bool, named: bool,
) -> tuple[pd.DataFrame, dict[str, str]]:  # fmt: skip
    """Predictions for the paths that can be read, and why the others cannot.

    Once something cannot be read and must not be skipped, nothing is predicted any more: the rest is only read, so that
    the report is complete. named: whether columns begin with the run's name.
    """
    import pandas as pd

    read = list(read_many(contract, paths, "reading"))
    failures = {path: str(result) for path, result in read if isinstance(result, Exception)}
    good = [(path, result) for path, result in read if not isinstance(result, Exception)]
    names = tuple(path for path, _ in good)
    table = pd.DataFrame({"path": names})
    if good and (skip_unreadable or not (failures or failed_before)):
        first = party.adapters[0]
        blank = Manifest("", names, first.task, first.record["target"], first.classes, np.zeros(len(good)))
        tensors = tuple(tensor for _, tensor in good)
        examples = Examples(blank, contract, tensors, seconds=unequal([contract.seconds(tensor) for tensor in tensors]))
        found = predict_together(party, examples, recipe)
        for name, adapter, predictions in zip(party.names, party.adapters, found, strict=True):
            columns = adapter.task.prediction_columns(predictions, adapter.classes)
            table = table.assign(**{f"{name}.{key}" if named else key: value for key, value in columns.items()})
    return table, failures


def find_inputs(inputs: Sequence[str]) -> list[str]:
    """Absolute paths of what the user named: files, patterns, tables with a column `path`. Raises UnreadableError
    that lists what was not found, ManifestError for a table that cannot be read."""
    paths: list[str] = []
    missing = []
    for name in inputs:
        expanded = existing_path(os.path.expanduser(name))
        if expanded.lower().endswith(TABLES) and os.path.isfile(expanded):
            paths += read_paths(expanded)
        elif len(channel_files(expanded)) > 1 and example_exists(expanded):
            paths.append(absolute_path(expanded))
        elif example_exists(expanded):
            mark_place = expanded.find(ROW_MARK)
            head = expanded if mark_place < 0 else expanded[:mark_place]
            paths.append(os.path.abspath(head) + expanded[len(head) :])
        else:
            found = sorted({os.path.abspath(path) for pattern in (expanded, *other_forms(expanded))
                            for path in glob.glob(pattern, recursive=True) if os.path.isfile(path)})  # fmt: skip
            missing += [] if found else [name]
            paths += found
    if missing:
        raise UnreadableError(f"no such file, and no file matches: {', '.join(missing)}")
    return list(dict.fromkeys(paths))
