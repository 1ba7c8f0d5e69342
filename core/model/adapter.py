"""An adapter: what was learnt, what it was learnt on top of, and how. A folder of safetensors and JSON, no pickle."""

from __future__ import annotations

import dataclasses
import inspect
import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any

import torch

from graftwork.core.compute.global_state import undisturbed
from graftwork.core.compute.runtime import seed_everything
from graftwork.core.data.manifest import Manifest
from graftwork.core.domain import Domain
from graftwork.core.errors import AdapterError, BackboneError, SettingsError
from graftwork.core.files import DamagedFileError, as_written, write_checked_json, write_text
from graftwork.core.model.backbone import Backbone, refuse_non_finite
from graftwork.core.model.freezing_proof import FreezingProof, whole_digest
from graftwork.core.model.graft import Graft, make_graft
from graftwork.core.model.strategies import parse_strategy
from graftwork.core.recipe import EXECUTION_FIELDS, Recipe
from graftwork.core.tasks import TASKS, Task, find_task
from graftwork.core.tensor_files import read_tensors, write_tensors
from graftwork.core.versions import version_of

if TYPE_CHECKING:
    from graftwork.core.evaluation.evaluation import Evaluation

SCHEMA = 1
WEIGHTS, RECORD, CARD = "adapter.safetensors", "adapter.json", "README.md"
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
        return find_task(self.record["task"])

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.record["classes"])

    @property
    def backbone(self) -> Backbone:
        return self.graft.stages

    def prediction_recipe(self, device: str, batch_size: int = 16) -> Recipe:
        """How it predicts: in single precision where it was trained so, else as the device does best."""
        return prediction_recipe([self.record], device, batch_size)

    def save(self, folder: str | Path, evaluation: Evaluation | None = None) -> None:
        """Writes the three files; the card states the evaluation if there is one."""
        place = Path(folder)
        digest = write_tensors(place / WEIGHTS, self.graft.learnt())
        write_checked_json(place / RECORD, self.record | {LEARNT_DIGEST: digest})
        write_text(place / CARD, model_card(self.record, evaluation))


def prediction_recipe(records: Sequence[dict[str, Any]], device: str, batch_size: int) -> Recipe:
    """How adapters of these records predict together: in single precision where one of them was trained so."""
    asked = {record["training"]["recipe"].get("precision") for record in records}
    return Recipe(device=device, batch_size=batch_size, precision="fp32" if "fp32" in asked else "auto")


def make_adapter(
    graft: Graft, manifest: Manifest, recipe: Recipe, proof: FreezingProof, best_epoch: int | None,
    computed: dict[str, Any],
) -> Adapter:  # fmt: skip
    """The adapter of a graft that has been trained on the manifest's rows. computed: a runtime's record."""
    backbone = graft.stages
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
    """The adapter of that folder on its backbone, ready to predict.

    load_backbone: the domain's. weights: where the backbone's local weights are now, if they were local and
    have moved. Raises AdapterError if the folder is incomplete or of another version, or if the backbone's
    frozen weights are not those that the adapter was trained on.
    """
    record = _as_written(Path(folder), read_record(Path(folder)))
    about, options = record["backbone"], record["backbone"]["options"]
    try:
        inspect.signature(load_backbone).bind(about["id"], weights=None, **options)
    except TypeError as error:
        raise AdapterError(f"{Path(folder) / RECORD}: no backbone has its options ({error})") from error
    # A backbone that was frozen at random weights is drawn again from the run's seed.
    seed_everything(recipe_of(Path(folder), record).seed)
    backbone = load_backbone(about["id"], weights=weights_source(record, weights), **options)
    return attach_adapter(folder, record, backbone)


def weights_source(record: dict[str, Any], weights: str | None) -> str | None:
    """Where the backbone's weights come from: `weights` if given, else what the record says; "random" for a run that
    learnt every tensor and so carries them all."""
    if record["training"]["frozen"]["tensors"] == 0:
        return "random"
    return weights or record["backbone"]["weights"]


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
    graft = make_graft(backbone, parse_strategy(record["strategy"]), recipe, record["task"],
                       tuple(record["classes"]), rows)  # fmt: skip
    found = whole_digest(graft.frozen_digests())
    if found != about["frozen_digest"]:
        raise AdapterError(
            f"{folder}: this adapter was trained on other weights of {about['id']} "
            f"(expected SHA-256 {about['frozen_digest'][:12]}…, found {found[:12]}…): "
            "name the right file with --weights"
        )
    for value in graft.learnt().values():
        value.data = value.data.clone()  # the backbone may share its memory with others
    graft.restore(tensors)
    return Adapter(graft, {name: value for name, value in record.items() if name != LEARNT_DIGEST})


def open_adapter(folder: str | Path, domain: Domain, weights: str | None = None) -> Adapter:
    """The adapter of that folder on a backbone of that domain; see `load_adapter`.

    Raises AdapterError also for an adapter of the other domain.
    """
    check_domain(folder, read_record(Path(folder)), domain)
    return load_adapter(folder, domain.load_backbone, weights)


