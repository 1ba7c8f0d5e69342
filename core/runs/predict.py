"""`predict` and `segment`: runs, by their folders, applied to what users name, and the files that are written."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graftwork.core.compute.global_state import undisturbed
from graftwork.core.compute.runtime import Runtime, start_runtime
from graftwork.core.csv_cells import escaped
from graftwork.core.errors import AdapterError, OutputError, SettingsError
from graftwork.core.evaluation.decisions import Decisions
from graftwork.core.files import atomic_write
from graftwork.core.inference.adapter import attach_adapter, check_options, load_adapter, load_recorded_backbone
from graftwork.core.inference.adapter_record import (
    FOLDS_KEPT,
    RECORD,
    prediction_recipe,
    read_record,
    recipe_of,
    weights_source,
)
from graftwork.core.inference.ensemble import joined_table
from graftwork.core.inference.hub import adapter_folder, on_hub, split_name
from graftwork.core.inference.inputs import Inputs, find_inputs
from graftwork.core.inference.recorded_decisions import check_abstain, recorded_decisions
from graftwork.core.inference.segmentation import check_mask_folder, segment_examples
from graftwork.core.inference.table import predict_table
from graftwork.core.inference.together import GraftGroup, group_grafts
from graftwork.core.inference.unfinished import Unfinished, take_up
from graftwork.core.model.backbone import Backbone
from graftwork.core.model.graft import Graft
from graftwork.core.tasks import find_task
from graftwork.core.types import OutsideMode

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

LoadBackbone = Callable[..., Backbone]


@undisturbed()
def predict(
    runs: str | Path | Sequence[str | Path], inputs: Inputs, load_backbone: LoadBackbone, *,
    weights: str | None = None, out: str | Path | None = None, timeline: str | Path | None = None,
    skip_unreadable: bool = False, outside: OutsideMode = "flag", abstain: float | None = None, ensemble: bool = False,
    batch_size: int = 16, device: str = "auto",
) -> pd.DataFrame:  # fmt: skip
    """One row for every input: `path`, and what each run predicts; see `Adapter.predict`.

    runs: the folder of a run or `hub:OWNER/NAME`, or several, whose columns then begin with their names;
    backbones that they share are loaded and run once. load_backbone: the domain's. weights: where the backbone's local
    weights are now. out: CSV file to write. timeline: CSV file for the predictions of every window of recordings that
    the runs cut. ensemble: the mean of the models of the run's folds, which `train` has kept, in place of its adapter;
    `spread` is how far they differ, see `joined_table`.

    Raises AdapterError for folders without a usable adapter, SettingsError for runs that learnt masks (see `segment`),
    OutputError for files that cannot be written, and what `Adapter.predict` raises.
    """
    folders = [runs] if isinstance(runs, (str, os.PathLike)) else list(runs)
    if not folders:
        raise SettingsError("no run to predict with")
    if ensemble:
        return _predict_ensemble(folders, inputs, load_backbone, weights, out, timeline, skip_unreadable, outside,
                                 abstain, batch_size, device)  # fmt: skip
    if out is not None and os.path.isdir(out):
        raise OutputError(f"{out}: --out must be a file for predict, this is a folder")
    if len({adapter_folder(name).resolve() for name in folders}) < len(folders):
        raise SettingsError(f"a run is named twice: {', '.join(map(str, folders))}")
    if any(map(learnt_masks, folders)):
        raise SettingsError("masks are written into files, by one run at a time: use segment; at the command line, "
                            "predict with one run and --out FOLDER")  # fmt: skip
    records = [read_record(adapter_folder(name)) for name in folders]
    check_abstain(abstain, {str(name): recorded_decisions(record, name)
                            for name, record in zip(folders, records, strict=True)})  # fmt: skip
    recipe = prediction_recipe(records, device, batch_size)
    groups = open_groups(folders, load_backbone, weights, start_runtime(recipe))
    examples = find_inputs(inputs, groups[0].backbone.domain)
    if not examples:
        raise SettingsError("nothing to predict: name files behind the runs")
    runtime = start_runtime(recipe)
    settings = {"outside": outside, "batch_size": batch_size, "device": device}
    unfinished = None if out is None else _taken_up(runtime, out, folders, settings)
    found = predict_table(groups, examples, recipe, named=len(folders) > 1, skip_unreadable=skip_unreadable,
                          outside=outside, abstain=abstain, unfinished=unfinished)  # fmt: skip
    _write_tables((timeline, found.windows), (out, found.table))
    _finished(runtime, unfinished)
    return found.table


def _taken_up(runtime: Runtime, out: str | Path, runs: Sequence[str | Path], settings: dict[str, Any]) -> Unfinished:
    """What an earlier start has kept beside `out`; every process looks before the first one writes."""
    found = take_up(Path(out), runs, settings | {"names": run_names(runs)})
    runtime.wait()
    return found


def _finished(runtime: Runtime, unfinished: Unfinished | None) -> None:
    """Removes what was kept, once all processes are through."""
    runtime.wait()
    if unfinished is not None and runtime.rank == 0:
        unfinished.remove()


def _write_tables(*tables: tuple[str | Path | None, pd.DataFrame]) -> None:
    for path, table in tables:
        if path is not None:
            with atomic_write(Path(path)) as temporary:
                escaped(table).to_csv(temporary, index=False, float_format="%.9g")


def _predict_ensemble(
    runs: Sequence[str | Path], inputs: Inputs, load_backbone: LoadBackbone, weights: str | None,
    out: str | Path | None, timeline: str | Path | None, skip_unreadable: bool, outside: OutsideMode,
    abstain: float | None, batch_size: int, device: str,
) -> pd.DataFrame:  # fmt: skip
    """`predict` by the models of one run's folds together."""
    if len(runs) > 1:
        raise SettingsError(f"--ensemble: expected one run, found {len(runs)}")
    if out is not None and os.path.isdir(out):
        raise OutputError(f"{out}: --out must be a file for predict, this is a folder")
    if learnt_masks(runs[0]):
        raise SettingsError("masks are written into files: use segment; at the command line, predict with --out FOLDER")
    if timeline is not None or abstain is not None:
        raise SettingsError("--ensemble: --timeline and --abstain are of a single model; leave them out")
    folds = kept_folds(runs[0])
    record = read_record(Path(runs[0]))
    task, classes = find_task(record["task"]), tuple(record["classes"])
    decisions = recorded_decisions(record, runs[0])
    if decisions.point is not None or decisions.recalibration.kind != "none":
        log.warning("%s: its operating point and recalibration were chosen for single models: the ensemble has no "
                    "column `decision`, and its probabilities are as they are", runs[0])  # fmt: skip
    recipe = prediction_recipe([record], device, batch_size)
    groups = [replace(group, summaries=({}, ) * len(group.names))
              for group in open_groups(folds, load_backbone, weights, start_runtime(recipe))]  # fmt: skip
    first = groups[0]
    groups[0] = replace(first, summaries=(record.get("seen") or {}, *first.summaries[1:]))
    examples = find_inputs(inputs, first.backbone.domain)
    if not examples:
        raise SettingsError("nothing to predict: name files behind the runs")
    runtime = start_runtime(recipe)
    settings = {"outside": outside, "batch_size": batch_size, "device": device}
    unfinished = None if out is None else _taken_up(runtime, out, folds, settings)
    found = predict_table(groups, examples, recipe, named=True, skip_unreadable=skip_unreadable, outside=outside,
                          one_run=True, unfinished=unfinished)  # fmt: skip
    table = joined_table(found.table, run_names(folds), task, classes)
    _write_tables((out, table))
    _finished(runtime, unfinished)
    return table


