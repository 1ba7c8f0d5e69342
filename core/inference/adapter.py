"""An adapter: what was learnt, what it was learnt on top of, and how. A folder of safetensors and JSON, no pickle."""

from __future__ import annotations

import dataclasses
import inspect
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from graftwork.core.compute.global_state import undisturbed
from graftwork.core.compute.runtime import seed_everything, start_runtime
from graftwork.core.data.manifest import Manifest
from graftwork.core.errors import AdapterError, BackboneError, SettingsError, UnreadableError
from graftwork.core.evaluation.decisions import Decisions
from graftwork.core.files import DamagedFileError, as_written, write_checked_json, write_text
from graftwork.core.inference.adapter_record import (
    RECORD,
    SCHEMA,
    prediction_recipe,
    read_record,
    recipe_of,
    weights_source,
)
from graftwork.core.inference.hub import adapter_folder
from graftwork.core.inference.inputs import Inputs, find_inputs
from graftwork.core.inference.model_card import model_card
from graftwork.core.inference.recorded_decisions import check_abstain, recorded_decisions
from graftwork.core.inference.segmentation import segment_examples
from graftwork.core.inference.table import predict_table
from graftwork.core.inference.together import group_grafts
from graftwork.core.model.backbone import Backbone, refuse_non_finite
from graftwork.core.model.freezing_proof import FreezingProof, whole_digest
from graftwork.core.model.graft import Graft, make_graft
from graftwork.core.model.stage_outputs import FeatureChoice, choice_from_json, with_features
from graftwork.core.model.strategies import parse_strategy
from graftwork.core.recipe import EXECUTION_FIELDS, Recipe
from graftwork.core.tasks import Task
from graftwork.core.tensor_files import read_tensors, write_tensors
from graftwork.core.types import OutsideMode
from graftwork.core.versions import version_of

if TYPE_CHECKING:
    import pandas as pd

    from graftwork.core.evaluation.evaluation import Evaluation

WEIGHTS, CARD = "adapter.safetensors", "README.md"
LEARNT_DIGEST = "learnt_digest"
"""The field of `adapter.json` by which damage to the tensors is told; it belongs to the file."""


@dataclass(frozen=True, repr=False)
class Adapter:
    """A trained graft and its record, which holds all that `adapter.json` says."""

    graft: Graft
    record: dict[str, Any]

    def __repr__(self) -> str:
        counted = self.record["parameters"]
        classes = f" of {', '.join(self.classes)}" if self.classes else ""
        return (f"Adapter({self.record['strategy']} on {self.record['backbone']['id']} for {self.record['target']!r}, "
                f"{self.task}{classes}; {counted['trained']:,} of {counted['all']:,} parameters learnt)")  # fmt: skip

    @property
    def task(self) -> Task:
        return self.graft.task

    @property
    def classes(self) -> tuple[str, ...]:
        return self.graft.classes

    @property
    def backbone(self) -> Backbone:
        return self.graft.backbone

    @property
    def decisions(self) -> Decisions:
        """What it does with probabilities."""
        return recorded_decisions(self.record, "adapter")

    def prediction_recipe(self, device: str, batch_size: int = 16) -> Recipe:
        """How it predicts: in single precision where it was trained so, else as the device does best."""
        return prediction_recipe([self.record], device, batch_size)

    @undisturbed()
    def predict(
        self, inputs: Inputs, *, batch_size: int = 16, device: str = "auto", skip_unreadable: bool = False,
        outside: OutsideMode = "flag", abstain: float | None = None,
    ) -> pd.DataFrame:  # fmt: skip
        """One row for every input, in order: `path`, and of labels `prediction` and a probability for each class, of
        numbers `prediction`, of texts `text`. Recordings that the backbone cuts have the mean of their windows.

        inputs: a path or several, patterns as "new/*.png", tables; a DataFrame with a column `path`; a manifest, whose
        targets are not looked at. skip_unreadable: files that cannot be read have an `error` instead. outside: whether
        files unlike those of the training have the reason in a column `outside`, or count as unreadable. Where the run
        has an operating point, `decision` is the class that it decides for. abstain: a share, 0 to 1, of wrong sets of
        classes; `prediction_set` holds the classes that may be meant, `decision` is empty unless that is one.

        Raises UnreadableError that lists what is not there or cannot be read, SettingsError for an adapter of masks.
        """
        if self.task.output == "maps":
            raise SettingsError("masks are written into files: use segment(inputs, folder)")
        examples = find_inputs(inputs, self.backbone.domain)
        if not examples:
            raise SettingsError("nothing to predict: no input was given")
        check_abstain(abstain, {"this adapter": self.decisions})
        recipe = self.prediction_recipe(device, batch_size)
        runtime = start_runtime(recipe)
        runtime.place(self.graft).train(False)
        group = group_grafts(self.backbone, runtime,
                             [("", self.graft, self.record.get("seen") or {}, self.decisions)])  # fmt: skip
        found = predict_table([group], examples, recipe, named=False, skip_unreadable=skip_unreadable,
                              outside=outside, abstain=abstain)  # fmt: skip
        runtime.release(self.graft)
        return found.table

    @undisturbed()
    def segment(
        self, inputs: Inputs, out: str | Path, *, batch_size: int = 16, device: str = "auto",
        skip_unreadable: bool = False, outside: OutsideMode = "flag", file_format: str | None = None,
    ) -> pd.DataFrame:  # fmt: skip
        """Writes the predicted mask of every input into the folder `out`, each in the geometry of its image, and
        `segmentations.csv`, which is returned: `path`, `mask` and the size of every class. Arguments as of `predict`;
        batch_size counts patches. file_format: "dicom-seg" for DICOM segmentations of DICOM images.

        Raises OutputError where a mask would take the place of another file, UnreadableError, SettingsError for an
        adapter of something else than masks.
        """
        if self.task.output != "maps":
            raise SettingsError(f"this adapter predicts {self.record['target']!r}, which is no mask: use predict")
        examples = find_inputs(inputs, self.backbone.domain)
        return segment_examples(self.graft, examples, Path(out), self.prediction_recipe(device, batch_size),
                                training_summary=self.record.get("seen") or {}, skip_unreadable=skip_unreadable,
                                outside=outside, file_format=file_format)  # fmt: skip

    def save(self, folder: str | Path, evaluation: Evaluation | None = None) -> None:
        """Writes the three files; the card states the evaluation if there is one."""
        place = Path(folder)
        digest = write_tensors(place / WEIGHTS, self.graft.learnt())
        write_checked_json(place / RECORD, self.record | {LEARNT_DIGEST: digest})
        write_text(place / CARD, model_card(self.record, evaluation, self.backbone.domain))


