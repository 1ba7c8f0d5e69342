"""`predict` and `segment`: runs, by their folders, applied to what users name, and the files that are written."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graftwork.core.compute.global_state import undisturbed
from graftwork.core.compute.runtime import Runtime, start_runtime
from graftwork.core.csv_cells import escaped
from graftwork.core.errors import OutputError, SettingsError
from graftwork.core.evaluation.decisions import Decisions
from graftwork.core.files import atomic_write
from graftwork.core.inference.adapter import attach_adapter, check_options, load_adapter, load_recorded_backbone
from graftwork.core.inference.adapter_record import prediction_recipe, read_record, recipe_of, weights_source
from graftwork.core.inference.hub import adapter_folder, on_hub, split_name
from graftwork.core.inference.inputs import Inputs, find_inputs
from graftwork.core.inference.recorded_decisions import check_abstain, recorded_decisions
from graftwork.core.inference.segmentation import check_mask_folder
from graftwork.core.inference.table import predict_table
from graftwork.core.inference.together import GraftGroup, group_grafts
from graftwork.core.model.backbone import Backbone
from graftwork.core.model.graft import Graft
from graftwork.core.tasks import find_task
from graftwork.core.types import OutsideMode

if TYPE_CHECKING:
    import pandas as pd

LoadBackbone = Callable[..., Backbone]


@undisturbed()
def predict(
    runs: str | Path | Sequence[str | Path], inputs: Inputs, load_backbone: LoadBackbone, *,
    weights: str | None = None, out: str | Path | None = None, timeline: str | Path | None = None,
    skip_unreadable: bool = False, outside: OutsideMode = "flag", abstain: float | None = None, batch_size: int = 16,
    device: str = "auto",
) -> pd.DataFrame:  # fmt: skip
    """One row for every input: `path`, and what each run predicts; see `Adapter.predict`.

    runs: the folder of a run or `hub:OWNER/NAME`, or several, whose columns then begin with their names;
    backbones that they share are loaded and run once. load_backbone: the domain's. weights: where the backbone's local
    weights are now. out: CSV file to write. timeline: CSV file for the predictions of every window of recordings that
    the runs cut.

    Raises AdapterError for folders without a usable adapter, SettingsError for runs that learnt masks (see `segment`),
    OutputError for files that cannot be written, and what `Adapter.predict` raises.
    """
    folders = [runs] if isinstance(runs, (str, os.PathLike)) else list(runs)
    if not folders:
        raise SettingsError("no run to predict with")
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
    found = predict_table(groups, examples, recipe, named=len(folders) > 1, skip_unreadable=skip_unreadable,
                          outside=outside, abstain=abstain)  # fmt: skip
    for path, table in ((timeline, found.windows), (out, found.table)):
        if path is not None:
            with atomic_write(Path(path)) as temporary:
                escaped(table).to_csv(temporary, index=False, float_format="%.9g")
    return found.table


def segment(
    run: str | Path, inputs: Inputs, load_backbone: LoadBackbone, out: str | Path, *, weights: str | None = None,
    skip_unreadable: bool = False, outside: OutsideMode = "flag", batch_size: int = 16, device: str = "auto",
    file_format: str | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Writes the mask that a run predicts for every input into the folder `out`; see `Adapter.segment`. load_backbone,
    weights: as of `predict`."""
    check_mask_folder(Path(out))
    return load_adapter(run, load_backbone, weights).segment(
        inputs, out, batch_size=batch_size, device=device, skip_unreadable=skip_unreadable, outside=outside,
        file_format=file_format,
    )  # fmt: skip


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
