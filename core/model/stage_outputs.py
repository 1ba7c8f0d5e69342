"""The pooled outputs of all stages of a backbone side by side, from one run, and vectors that are made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from graftwork.core.model.backbone import Backbone, Stage
from graftwork.core.types import Features, padding_mask

Pooling = Literal["mean", "mean+std"]

EVERY_STAGE, CHOSEN = "every stage", "features"
"""Names of the two stages that are put behind a backbone's own: all pooled outputs, and what is made of them."""

VARIANCE_FLOOR = 1e-8
"""Added under the root, for a finite gradient where a channel does not vary."""


@dataclass(frozen=True)
class StageOutput:
    """Where the pooled output of a stage lies in the vector of all: its mean in the columns from `start`, `width` of
    them, and behind these, of sequences, as many of the standard deviation. shape: without batch, of a blank example.
    """

    stage: str
    start: int
    width: int
    shape: tuple[int, ...]

    @property
    def sequence(self) -> bool:
        return len(self.shape) == 2

    @property
    def poolings(self) -> tuple[Pooling, ...]:
        """How it can be pooled."""
        return ("mean", "mean+std") if self.sequence else ("mean",)

    @property
    def whole(self) -> slice:
        """All its columns."""
        return self.columns(self.poolings[-1])

    def columns(self, pooling: Pooling) -> slice:
        return slice(self.start, self.start + self.width * (1 if pooling == "mean" else 2))


@dataclass(frozen=True)
class Part:
    """A stage's pooled output, and what it is multiplied by."""

    stage: str
    pooling: Pooling = "mean"
    scale: float = 1.0

    def __str__(self) -> str:
        return self.stage if self.pooling == "mean" else f"{self.stage}:{self.pooling}"


@dataclass(frozen=True)
class FeatureChoice:
    """What a vector is made of: these parts, one behind the other."""

    parts: tuple[Part, ...]

    def __str__(self) -> str:
        return ", ".join(map(str, self.parts))

    def to_json(self) -> list[dict[str, Any]]:
        """Plain values, from which `choice_from_json` makes an equal one."""
        return [asdict(part) for part in self.parts]


def choice_from_json(parts: Sequence[dict[str, Any]]) -> FeatureChoice:
    """The choice that `to_json` has written. Raises TypeError for anything else."""
    return FeatureChoice(tuple(Part(**part) for part in parts))


def with_every_stage(backbone: Backbone) -> tuple[Backbone, tuple[StageOutput, ...]]:
    """The backbone with a last stage that gives the pooled outputs of all its stages, (batch, total), float32; and
    where each lies in there.

    Every stage but the first pools what it is given and hands it on beside its own output, so that gradients of the
    last stage reach every map.
    """
    outputs = stage_outputs(backbone)
    first, *others = backbone.stages
    axes = [stage.channel_axis for stage in backbone.stages]
    carried = [
        replace(stage, run=partial(_carry, stage=stage, channel_axis=axis, first=number == 0))
        for number, (stage, axis) in enumerate(zip(others, axes, strict=False))
    ]
    gather = Stage(EVERY_STAGE, partial(_gather, channel_axis=axes[-1], first=not others))
    derived = replace(backbone, stages=(first, *carried, gather), feature_dim=outputs[-1].whole.stop, for_text=None)
    return derived, outputs


def stage_outputs(backbone: Backbone) -> tuple[StageOutput, ...]:
    """What every stage gives, by a run of one blank example."""
    features, found, start = backbone.contract.collate([backbone.contract.blank()]), list[StageOutput](), 0
    with torch.no_grad():
        for stage in backbone.stages:
            features = stage.run(backbone.network, features)
            width = pooled(features, stage.channel_axis).shape[1]
            one = StageOutput(stage.name, start, width, tuple(features.values.shape[1:]))
            found.append(one)
            start = one.whole.stop
    return tuple(found)


def with_features(backbone: Backbone, choice: FeatureChoice) -> Backbone:
    """The backbone of `with_every_stage` with one more stage, which makes the vector of the choice, (batch,
    feature_dim). Raises KeyError for a stage that there is not."""
    derived, outputs = with_every_stage(backbone)
    pieces = placed(outputs, choice)
    chosen = Stage(CHOSEN, partial(_choose, pieces=pieces))
    width = sum(stop - start for start, stop, _ in pieces)
    return replace(derived, stages=(*derived.stages, chosen), feature_dim=width)


def placed(outputs: Sequence[StageOutput], choice: FeatureChoice) -> tuple[tuple[int, int, float], ...]:
    """First column, end and scale of every part. Raises KeyError for a stage that there is not."""
    by_name = {output.stage: output for output in outputs}
    columns = [(by_name[part.stage].columns(part.pooling), part.scale) for part in choice.parts]
    return tuple((own.start, own.stop, scale) for own, scale in columns)


def joined(vectors: Tensor, pieces: Sequence[tuple[int, int, float]]) -> Tensor:
    """Pieces (first column, end, scale) of vectors (rows, total), multiplied and put one behind the other."""
    return torch.cat([scale * vectors[:, start:stop] for start, stop, scale in pieces], dim=1)


def pooled(features: Features, channel_axis: int = 1, pooling: Pooling = "mean") -> Tensor:
    """The mean over space or time, (batch, channels), float32; of sequences over their valid steps only.

    Channels are the axis `channel_axis` of images and volumes, and the last one of sequences (batch, time, channels);
    vectors (batch, channels) stay as they are. pooling: with "mean+std" the population's standard deviation of
    sequences stands behind, (batch, 2 * channels); of anything else there is none.
    """
    values = features.values.float()
    if values.dim() == 2:
        return values
    if values.dim() != 3:
        return values.movedim(channel_axis, 1).flatten(2).mean(dim=2)
    padding = None
    if features.lengths is None:
        mean = values.mean(dim=1)
    else:
        padding = padding_mask(features.lengths, values.shape[1], values.device)[..., None]
        count = features.lengths[:, None].to(values.device)
        mean = values.masked_fill(padding, 0.0).sum(dim=1) / count
    if pooling == "mean":
        return mean
    squares = (values - mean[:, None]).square()
    variance = squares.mean(dim=1) if padding is None else squares.masked_fill(padding, 0.0).sum(dim=1) / count
    return torch.cat([mean, torch.sqrt(variance + VARIANCE_FLOOR)], dim=1)


def _carry(network: nn.Module, features: Features, /, *, stage: Stage, channel_axis: int, first: bool) -> Features:
    """The stage's output, and beside its own skips the pooled outputs of all stages before it, (batch, so far)."""
    given, kept = _kept(features, channel_axis, first)
    output = stage.run(network, given)
    return replace(output, skips=(*output.skips, kept))


def _gather(network: nn.Module, features: Features, /, *, channel_axis: int, first: bool) -> Features:
    return Features(_kept(features, channel_axis, first)[1])


def _kept(features: Features, channel_axis: int, first: bool) -> tuple[Features, Tensor]:
    """What the next stage takes, and the pooled outputs up to here; first: nothing has been kept before."""
    own = pooled(features, channel_axis, "mean+std")
    if first:
        return features, own
    *skips, before = features.skips
    return replace(features, skips=tuple(skips)), torch.cat([before, own], dim=1)


def _choose(network: nn.Module, features: Features, /, *, pieces: tuple[tuple[int, int, float], ...]) -> Features:
    return Features(joined(features.values, pieces))
