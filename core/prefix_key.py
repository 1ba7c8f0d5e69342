"""What the output of frozen stages depends on, as one key: two keys agree only where the outputs do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from graftwork.core.backbone import Backbone, digest, named_tensors
from graftwork.core.domain import Augment
from graftwork.core.recipe import Recipe
from graftwork.core.runtime import Runtime


def stage_digests(backbone: Backbone) -> tuple[str, ...]:
    """SHA-256 of the weights and buffers of every stage."""
    tensors = named_tensors(backbone.network)
    return tuple(
        digest({name: value for name, value in tensors.items() if stage.holds(name)}) for stage in backbone.stages
    )


def prefix_key(
    backbone: Backbone, stop: int, runtime: Runtime, recipe: Recipe, augment: Augment | None,
    digests: Sequence[str] | None = None,
) -> str:  # fmt: skip
    """SHA-256 over everything, but the file, that the output of the first `stop` stages depends on.

    digests: those of the stages, where they are known already.
    """
    stages = backbone.stages[:stop]
    about = {
        "weights": list(stage_digests(backbone)[:stop] if digests is None else digests[:stop]),
        "stages": [(stage.name, stage.owns, _code(stage.run)) for stage in stages],
        "modules": [
            (name, repr(module) if not list(module.children()) else "", _code(type(module).forward))
            for name, module in backbone.network.named_modules()
            if any(stage.holds(name) for stage in stages)
        ],
        "network": _code(type(backbone.network).forward),
        "contract": [type(backbone.contract).__qualname__, backbone.contract.to_json()],
        "options": backbone.options,
        "precision": runtime.precision,
        "dtype": recipe.cache_dtype,
        "augmentation": None if augment is None else [_code(augment), recipe.seed],
        "versions": [_version("graftwork"), torch.__version__],
    }
    return hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()


def _code(function: Any) -> Any:
    """What a function does, as far as that can be told: its name, its byte code, and what a partial has bound."""
    if isinstance(function, partial):
        return [_code(function.func), [_plain(part) for part in function.args],
                {name: _plain(part) for name, part in function.keywords.items()}]  # fmt: skip
    code = getattr(function, "__code__", None)
    known = [getattr(function, "__module__", ""), getattr(function, "__qualname__", type(function).__qualname__)]
    if code is None:
        return known
    constants = [str(one) for one in code.co_consts if isinstance(one, (str, int, float, tuple, type(None)))]
    bound = [_plain(cell.cell_contents) for cell in getattr(function, "__closure__", None) or ()]
    return [*known, code.co_code.hex(), code.co_names, constants, bound]


def _plain(value: Any) -> Any:
    if isinstance(value, Callable):  # type: ignore[arg-type]
        return _code(value)
    run = getattr(value, "run", None)
    if run is not None:  # a stage inside a stage
        return [value.name, _code(run)]
    return repr(value) if isinstance(value, (str, int, float, bool, tuple, list, type(None))) else type(value).__name__


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