def check_domain(folder: str | Path, record: dict[str, Any], domain: Domain) -> None:
    """Raises AdapterError for the record of an adapter of the other domain."""
    about = record["backbone"]
    if about["options"].keys() - {parameter.name for parameter in domain.parameters}:
        raise AdapterError(f"{folder}: its backbone {about['id']} is not for {domain.name}: use what trained it")


def recipe_of(folder: Path, record: dict[str, Any]) -> Recipe:
    """The recipe it was trained by. Raises AdapterError for one of another version."""
    try:
        return Recipe(**record["training"]["recipe"])
    except (TypeError, SettingsError) as error:
        raise AdapterError(f"{folder / RECORD}: its recipe is not one of this version ({error})") from error


def _as_written(folder: Path, record: dict[str, Any]) -> dict[str, Any]:
    """The record without its digest. Raises AdapterError where it was changed by hand or damaged."""
    try:
        return as_written(record)
    except DamagedFileError as error:
        raise AdapterError(f"{folder / RECORD}: cannot be used: {error} (without that field, a change is taken as it "
                           "is)") from error  # fmt: skip


def read_record(folder: Path) -> dict[str, Any]:
    """The content of `adapter.json`, its digest included. Raises AdapterError if it is missing, incomplete, no JSON or
    of another schema."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise AdapterError(f"{folder}: no adapter here, {RECORD} is missing; train writes one into --out") from error
    except (ValueError, OSError, RecursionError) as error:
        raise AdapterError(f"{folder / RECORD}: cannot be read ({error})") from error
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        found = record.get("schema") if isinstance(record, dict) else None
        raise AdapterError(f"{folder / RECORD}: expected schema {SCHEMA}, found {found!r}: train it anew")
    missing = sorted(FIELDS.keys() - record.keys())
    if missing:
        raise AdapterError(f"{folder / RECORD}: incomplete, there is no {', '.join(missing)}: train it anew")
    wrong = _wrong_fields(record, FIELDS)
    if wrong:
        raise AdapterError(f"{folder / RECORD}: of another kind than expected: {', '.join(wrong)}: train it anew")
    return record


FIELDS: dict[str, Any] = {
    "backbone": {"id": str, "options": dict, "weights": (str, NoneType), "frozen_digest": str},
    "input": dict,
    "strategy": str,
    "task": tuple(task.name for task in TASKS),
    "target": str,
    "classes": [str],
    "parameters": {"all": int, "trained": int},
    "training": {"recipe": {"seed": int}, "rows": int, "groups": (int, NoneType), "frozen": {"tensors": int}},
    "made_with": {"graftwork": str, "torch": str},
}
"""The fields of a record that are relied on: their types, the values that they may have, or fields of their own."""


def _wrong_fields(record: Any, expected: Any, name: str = "") -> list[str]:
    """Names of the fields that are missing, or are not what is expected."""
    if isinstance(expected, dict):
        if not isinstance(record, dict):
            return [name]
        inner = [(f"{name}.{field}" if name else field, field) for field in expected]
        return [wrong for path, field in inner for wrong in _wrong_fields(record.get(field), expected[field], path)]
    if isinstance(expected, list):
        right = isinstance(record, list) and all(isinstance(one, expected[0]) for one in record)
    elif isinstance(expected, tuple) and all(isinstance(one, str) for one in expected):
        right = record in expected
    else:
        right = isinstance(record, expected)
    return [] if right else [name]


def model_card(record: dict[str, Any], evaluation: Evaluation | None) -> str:
    """A Markdown card: what the adapter is for, what it was made from, what it is worth."""
    about, training = record["backbone"], record["training"]
    classes = ", ".join(record["classes"]) or "a number"
    parameters, computed = record["parameters"], training.get("computed")  # earlier versions did not say it
    lines = [
        f"# {record['target']} on {about['id']}",
        "",
        f"Predicts `{record['target']}` ({record['task']}: {classes}).",
        "",
        "| | |",
        "|---|---|",
        f"| backbone | `{about['id']}`, frozen part SHA-256 `{about['frozen_digest'][:16]}…` |",
        f"| strategy | `{record['strategy']}` |",
        f"| trained | {parameters['trained']:,} of {parameters['all']:,} parameters |",
        f"| training rows | {training['rows']}"
        + (f" in {training['groups']} groups |" if training["groups"] else " |"),
        f"| input | `{json.dumps(record['input'], sort_keys=True)}` |",
        *([f"| computed on | {computed['device']}, {computed['precision']} |"] if computed else []),
        f"| made with | graftwork {record['made_with']['graftwork']}, torch {record['made_with']['torch']} |",
        "",
    ]
    if evaluation is None:
        lines += ["It has not been evaluated.", ""]
    else:
        lines += ["## What it is worth", "", "```", str(evaluation), "```", ""]
    lines += [
        "## Limits",
        "",
        "Numbers hold for data like that of the evaluation. Not a medical device; check on your own data first.",
        "",
    ]
    return "\n".join(lines)