def make_adapter(
    graft: Graft, manifest: Manifest, recipe: Recipe, proof: FreezingProof, best_epoch: int | None,
    computed: dict[str, Any], features: FeatureChoice | None = None,
) -> Adapter:  # fmt: skip
    """The adapter of a graft that has been trained on the manifest's rows. computed: a runtime's record. features:
    which stages the graft's backbone gives, where that is not the last one alone."""
    backbone = graft.backbone
    counted = {"all": sum(p.numel() for p in graft.parameters()),
               "trained": sum(p.numel() for p in graft.parameters() if p.requires_grad)}  # fmt: skip
    record = {
        "schema": SCHEMA,
        "backbone": {
            "id": backbone.id,
            "options": backbone.options,
            "weights": backbone.weights,
            "frozen_digest": proof.before,
        },
        "input": backbone.contract.to_json(),
        "strategy": str(graft.plan.strategy),
        **({} if features is None else {"features": features.to_json()}),
        "task": manifest.task.name,
        "target": manifest.target,
        "classes": list(manifest.classes),
        "parameters": counted,
        "training": {
            "recipe": {
                name: value for name, value in dataclasses.asdict(recipe).items() if name not in EXECUTION_FIELDS
            },
            "computed": computed,
            "rows": len(manifest),
            "groups": None if manifest.groups is None else len(set(manifest.groups)),
            "best_epoch": best_epoch,
            "frozen": dataclasses.asdict(proof),
        },
        "made_with": {
            "graftwork": version_of("graftwork"),
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
    return Adapter(graft, record)


@undisturbed()
def load_adapter(folder: str | Path, load_backbone: Callable[..., Backbone], weights: str | None = None) -> Adapter:
    """The adapter of that folder, or of `hub:OWNER/NAME[@REVISION]`, on its backbone, ready to predict.

    load_backbone: the domain's. weights: where the backbone's local weights are now, if they were local and
    have moved. Raises AdapterError if the folder is incomplete or of another version, or if the backbone's
    frozen weights are not those that the adapter was trained on; DownloadError if the hub cannot be reached.
    """
    place = adapter_folder(folder)
    record = _as_written(place, read_record(place))
    check_options(folder, record, load_backbone)
    return attach_adapter(place, record, load_recorded_backbone(place, record, load_backbone, weights))


def load_recorded_backbone(
    folder: str | Path, record: dict[str, Any], load_backbone: Callable[..., Backbone], weights: str | None
) -> Backbone:
    """The backbone that an adapter of this record stands on. Raises AdapterError where the file with its weights is no
    longer where it was, and what `load_backbone` raises."""
    about, source = record["backbone"], weights_source(record, weights)
    # One that was frozen at random weights is drawn again from the run's seed.
    seed_everything(recipe_of(Path(folder), record).seed)
    try:
        return load_backbone(about["id"], weights=source, **about["options"])
    except BackboneError as error:
        if weights is not None:
            raise
        raise AdapterError(f"{folder}: the backbone that it was trained on cannot be loaded ({error})") from error
    except UnreadableError as error:
        if weights is not None or source in (None, "random"):
            raise
        raise AdapterError(f"{folder}: the weights that it was trained on cannot be read ({error}): name their file "
                           "with --weights") from error  # fmt: skip


def check_options(folder: str | Path, record: dict[str, Any], load_backbone: Callable[..., Backbone]) -> None:
    """Raises AdapterError for the record of an adapter whose backbone `load_backbone` cannot load, as that of another
    domain."""
    about = record["backbone"]
    try:
        inspect.signature(load_backbone).bind(about["id"], weights=None, **about["options"])
    except TypeError as error:
        raise AdapterError(f"{folder}: its backbone {about['id']} has options that none has here ({error}): use the "
                           "command line that trained it") from error  # fmt: skip


def attach_adapter(folder: str | Path, record: dict[str, Any], backbone: Backbone) -> Adapter:
    """The adapter of that folder, whose record has been read, on this backbone, which is changed and kept.

    Raises AdapterError as `load_adapter` does.
    """
    place, about = Path(folder), record["backbone"]
    record = _as_written(place, record)
    try:
        tensors, _ = read_tensors(place / WEIGHTS, record.get(LEARNT_DIGEST))
        refuse_non_finite(tensors, "what was learnt")
    except (OSError, DamagedFileError, BackboneError) as error:
        raise AdapterError(f"{place / WEIGHTS}: cannot be read ({error})") from error
    if backbone.contract.to_json() != record["input"]:
        now = backbone.contract.to_json()
        changed = ", ".join(f"{name}: {record['input'].get(name)!r}, now {now.get(name)!r}"
                            for name in sorted(now.keys() | record["input"].keys())
                            if now.get(name) != record["input"].get(name))  # fmt: skip
        raise AdapterError(f"{folder}: {about['id']} now expects another input than the adapter was trained with "
                           f"({changed}); train it again")  # fmt: skip
    recipe = recipe_of(place, record)
    rows = len(tensors["head.vectors"]) if "head.vectors" in tensors else 0
    try:
        graft = make_graft(with_recorded_features(backbone, record), parse_strategy(record["strategy"]), recipe,
                           record["task"], tuple(record["classes"]), rows)  # fmt: skip
    except SettingsError as error:
        raise AdapterError(
            f"{place / RECORD}: is of no graft that can be made here ({error}); train it anew"
        ) from error
    found = whole_digest(graft.frozen_digests())
    if found != about["frozen_digest"]:
        raise AdapterError(
            f"{folder}: this adapter was trained on other weights of {about['id']} "
            f"(expected SHA-256 {about['frozen_digest'][:12]}…, found {found[:12]}…): "
            "name the right file with --weights"
        )
    recorded_decisions(record, folder)
    if backbone.domain.monitor is not None:
        try:
            backbone.domain.monitor(backbone.contract, {"": record.get("seen") or {}}, "flag")
        except ValueError as error:
            raise AdapterError(f"{place / RECORD}: seen: not what this version writes ({error}); train it "
                               "again") from error  # fmt: skip
    for value in graft.learnt().values():
        value.data = value.data.clone()  # the backbone may share its memory with others
    graft.restore(tensors)
    return Adapter(graft, {name: value for name, value in record.items() if name != LEARNT_DIGEST})


def with_recorded_features(backbone: Backbone, record: dict[str, Any]) -> Backbone:
    """The backbone as it gives the vectors that an adapter of this record was trained on. Raises AdapterError for
    features that it has not."""
    if record.get("features") is None:
        return backbone
    try:
        return with_features(backbone, choice_from_json(record["features"]))
    except (KeyError, TypeError) as error:
        raise AdapterError(f"features: {backbone.id} has not what this adapter was trained on ({error}); train it again"
                           ) from error  # fmt: skip


def _as_written(folder: Path, record: dict[str, Any]) -> dict[str, Any]:
    """The record without its digest. Raises AdapterError where it was changed by hand or damaged."""
    try:
        return as_written(record)
    except DamagedFileError as error:
        raise AdapterError(f"{folder / RECORD}: cannot be used: {error} (without that field, a change is taken as it "
                           "is)") from error  # fmt: skip