def kept_folds(run: str | Path) -> list[Path]:
    """The folders of the models of a run's folds. Raises SettingsError where none were kept, and for texts,
    AdapterError where one is missing."""
    folder = adapter_folder(run)
    record = read_record(folder)
    if find_task(record["task"]).output == "frames":
        raise SettingsError(f"--ensemble: {record['target']!r} is text, of which there is no mean; predict without it")
    count = record.get(FOLDS_KEPT)
    if not isinstance(count, int) or on_hub(run):
        where = "the hub has the adapter alone" if on_hub(run) else "train it with --folds N --keep-folds"
        raise SettingsError(f"--ensemble: {run} has no models of its folds: {where}")
    found = [folder / "folds" / str(fold + 1) for fold in range(count)]
    missing = [str(one) for one in found if not (one / RECORD).is_file()]
    if missing:
        raise AdapterError(f"--ensemble: expected the models of {count} folds, {', '.join(missing)} has none; train "
                           "anew with --keep-folds")  # fmt: skip
    log.info("the mean of %d models; the out-of-fold metrics of the run are of single models, and of this mean there "
             "are none: evaluate it on rows of its own", count)  # fmt: skip
    return found


def segment(
    run: str | Path, inputs: Inputs, load_backbone: LoadBackbone, out: str | Path, *, weights: str | None = None,
    skip_unreadable: bool = False, outside: OutsideMode = "flag", batch_size: int = 16, device: str = "auto",
    file_format: str | None = None, ensemble: bool = False,
) -> pd.DataFrame:  # fmt: skip
    """Writes the mask that a run predicts for every input into the folder `out`; see `Adapter.segment`. load_backbone,
    weights, ensemble: as of `predict`."""
    check_mask_folder(Path(out))
    folders = kept_folds(run) if ensemble else [run]
    first, *others = [load_adapter(folder, load_backbone, weights) for folder in folders]
    if first.task.output != "maps":
        raise SettingsError(f"this run predicts {first.record['target']!r}, which is no mask: use predict")
    settings = {"outside": outside, "batch_size": batch_size, "device": device, "format": file_format}
    runtime = start_runtime(first.prediction_recipe(device, batch_size))
    unfinished = _taken_up(runtime, out, folders, settings)
    seen = (read_record(Path(run)) if ensemble else first.record).get("seen") or {}
    table = segment_examples(first.graft, find_inputs(inputs, first.backbone.domain), Path(out),
                             first.prediction_recipe(device, batch_size), training_summary=seen,
                             skip_unreadable=skip_unreadable, outside=outside, file_format=file_format,
                             others=[one.graft for one in others], unfinished=unfinished)  # fmt: skip
    _finished(runtime, unfinished)
    return table


