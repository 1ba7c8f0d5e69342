"""`adapter.json`: what it has to say, and what is asked of it before any network is loaded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import NoneType
from typing import Any

from graftwork.core.errors import AdapterError, SettingsError
from graftwork.core.files import refuse_special
from graftwork.core.recipe import Recipe
from graftwork.core.tasks import TASKS
from graftwork.core.versions import advice_on_schema

SCHEMA = 1
RECORD = "adapter.json"
FOLDS_KEPT = "folds_kept"
"""The field that says how many models of folds lie beside the adapter, in the run's folder."""


def read_record(folder: Path) -> dict[str, Any]:
    """The content of `adapter.json`, its digest included. Raises AdapterError if it is missing, incomplete, no JSON or
    of another schema."""
    try:
        refuse_special(folder / RECORD)
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise AdapterError(f"{folder}: no adapter here, {RECORD} is missing; train writes one into --out") from error
    except (ValueError, OSError, RecursionError) as error:
        raise AdapterError(f"{folder / RECORD}: cannot be read ({error})") from error
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        found = record.get("schema") if isinstance(record, dict) else None
        raise AdapterError(f"{folder / RECORD}: expected schema {SCHEMA}, found {found!r}: "
                           + advice_on_schema(found, SCHEMA, "train it anew"))  # fmt: skip
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


def recipe_of(folder: Path, record: dict[str, Any]) -> Recipe:
    """The recipe it was trained by. Raises AdapterError for one of another version."""
    try:
        # Decoders had one convolution a level before a recipe could say how many.
        return Recipe(**{"decoder_convolutions": 1} | record["training"]["recipe"])
    except (TypeError, SettingsError) as error:
        raise AdapterError(f"{folder / RECORD}: its recipe is not one of this version ({error})") from error


def prediction_recipe(records: Sequence[dict[str, Any]], device: str, batch_size: int) -> Recipe:
    """How adapters of these records predict together: in single precision where one of them was trained so."""
    asked = {record["training"]["recipe"].get("precision") for record in records}
    return Recipe(device=device, batch_size=batch_size, precision="fp32" if "fp32" in asked else "auto")


def weights_source(record: dict[str, Any], weights: str | None) -> str | None:
    """Where the backbone's weights come from: `weights` if given, else what the record says; "random" for a run that
    learnt every tensor and so carries them all."""
    if record["training"]["frozen"]["tensors"] == 0:
        return "random"
    return weights or record["backbone"]["weights"]
