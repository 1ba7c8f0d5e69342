"""The state of an unfinished run in one file without pickle: weights, best weights, optimiser, and where it stands."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from graftwork.core.errors import OutputError
from graftwork.core.files import DamagedFileError
from graftwork.core.tensor_files import read_tensors, write_tensors


class Learner(Protocol):
    """What is trained: it names the tensors that training may change, and takes them back."""

    def learnt(self) -> dict[str, Tensor]: ...

    def restore(self, tensors: Mapping[str, Tensor]) -> None: ...


NAME = "checkpoint.safetensors"
SCHEMA = 2


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
    """Replaces the folder's checkpoint. settings: what the run depends on; a resume must be given the same."""
    tensors = {f"now.{name}": value.detach() for name, value in graft.learnt().items()}
    tensors |= {f"best.{name}": value for name, value in best.items()}
    for name, parameter in _optimised(optimiser).items():
        for key, value in optimiser.state.get(parameter, {}).items():
            tensors[f"optimiser.{key}.{name}"] = torch.as_tensor(value)
    state = {"schema": SCHEMA, "settings": settings, "position": _state_json(progress),
             "scaler": scaler.state_dict()}  # fmt: skip
    write_tensors(folder / NAME, tensors, state, access="private")


def load_checkpoint(
    folder: Path,
    settings: dict[str, Any],
    graft: Learner,
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
) -> tuple[TrainingState, dict[str, Tensor]]:
    """Puts graft, optimiser and scaler back; returns where the run stood and the best weights so far.

    Raises OutputError if there is no checkpoint, if it is damaged, or if it belongs to a run with other settings.
    """
    path = folder / NAME
    try:
        tensors, state = read_tensors(path)
    except FileNotFoundError as error:
        raise OutputError(f"{folder}: nothing to resume, there is no {NAME}") from error
    except (DamagedFileError, OSError) as error:
        raise OutputError(f"{path}: cannot be read ({error}); delete it to begin this training anew") from error
    whole = isinstance(state, dict) and all(isinstance(state.get(name), dict) for name in ("settings", "position"))
    if not isinstance(state, dict) or state.get("schema") != SCHEMA:
        found = state.get("schema") if isinstance(state, dict) else None
        raise OutputError(
            f"{path}: schema {found!r}, this version reads {SCHEMA}; delete it to begin this training anew"
        )
    if not whole or state["position"].keys() != TrainingState.__dataclass_fields__.keys():
        raise OutputError(f"{path}: does not say where the run stood; delete it to begin this training anew")
    wanted = json.loads(json.dumps(settings))
    changed = sorted(key for key in wanted.keys() | state["settings"].keys()
                     if wanted.get(key) != state["settings"].get(key))  # fmt: skip
    if changed:
        raise OutputError(f"{path}: the interrupted run had another {', '.join(changed)}; resume with the same")
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
    (folder / NAME).unlink(missing_ok=True)


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
    return torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _state_json(progress: TrainingState) -> dict[str, Any]:
    fields = {name: getattr(progress, name) for name in TrainingState.__dataclass_fields__}
    # repr keeps infinities and every digit, which JSON does not promise.
    return fields | {
        "best_key": [repr(part) for part in progress.best_key],
        "history": list(progress.history),
    }
