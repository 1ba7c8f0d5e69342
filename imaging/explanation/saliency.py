"""Where in a scan an adapter finds what it says: Grad-CAM on the stages of its backbone, for images and volumes."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graftwork.core.errors import SettingsError
from graftwork.core.example import Named
from graftwork.core.inference.adapter import Adapter
from graftwork.core.model.backbone import Stage
from graftwork.core.model.graft import Graft
from graftwork.core.tasks import Task
from graftwork.core.types import Features
from graftwork.imaging.backbones.slicewise import is_slicewise
from graftwork.imaging.preprocessing.contract import ImageContract
from graftwork.imaging.scan import Scan

log = logging.getLogger(__name__)

FINE_ENOUGH = 4
"""Cells along each axis that a map must have, where a stage has one: at small image sizes the last maps of a network
are of one or two cells, which say nothing about a place."""

PREFIX_TOKENS = 8
"""So many tokens without a place (class, distillation, registers) may stand before those of the patches."""


@dataclass(frozen=True, eq=False)
class Saliency:
    """What in a scan raises one output of an adapter.

    scan: as it was read, in its own size. values: (*scan.spatial_shape), float32, 0 to 1 at the strongest place; all
    zeros where no place raises the output. output: the class, the label or the name of the number. prediction: its
    probability, or the number. stage: whose map it is.
    """

    scan: Scan
    values: NDArray[np.float32]
    output: str
    prediction: float
    stage: str

    @property
    def strongest(self) -> tuple[int, ...]:
        """Index of the strongest place, in the order of `values`."""
        return tuple(int(place) for place in np.unravel_index(int(self.values.argmax()), self.values.shape))


def explain(adapter: Adapter, named: Named, *, output: str | None = None, stage: str | None = None) -> Saliency:
    """Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391) of a scan, on the device that the adapter is on.

    output: a class or label, by default the most probable one; a number has none to choose. Of classes that exclude
    each other the log-odds are explained, of labels the logit, else the number itself: what raises it is shown.
    stage: by default the last one whose map has four cells or more along each axis, else the last that has a map; of
    Transformers, the patches' tokens are the map.

    Raises what the contract's `read` raises, and SettingsError for an output or stage that there is not, and for
    backbones without maps.
    """
    graft, contract = adapter.graft, cast(ImageContract, adapter.backbone.contract)
    if adapter.task.output == "maps":
        raise SettingsError("explain: masks say themselves where they are; it is for labels and numbers")
    index = None if output is None else _output_index(adapter, output)
    scan, example = contract.scan(named), contract.read(named)
    graft.train(False)
    device = next(graft.parameters()).device
    batch = contract.collate([example]).to(device)
    with torch.no_grad():
        outputs, maps = _maps(graft, batch, contract)
    chances = adapter.task.probabilities(outputs.double())[0]
    if index is None:
        index = _predicted(adapter, chances)
    candidates = _candidates(graft, maps, stage)
    for number in candidates:
        # A Transformer's head may look at the class token alone, to which the last tokens of patches say nothing.
        found = _grad_cam(graft, number, maps[number], index, adapter.task, contract)
        if float(found.abs().max()) > 0:
            break
    else:
        number = candidates[0]
    values = contract.onto_scan(_upsampled(found.clamp_min(0).cpu(), contract), scan)[0].numpy()
    peak = float(values.max())
    name = adapter.classes[index] if adapter.classes else str(adapter.record["target"])
    if peak <= 0:
        log.warning("%s: no place raises %s", named, name)
    shown = np.ascontiguousarray(values / peak if peak > 0 else values, dtype=np.float32)
    return Saliency(scan, shown, name, float(chances[index]), graft.backbone.stages[number].name)


def _predicted(adapter: Adapter, chances: Tensor) -> int:
    """The class that is predicted, or the label that is likeliest."""
    if not adapter.task.one_class:
        return int(chances.argmax())
    columns = adapter.task.prediction_columns(chances[None].cpu().numpy(), adapter.classes)
    return adapter.classes.index(columns["prediction"][0])


def _output_index(adapter: Adapter, output: str) -> int:
    if not adapter.classes:
        raise SettingsError(f"{adapter.record['target']!r} is a number: there is no class {output!r} to explain")
    if output not in adapter.classes:
        raise SettingsError(f"there is no class {output!r}; there are {', '.join(adapter.classes)}")
    return adapter.classes.index(output)


def _maps(graft: Graft, batch: Features, contract: ImageContract) -> tuple[Tensor, dict[int, Features]]:
    """The head's outputs (1, outputs), and what each stage gives that has places, by its number."""
    found, features = {}, batch
    for number, stage in enumerate(graft.backbone.stages):
        features = stage.run(graft.network, features)
        # Modules that work in place would change what is kept here.
        features = replace(features, values=features.values.clone())
        if _cells(stage, features.values, contract) is not None:
            found[number] = features
    return cast(Tensor, graft.head(features.values)), found


