"""The state of an unfinished run in a file without pickle: weights, best weights, optimiser, and where it stands. The
last two are kept."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from graftwork.core.compute.runtime import is_first
from graftwork.core.compute.shards import fill, whole
from graftwork.core.errors import OutputError
from graftwork.core.files import DamagedFileError
from graftwork.core.tensor_files import read_tensors, write_tensors
from graftwork.core.versions import advice_on_schema

log = logging.getLogger(__name__)


class Learner(Protocol):
    """What is trained: it names the tensors that training may change, and takes them back."""

    def learnt(self) -> dict[str, Tensor]: ...

    def restore(self, tensors: Mapping[str, Tensor]) -> None: ...


NAME = "checkpoint.safetensors"
BEFORE = "checkpoint-before.safetensors"
"""The one before, which is used where the newest is damaged or was never finished."""

SCHEMA = 2
COST = 0.02
"""Share of the time that checkpoints at the ends of epochs may take."""


@dataclass(frozen=True)
class TrainingState:
    """Where a run stands.

    epoch, batch: the next batch to train on. update: updates made so far. loss_sum, loss_weight: of the
    epoch so far. best_epoch: -1 before the first validation. best_key: what epochs are compared by.
    stale: epochs since then. history: rows of the finished epochs. pieces: in how many a batch goes through the
    network, more than one where it does not fit in the device's memory.
    """

    epoch: int = 0
    batch: int = 0
    update: int = 0
    loss_sum: float = 0.0
    loss_weight: float = 0.0
    best_epoch: int = -1
    best_key: tuple[float, float] = (float("-inf"), float("-inf"))
    stale: int = 0
    history: tuple[dict[str, float | None], ...] = ()
    pieces: int = 1


def save_checkpoint(
    folder: Path,
    settings: dict[str, Any],
    progress: TrainingState,
    graft: Learner,
    best: dict[str, Tensor],
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
) -> None:
    """Writes the folder's newest checkpoint; the newest so far becomes the one before. settings: what the run depends
    on; a resume must be given the same. Where tensors are in parts all processes call it, and the first one writes."""
    tensors: dict[str, Tensor] = {f"now.{name}": value.detach() for name, value in graft.learnt().items()}
    tensors |= {f"best.{name}": value for name, value in best.items()}
    for name, parameter in _optimised(optimiser).items():
        for key, value in optimiser.state.get(parameter, {}).items():
            tensors[f"optimiser.{key}.{name}"] = torch.as_tensor(value)
    for name, value in tensors.items():
        gathered = whole(value)
        if is_first():
            tensors[name] = gathered
    if not is_first():
        return
    state = {"schema": SCHEMA, "settings": settings, "position": _state_json(progress),
             "scaler": scaler.state_dict()}  # fmt: skip
    if (folder / NAME).exists():
        os.replace(folder / NAME, folder / BEFORE)
    write_tensors(folder / NAME, tensors, state, access="private")


class CheckpointClock:
    """When the next checkpoint is due: so many seconds after the last one, at any update; at the end of an epoch also
    sooner, as soon as the last one, as long as it took, is no more than `COST` of the time."""

    def __init__(self, every_seconds: float) -> None:
        self._every, self._last, self._took = every_seconds, time.monotonic(), 0.0

    def due(self, *, epoch_ends: bool = False) -> bool:
        passed = time.monotonic() - self._last
        return passed >= self._every or (epoch_ends and passed * COST >= self._took)

    def saved(self, began: float) -> None:
        """A checkpoint that was begun at this `time.monotonic()` is written."""
        self._last = time.monotonic()
        self._took = self._last - began


def has_checkpoint(folder: Path) -> bool:
    """Whether an unfinished run is kept in this folder."""
    return (folder / NAME).exists() or (folder / BEFORE).exists()


def load_checkpoint(
    folder: Path,
    settings: dict[str, Any],
    graft: Learner,
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
) -> tuple[TrainingState, dict[str, Tensor]]:
    """Puts graft, optimiser and scaler back; returns where the run stood and the best weights so far.

    A damaged newest checkpoint is removed with a message, and the one before is used. Raises OutputError if there is no
    checkpoint, if all are damaged, or if it belongs to a run with other settings or to another version.
    """
    path, tensors, state = _newest(folder)
    wanted = json.loads(json.dumps(settings))
    changed = sorted(key for key in wanted.keys() | state["settings"].keys()
                     if wanted.get(key) != state["settings"].get(key))  # fmt: skip
    if changed:
        raise OutputError(f"{path}: the interrupted run had another {', '.join(changed)}; resume with the same, or "
                          "begin anew with --restart")  # fmt: skip
    graft.restore(_under(tensors, "now."))
    slots = _under(tensors, "optimiser.")
    for name, parameter in _optimised(optimiser).items():
        own = {key.removesuffix(f".{name}"): value for key, value in slots.items() if key.endswith(f".{name}")}
        own = {key: value for key, value in own.items() if "." not in key}
        if own:
            optimiser.state[parameter] = {key: _as_begun(key, value, parameter) for key, value in own.items()}
    if scaler.is_enabled() and state["scaler"]:  # a run that was begun in another precision has none
        scaler.load_state_dict(state["scaler"])
    saved = state["position"]
    progress = TrainingState(**saved | {"best_key": tuple(float(part) for part in saved["best_key"]),
                                   "history": tuple(saved["history"])})  # fmt: skip
    return progress, _under(tensors, "best.")


def remove_checkpoint(folder: Path) -> None:
    """The run is finished; what it learnt is in its adapter."""
    for name in (NAME, BEFORE):
        (folder / name).unlink(missing_ok=True)


def _newest(folder: Path) -> tuple[Path, dict[str, Tensor], dict[str, Any]]:
    """Path, tensors and state of the newest checkpoint that is as it was written."""
    paths = [folder / name for name in (NAME, BEFORE) if (folder / name).exists()]
    if not paths:
        raise OutputError(f"{folder}: nothing to resume, there is no {NAME}")
    for path in paths:
        try:
            return path, *_read(path)
        except (DamagedFileError, OSError) as error:
            if path == paths[-1]:
                raise OutputError(f"{path}: cannot be read ({error}); delete it to begin this training anew") from error
            if is_first():
                log.warning("%s: cannot be read (%s); the checkpoint before it is used", path, error)
                path.unlink(missing_ok=True)  # lest it take the place of the one that is whole
    raise AssertionError


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Raises DamagedFileError, and OutputError for another version's."""
    tensors, state = read_tensors(path)
    if not isinstance(state, dict):
        raise DamagedFileError("it does not say where the run stood")
    schema = state.get("schema")
    if schema != SCHEMA:
        raise OutputError(f"{path}: schema {schema!r}, this version reads {SCHEMA}; "
                          + advice_on_schema(schema, SCHEMA, "delete it to begin this training anew"))  # fmt: skip
    whole = all(isinstance(state.get(name), dict) for name in ("settings", "position", "scaler"))
    if not whole or not _is_position(state["position"]):
        raise DamagedFileError("it does not say where the run stood")
    return tensors, state


