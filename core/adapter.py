"""An adapter: what was learnt, what it was learnt on top of, and how. A folder of safetensors and JSON, no pickle."""

from __future__ import annotations

import dataclasses
import json
import platform
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from graftwork.core.backbone import Backbone
from graftwork.core.domain import Domain
from graftwork.core.errors import AdapterError
from graftwork.core.evaluation import Evaluation
from graftwork.core.files import whole_file, write_json, write_text
from graftwork.core.freezing import FreezingProof, whole_digest
from graftwork.core.graft import Graft, make_graft
from graftwork.core.manifest import Manifest, Task
from graftwork.core.recipe import PLACE, Recipe
from graftwork.core.runtime import seed_everything
from graftwork.core.strategies import parse_strategy

SCHEMA = 1
WEIGHTS, RECORD, CARD = "adapter.safetensors", "adapter.json", "README.md"


@dataclass(frozen=True)
class Adapter:
    """A trained graft and its record, which holds all that `adapter.json` says."""

    graft: Graft
    record: dict[str, Any]

    @property
    def task(self) -> Task:
        return cast(Task, self.record["task"])

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.record["classes"])

    @property
    def backbone(self) -> Backbone:
        return self.graft.stages

    def save(self, folder: str | Path, evaluation: Evaluation | None = None) -> None:
        """Writes the three files; the card states the evaluation if there is one."""
        place = Path(folder)
        tensors = {name: value.detach().cpu().contiguous().clone() for name, value in self.graft.learnt().items()}
        with whole_file(place / WEIGHTS) as beside:
            save_file(tensors, beside)
        write_json(place / RECORD, self.record)
        write_text(place / CARD, model_card(self.record, evaluation))


def make_adapter(
    graft: Graft, manifest: Manifest, recipe: Recipe, proof: FreezingProof, best_epoch: int | None
) -> Adapter:
    """The adapter of a graft that has been trained on the manifest's rows."""
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
        "task": manifest.task,
        "target": manifest.target,
        "classes": list(manifest.classes),
        "parameters": counted,
        "training": {
            "recipe": {name: value for name, value in dataclasses.asdict(recipe).items() if name not in PLACE},
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


def load_adapter(folder: str | Path, load_backbone: Callable[..., Backbone], weights: str | None = None) -> Adapter:
    """The adapter of that folder on its backbone, ready to predict.

    load_backbone: the domain's. weights: where the backbone's local weights are now, if they were local and
    have moved. Raises AdapterError if the folder is incomplete or of another version, or if the backbone's
    frozen weights are not those that the adapter was trained on.
    """
    record = read_record(Path(folder))
    # A backbone that was frozen at random weights is drawn again from the run's seed.
    seed_everything(record["training"]["recipe"]["seed"])
    about = record["backbone"]
    backbone = load_backbone(about["id"], weights=weights_source(record, weights), **about["options"])
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
    try:
        tensors = load_file(place / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise AdapterError(f"{place / WEIGHTS}: cannot be read ({error})") from error
    if backbone.contract.to_json() != record["input"]:
        now = backbone.contract.to_json()
        changed = ", ".join(f"{name}: {record['input'].get(name)!r}, now {now.get(name)!r}"
                            for name in sorted(now.keys() | record["input"].keys())
                            if now.get(name) != record["input"].get(name))  # fmt: skip
        raise AdapterError(f"{folder}: {about['id']} now expects another input than the adapter was trained with "
                           f"({changed}); train it again")  # fmt: skip
    recipe = Recipe(**record["training"]["recipe"])
    rows = len(tensors["head.vectors"]) if "head.vectors" in tensors else 0
    graft = make_graft(backbone, parse_strategy(record["strategy"]), recipe, record["task"], tuple(record["classes"]),
                       rows)  # fmt: skip
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
    return Adapter(graft, record)


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


def read_record(folder: Path) -> dict[str, Any]:
    """The content of `adapter.json`. Raises AdapterError if it is missing, broken or of another schema."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise AdapterError(f"{folder}: no adapter here, {RECORD} is missing; train writes one into --out") from error
    except (ValueError, OSError) as error:
        raise AdapterError(f"{folder / RECORD}: cannot be read ({error})") from error
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        found = record.get("schema") if isinstance(record, dict) else None
        raise AdapterError(f"{folder / RECORD}: expected schema {SCHEMA}, found {found!r}: train it anew")
    missing = sorted({"backbone", "input", "strategy", "task", "target", "classes", "training"} - record.keys())
    if missing:
        raise AdapterError(f"{folder / RECORD}: incomplete, there is no {', '.join(missing)}: train it anew")
    return record


def model_card(record: dict[str, Any], evaluation: Evaluation | None) -> str:
    """A Markdown card: what the adapter is for, what it was made from, what it is worth."""
    about, training = record["backbone"], record["training"]
    classes = ", ".join(record["classes"]) or "a number"
    parameters = record["parameters"]
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


def version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