def _cells(stage: Stage, values: Tensor, contract: ImageContract) -> Tensor | None:
    """What a stage gave for one scan as (channels, *cells); None where it has no places."""
    dims = contract.spatial_dims
    if is_slicewise(stage):
        of_slices = _cells_of(values[0], stage, 2, contract.size[1:])
        return None if of_slices is None else of_slices.movedim(1, 0)
    own = _cells_of(values, stage, dims, contract.size)
    return None if own is None else own[0]


def _cells_of(values: Tensor, stage: Stage, dims: int, size: tuple[int, ...]) -> Tensor | None:
    """(batch, channels, *cells) of maps, or of tokens (batch, tokens, channels), whose number gives their grid."""
    if values.dim() == 2 + dims:
        return values.movedim(-1, 1) if stage.channel_axis == -1 else values
    if values.dim() != 3 or len(set(size)) > 1:
        return None
    tokens = values.shape[1]
    side = int(tokens ** (1 / dims) + 1e-6)
    if tokens - side**dims > PREFIX_TOKENS or size[0] % side:
        return None
    placed = values[:, tokens - side**dims :].movedim(1, 2)
    return placed.reshape(*placed.shape[:2], *(side,) * dims)


def _candidates(graft: Graft, maps: dict[int, Features], stage: str | None) -> list[int]:
    """Numbers of the stages whose map may be shown, the best first."""
    contract = cast(ImageContract, graft.backbone.contract)
    stages = graft.backbone.stages
    if not maps:
        listed = ", ".join(one.name for one in stages)
        raise SettingsError(f"{graft.backbone.id} has no stage with a map, only {listed}: "
                            "what it sees cannot be told by place; give backbone_from_module its stages")  # fmt: skip
    if stage is not None:
        named = [number for number in maps if stages[number].name == stage]
        if not named:
            listed = ", ".join(stages[number].name for number in maps)
            raise SettingsError(f"{graft.backbone.id} has no map in a stage {stage!r}; there are maps in {listed}")
        return named
    fine = [number for number, features in maps.items()
            if min(_shape(stages[number], features, contract)) >= FINE_ENOUGH]  # fmt: skip
    return sorted(fine, reverse=True) or [max(maps)]


def _shape(stage: Stage, features: Features, contract: ImageContract) -> tuple[int, ...]:
    return tuple(cast(Tensor, _cells(stage, features.values, contract)).shape[1:])


def _grad_cam(graft: Graft, number: int, features: Features, index: int, task: Task, contract: ImageContract) -> Tensor:
    """(1, *cells): the stage's channels, each weighted by the mean gradient of the output over its places."""
    stage = graft.backbone.stages[number]
    with torch.enable_grad():
        values = features.values.detach().clone().requires_grad_()
        # A copy, as the next module may work in place, which is not for what gradients are asked of.
        outputs = graft.head(graft.backbone.run(replace(features, values=values.clone()), number + 1).values)[0].float()
        raised = task.log_odds(outputs, index)
        gradient = None
        if raised.requires_grad:
            (gradient,) = torch.autograd.grad(raised, values, allow_unused=True)
    slopes = cast(Tensor, _cells(stage, torch.zeros_like(values) if gradient is None else gradient, contract))
    cells = cast(Tensor, _cells(stage, values.detach(), contract))
    weights = slopes.flatten(1).mean(1).reshape(-1, *[1] * (cells.dim() - 1))
    return (weights * cells).sum(0, keepdim=True)


def _upsampled(cells: Tensor, contract: ImageContract) -> Tensor:
    """(1, *contract.size), linear between the cells' centres."""
    mode = "bilinear" if contract.spatial_dims == 2 else "trilinear"
    return torch.nn.functional.interpolate(cells[None].float(), size=contract.size, mode=mode)[0]
