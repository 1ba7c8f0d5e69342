"""What a run says of one file, as plain values for the page: probabilities, decision, pictures, windows."""

from __future__ import annotations

import base64
import math
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graftwork.core.compute.global_state import undisturbed
from graftwork.core.compute.runtime import start_runtime
from graftwork.core.errors import GraftworkError, SettingsError, UnreadableError
from graftwork.core.example import Example, File
from graftwork.core.inference.adapter import Adapter, load_adapter
from graftwork.core.inference.adapter_record import read_record
from graftwork.core.inference.hub import adapter_folder
from graftwork.core.inference.recorded_decisions import check_abstain
from graftwork.core.inference.table import predict_table
from graftwork.core.inference.together import group_grafts
from graftwork.core.model.backbone import Backbone
from graftwork.core.tasks import find_task

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Answerer:
    """A loaded run. name: of its folder. abstain: as of `predict`. lock: files go through the network in turn."""

    adapter: Adapter
    name: str
    abstain: float | None = None
    device: str = "auto"
    lock: threading.Lock = field(default_factory=threading.Lock)


def open_answerer(
    run: str | Path, load_backbone: Callable[..., Backbone], *, weights: str | None = None,
    abstain: float | None = None, device: str = "auto",
) -> Answerer:  # fmt: skip
    """Loads a run. Raises what `load_adapter` does, SettingsError where it cannot abstain."""
    if abstain is not None and find_task(read_record(adapter_folder(run))["task"]).output == "maps":
        raise SettingsError("--abstain: of masks every voxel has its class")
    adapter = load_adapter(run, load_backbone, weights)
    check_abstain(abstain, {str(run): adapter.decisions})
    return Answerer(adapter, adapter_folder(run).resolve().name, abstain, device)


def answer(answerer: Answerer, path: Path) -> dict[str, Any]:
    """What the run says of a file. kind: "mask" or "table". columns: what stands in the row of `predict` by name.
    windows: the same of every window of a recording. preview, picture: PNGs in base64, None where there is none;
    picture: what the adapter looks at, or the outlines of the mask. note: why there is no picture.

    Raises UnreadableError, ContractError and MissingPackageError for a file that cannot be read.
    """
    domain, adapter = answerer.adapter.backbone.domain, answerer.adapter
    with answerer.lock:
        example = File(str(path))  # never more than that: a table would name other files of this machine
        found = _segmented(answerer, example) if adapter.task.output == "maps" else _predicted(answerer, example)
        # What cannot be drawn says nothing against the prediction.
        try:
            found["preview"] = None if domain.preview is None else _base64(domain.preview(example))
            if found["kind"] == "table" and domain.explain is not None:
                found["picture"] = _base64(domain.explain(adapter, example))
        except GraftworkError as error:
            found["note"] = str(error)
    return {"preview": None, "picture": None, "note": "", "windows": []} | found


@undisturbed()
def _predicted(answerer: Answerer, example: Example) -> dict[str, Any]:
    adapter = answerer.adapter
    recipe = adapter.prediction_recipe(answerer.device)
    runtime = start_runtime(recipe)
    try:
        runtime.place(adapter.graft).train(False)
        about_rows = adapter.record.get("seen") or {}
        group = group_grafts(adapter.backbone, runtime, [("", adapter.graft, about_rows, adapter.decisions)])
        found = predict_table([group], [example], recipe, named=False, skip_unreadable=True, outside="flag",
                              abstain=answerer.abstain)  # fmt: skip
    finally:
        runtime.release(adapter.graft)
    _refuse_unreadable(found.table)
    windows = found.windows.drop(columns="path")
    windows = windows[windows["start_s"].notna()]  # a clip that is not cut has no windows
    return {"kind": "table", "columns": _plain(found.table.drop(columns="path").iloc[0].to_dict()),
            "windows": [_plain(row) for row in windows.to_dict("records")]}  # fmt: skip


def _segmented(answerer: Answerer, example: Example) -> dict[str, Any]:
    adapter = answerer.adapter
    with tempfile.TemporaryDirectory(prefix="graftwork-") as folder:
        table = adapter.segment([example], folder, device=answerer.device, skip_unreadable=True)
        _refuse_unreadable(table)
        row = table.iloc[0].drop("path").to_dict()
        overlay, drawn, note = adapter.backbone.domain.overlay, None, ""
        mask = Path(folder) / str(row.pop("mask"))
        try:
            drawn = None if overlay is None else _base64(overlay(example, mask, adapter.classes))
        except GraftworkError as error:
            note = str(error)
    return {"kind": "mask", "columns": _plain(row), "picture": drawn, "note": note}


def _refuse_unreadable(table: pd.DataFrame) -> None:
    """Raises UnreadableError with the reason alone: who looks at a page has no options."""
    if "error" in table and isinstance(table["error"].iloc[0], str):
        raise UnreadableError(table["error"].iloc[0])


def _plain(row: dict[Any, Any]) -> dict[str, Any]:
    """Values as JSON has them; what is missing, or no finite number, is None."""
    plain = {str(name): value.item() if hasattr(value, "item") else value for name, value in row.items()}
    return {name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in plain.items()}  # fmt: skip


def _base64(picture: bytes) -> str:
    return base64.b64encode(picture).decode("ascii")