def learnt_masks(run: str | Path) -> bool:
    """Whether the run in that folder predicts masks. Raises AdapterError where there is none."""
    return find_task(read_record(adapter_folder(run))["task"]).output == "maps"


@undisturbed()
def open_groups(
    runs: Sequence[str | Path], load_backbone: LoadBackbone, weights: str | None, runtime: Runtime
) -> list[GraftGroup]:
    """The grafts of these folders, those over the same backbone together, in the order in which they are named.

    Raises AdapterError as `load_adapter` does.
    """
    backbones: dict[str, Backbone] = {}
    members: dict[str, list[tuple[str, Graft, dict[str, Any], Decisions]]] = {}
    for name, run in zip(run_names(runs), map(adapter_folder, runs), strict=True):
        record = read_record(run)
        check_options(run, record, load_backbone)
        key = _backbone_key(run, record, weights)
        if key not in backbones:
            backbones[key] = load_recorded_backbone(run, record, load_backbone, weights)
            # Placed before it is shared: what is placed afterwards gets memory of its own.
            runtime.place(backbones[key].network).eval()
        adapter = attach_adapter(run, record, backbones[key].copy_sharing_tensors())
        runtime.place(adapter.graft).train(False)
        about_rows = adapter.record.get("seen") or {}
        members.setdefault(key, []).append((name, adapter.graft, about_rows, adapter.decisions))
    return [group_grafts(backbones[key], runtime, group) for key, group in members.items()]


def run_names(runs: Sequence[str | Path]) -> list[str]:
    """The folders' and repositories' own names, or their whole paths where these would not tell them apart."""
    short = [split_name(str(run))[0].partition("/")[2] if on_hub(run) else Path(run).resolve().name for run in runs]
    return [name if short.count(name) == 1 else str(run) for name, run in zip(short, runs, strict=True)]


def _backbone_key(run: Path, record: Mapping[str, Any], weights: str | None) -> str:
    about, source = record["backbone"], weights_source(dict(record), weights)
    return json.dumps([about["id"], source, about["options"], _weights_seed(run, record, source)], sort_keys=True)


def _weights_seed(run: Path, record: Mapping[str, Any], source: str | None) -> int:
    """Random weights are those of the run's seed, and so not another run's."""
    return recipe_of(run, dict(record)).seed if source == "random" else 0
