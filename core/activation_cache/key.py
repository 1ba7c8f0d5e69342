"""What the output of frozen stages depends on, as one key: two keys agree only where the outputs do."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
import types
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from graftwork.core.compute.runtime import Runtime
from graftwork.core.model.backbone import Backbone, named_tensors
from graftwork.core.recipe import Recipe
from graftwork.core.tensor_files import digest
from graftwork.core.types import Augment
from graftwork.core.versions import version_of

KEY_LENGTH = 40
"""Hexadecimal digits of a key: short enough for a folder's name."""

LIBRARIES = (
    "torch", "torchvision", "torchaudio", "torchcodec", "timm", "monai", "numpy", "scipy", "pillow", "nibabel",
    "pydicom", "soundfile", "silero-vad", "transformers",
)  # fmt: skip
"""What reads files and computes outputs: of another version, these may differ."""

PACKAGE = "graftwork."

PASS_VERSION = 1
"""Of this package's own part in an output: how files are decoded, scaled, resampled and padded, what stages compute,
fold, pack and store, and how examples are changed at random. Raise it with every change after which the same file gives
other numbers, be it in the last digit that is kept; what was stored before is then computed anew. A test compares
outputs with those of this version."""


class UnknownIdentityError(Exception):
    """Something that an output depends on cannot be distinguished from something else of its kind."""


def frozen_stage_keys(
    backbone: Backbone,
    stop: int,
    runtime: Runtime,
    recipe: Recipe,
    augment: Augment | None,
) -> tuple[str, ...]:
    """Digests, for the first 0, 1, … `stop` stages, over everything, but the file, that their output depends on:
    weights, the settings and the code of the modules and stages, input contract, random change and seed, precision,
    dtype, kind of device and versions of the libraries that read and compute.

    Code is known by the file that it stands in, this package's by `PASS_VERSION`. Forward hooks are not looked at.
    Raises UnknownIdentityError for a stage, a contract or a random change that holds an object whose
    content cannot be told.
    """
    contract = backbone.contract
    tensors = named_tensors(backbone.network)
    weights = [digest({name: value for name, value in tensors.items() if stage.holds(name)})
               for stage in backbone.stages[:stop]]  # fmt: skip
    stages = [_identity(stage) for stage in backbone.stages[:stop]]
    modules = [(_first_stop(backbone, name, module), module, [name, *_class_and_settings(module)])
               for name, module in backbone.network.named_modules()]  # fmt: skip
    same = {
        "contract": [type(contract).__qualname__, contract.to_json()],
        "options": backbone.options,
        "pass": PASS_VERSION,
        "precision": runtime.precision,
        "dtype": recipe.cache_dtype,
        "augmentation": None if augment is None else [_identity(augment), recipe.seed],
        "device": [runtime.device.type, torch.get_float32_matmul_precision(), *_tf32(runtime.device)],
        "libraries": {name: version_of(name) for name in LIBRARIES},
    }
    keys = []
    for count in range(stop + 1):
        own = [(module, settings) for first, module, settings in modules if first <= count]
        sources = {type(one).__module__ for one in (*(module for module, _ in own), contract, backbone.network)}
        about = same | {
            "weights": weights[:count],
            "stages": stages[:count],
            "modules": [settings for _, settings in own],
            "sources": sorted({source for module in sources for source in _sources(module)}),
        }
        keys.append(hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:KEY_LENGTH])
    return tuple(keys)


def _tf32(device: torch.device) -> tuple[bool, ...]:
    """Whether a GPU rounds the factors of single-precision products to 10 bits: of matrices, of convolutions."""
    if device.type != "cuda":
        return ()
    return (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)


def _first_stop(backbone: Backbone, name: str, module: nn.Module) -> int:
    """How many of the first stages have to run until they may run this module: all up to the one that holds it, or the
    first of those that hold its tensors.

    Stages may own tensors in place of modules, and nobody owns an activation function.
    """
    tensors = [f"{name}.{tensor}" if name else tensor for tensor in module.state_dict(keep_vars=True)]
    by_tensors = min((_holder(backbone, tensor) for tensor in tensors), default=0)
    return max(_holder(backbone, name), by_tensors)


def _holder(backbone: Backbone, name: str) -> int:
    """Number of the stage that holds the name, counted from 1; 0 for none."""
    return next((number for number, stage in enumerate(backbone.stages, start=1) if stage.holds(name)), 0)


def _class_and_settings(module: nn.Module) -> tuple[str, dict[str, str]]:
    """A module's class and its plain attributes, such as strides, numbers of heads and epsilons."""
    settings = {
        name: repr(value)
        for name, value in vars(module).items()
        if name != "training" and not name.startswith("_") and _is_plain(value)
    }
    return f"{type(module).__module__}.{type(module).__qualname__}", settings | {"extra": module.extra_repr()}


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple | list | set | frozenset):
        return all(_is_plain(one) for one in value)
    return value is None or value is ... or isinstance(value, str | bytes | int | float | complex)


def _identity(value: Any) -> Any:
    """Plain values, equal only for values that do the same. Raises UnknownIdentityError where there are none."""
    if isinstance(value, set | frozenset) and _is_plain(value):
        return sorted(map(repr, value))
    if _is_plain(value):
        return repr(value)
    if isinstance(value, tuple | list):
        return [_identity(one) for one in value]
    if isinstance(value, Mapping):
        return [[_identity(key), _identity(one)] for key, one in value.items()]
    if isinstance(value, partial):
        return ["partial", _identity(value.func), _identity(value.args), _identity(value.keywords)]
    if isinstance(value, types.CodeType):
        constants = [_identity(one) for one in value.co_consts]
        return [value.co_name, value.co_code.hex(), list(value.co_names), constants]
    if isinstance(value, types.FunctionType):
        bound = [cell.cell_contents for cell in value.__closure__ or ()]
        defaults = [value.__defaults__, value.__kwdefaults__]
        return [value.__module__, value.__qualname__, *_sources(value.__module__), *map(_identity, defaults),
                _identity(value.__code__), _identity(bound)]  # fmt: skip
    if isinstance(value, types.MethodType):
        return ["method", _identity(value.__func__), _identity(value.__self__)]
    if isinstance(value, type | types.BuiltinFunctionType):
        return [value.__module__, value.__qualname__, *_sources(value.__module__ or "")]
    if isinstance(value, Tensor):
        return digest({"": value})
    if isinstance(value, np.ndarray) and value.dtype != object:
        return digest({"": torch.from_numpy(np.ascontiguousarray(value))})
    if dataclasses.is_dataclass(value):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return [_identity(type(value)), _identity(fields)]
    raise UnknownIdentityError(f"a {type(value).__module__}.{type(value).__qualname__}")


def _sources(module: str) -> list[str]:
    """The digest of the file that a Python module stands in; nothing for this package, whose version is in the key."""
    path = getattr(sys.modules.get(module), "__file__", None)
    return [] if path is None or module.startswith(PACKAGE) else [_digest_of_file(path)]


@cache
def _digest_of_file(path: str) -> str:
    """Once in a process: what is running is what was there when it was imported."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
