"""Predictions for what users name: it becomes examples, and what runs say of them becomes a table."""

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
from graftwork.core.data.examples import Examples, Unreadable, read_many, unequal, unreadable_report
from graftwork.core.data.manifest import Manifest
from graftwork.core.data.tables import read_unlabelled
from graftwork.core.data.windows import join_table
from graftwork.core.data.windows import timeline as _timeline
from graftwork.core.domain import Domain
from graftwork.core.errors import OutputError, SettingsError, UnreadableError
from graftwork.core.example import (
    Example,
    File,
    absolute,
    example_exists,
    existing,
    parse_example,
    refusal,
)
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
    examples = find_inputs([name for name in inputs if name not in runs], domain)
    if not examples:
        raise SettingsError("nothing to predict: name files behind the runs")
    if len({Path(name).resolve() for name in runs}) < len(runs):
        raise SettingsError(f"a run is named twice: {', '.join(runs)}")
    if any(map(_learnt_masks, runs)):
        if len(runs) > 1 or timeline is not None:
            raise SettingsError("masks are predicted by one run at a time, and have no timeline")
        return segment_files(domain, run, examples, weights=weights, out=out, skip_unreadable=skip_unreadable,
                             batch_size=batch_size, device=device, outside=outside)  # fmt: skip
    recipe = prediction_recipe([read_record(Path(name)) for name in runs], device, batch_size)
    runtime = start_runtime(recipe)
    paths = [str(example) for example in examples]
    table, reasons = pd.DataFrame({"path": paths}), dict[str, str]()
    unlike: dict[str, str] = {}
    timelines: list[pd.DataFrame] = []
    all_windows: list[Example] = []
    unread_windows: dict[str, str] = {}
    for party in open_adapter_groups(runs, domain, weights, runtime):
        blocks = []
        contract = party.adapters[0].backbone.contract
        watch = watch_for(domain, party, outside, named=len(runs) > 1)
        windows = _windows(domain, examples, party)
        asked = list(dict.fromkeys(window for own in windows for window in own))
        all_windows += asked
        named_windows = [[str(window) for window in own] for own in windows]
        failed: dict[str, str] = {}
        for start in range(0, len(asked), PREDICT_BLOCK):
            part = asked[start : start + PREDICT_BLOCK]
            block, wrong = _predict_block(party, watch or contract, part, recipe, skip_unreadable,
                                          failed_before=bool(reasons or failed), named=len(runs) > 1)  # fmt: skip
            blocks.append(block)
            failed |= wrong
        # Runs over other backbones read the same file in their own way, and may fail for another reason.
        _add_reasons(reasons, _reasons(paths, named_windows, failed))
        _add_reasons(unread_windows, failed)
        for path, reason in ({} if watch is None else watch.outside).items():
            unlike[path] = f"{unlike[path]}; {reason}" if path in unlike else reason
        found = pd.concat(blocks, ignore_index=True)
        timelines.append(found)
        cut = any(own != [path] for path, own in zip(paths, named_windows, strict=True))
        if cut:
            learnt = {f"{name}." if len(runs) > 1 else "": (adapter.task, adapter.classes)
                      for name, adapter in zip(party.names, party.adapters, strict=True)}  # fmt: skip
            found = join_table(found, _owners(paths, named_windows), learnt)
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
            _timeline(timelines, unread_windows, all_windows, examples).to_csv(beside, index=False, float_format="%.9g")
    if out is not None:
        with whole_file(Path(out)) as beside:
            table.to_csv(beside, index=False, float_format="%.9g")
    return table


def _learnt_masks(run: str) -> bool:
    return find_task(read_record(Path(run))["task"]).output == "maps"


def _windows(domain: Domain, examples: Sequence[Example], party: AdapterGroup) -> list[list[Example]]:
    """The windows of every example; itself alone where it is not cut."""
    if domain.windows is None:
        return [[example] for example in examples]
    return domain.windows(examples, party.adapters[0].backbone.contract)


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
    party: AdapterGroup, contract: InputContract, examples: Sequence[Example], recipe: Recipe, skip_unreadable: bool, *,
    failed_before: bool, named: bool,
) -> tuple[pd.DataFrame, dict[str, str]]:  # fmt: skip
    """Predictions for the examples that can be read, and why the others cannot.

    Once something cannot be read and must not be skipped, nothing is predicted any more: the rest is only read, so that
    the report is complete. named: whether columns begin with the run's name.
    """
    import pandas as pd

    read = list(read_many(contract, examples, "reading"))
    failures = {str(example): str(result) for example, result in read if isinstance(result, Exception)}
    good = [(example, result) for example, result in read if not isinstance(result, Exception)]
    table = pd.DataFrame({"path": [str(example) for example, _ in good]})
    if good and (skip_unreadable or not (failures or failed_before)):
        first = party.adapters[0]
        readable = tuple(example for example, _ in good)
        blank = Manifest("", readable, first.task, first.record["target"], first.classes, np.zeros(len(good)))
        tensors = tuple(tensor for _, tensor in good)
        rows = Examples(blank, contract, tensors, seconds=unequal([contract.seconds(tensor) for tensor in tensors]))
        found = predict_together(party, rows, recipe)
        for name, adapter, predictions in zip(party.names, party.adapters, found, strict=True):
            columns = adapter.task.prediction_columns(predictions, adapter.classes)
            table = table.assign(**{f"{name}.{key}" if named else key: value for key, value in columns.items()})
    return table, failures


def find_inputs(inputs: Sequence[str], domain: Domain) -> list[Example]:
    """What the user named, absolute: examples that the domain reads, patterns of files, tables with its column. Raises
    UnreadableError that lists what was not found, or cannot be read there, ManifestError for a table that cannot be
    read."""
    found: list[Example] = []
    absent, refused = [], []
    for name in inputs:
        file = existing_path(os.path.expanduser(name))
        if file.lower().endswith(TABLES) and os.path.isfile(file):
            found += [example for example, _ in read_unlabelled(file, domain.kinds, domain.column)]
            continue
        example = existing(absolute(parse_example(name, domain.kinds)))
        if example_exists(example):
            reason = refusal(example, domain.kinds)
            refused += [] if reason is None else [f"{name}: {reason}"]
            found.append(example)
        else:
            matches = sorted({os.path.abspath(path) for pattern in (file, *other_forms(file))
                              for path in glob.glob(pattern, recursive=True) if os.path.isfile(path)})  # fmt: skip
            absent += [] if matches else [name]
            found += map(File, matches)
    if absent:
        raise UnreadableError(f"no such file, and no file matches: {', '.join(absent)}")
    if refused:
        raise UnreadableError("\n".join(refused))
    return list(dict.fromkeys(found))