def _is_position(saved: dict[str, Any]) -> bool:
    """Whether this is what `_state_json` gives."""
    begun = _state_json(TrainingState())
    if saved.keys() != begun.keys() or any(type(saved[name]) is not type(begun[name]) for name in begun):
        return False
    try:
        ranked = len([float(part) for part in saved["best_key"]]) == 2
    except (TypeError, ValueError):
        return False
    return ranked and all(
        isinstance(row, dict) and row and all(value is None or isinstance(value, int | float) for value in row.values())
        for row in saved["history"]
    )


def _optimised(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {name: parameter for group in optimiser.param_groups
            for name, parameter in zip(group["tensors"], group["params"], strict=True)}  # fmt: skip


def _as_begun(key: str, value: Tensor, parameter: Tensor) -> Tensor:
    """A slot of the optimiser as the optimiser itself would have made it.

    The fused kernels walk through memory: a moment has to lie there in the order of its parameter, which is not that
    of the file where filters are channels-last.
    """
    if key == "step":
        return value if not parameter.is_cuda else value.to(parameter.device)
    made = torch.zeros_like(parameter, dtype=value.dtype)
    fill(made, value)
    return made


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _state_json(progress: TrainingState) -> dict[str, Any]:
    fields = {name: getattr(progress, name) for name in TrainingState.__dataclass_fields__}
    # repr keeps infinities and every digit, which JSON does not promise.
    return fields | {
        "best_key": [repr(part) for part in progress.best_key],
        "history": list(progress.history),
    }
