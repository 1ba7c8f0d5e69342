"""What the commands shared by both domains need to know about speech."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graftwork.audio.formats import SUFFIXES
from graftwork.audio.pretraining_commands import pretrain_command
from graftwork.audio.recognition_commands import transcribe_command
from graftwork.audio.verification_commands import (
    enroll_command,
    identify_command,
    trials_command,
    verify_command,
)
from graftwork.core.domain import BackboneEntry, Domain

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from graftwork.core.backbone import Backbone


def _load_backbone(id: str, *, weights: str | None = None, **options: Any) -> Backbone:
    from graftwork.audio.backbones import load_backbone

    return load_backbone(id, weights=weights, **options)


def _list_backbones(text: str) -> list[BackboneEntry]:
    from graftwork.audio.backbones import list_backbones

    return list_backbones(text)


def _augment(example: Tensor, generator: np.random.Generator) -> Tensor:
    from graftwork.audio.augmentation import augment

    return augment(example, generator)


MaxSeconds = Annotated[
    float | None,
    typer.Option(
        "--max-seconds",
        help="Crop longer clips to their middle, in seconds. Memory and time grow with the longest clip of a "
        "batch; by default nothing is cropped.",
        show_default=False,
    ),
]
Pooling = Annotated[
    str | None,
    typer.Option(
        "--pooling",
        help="From frames to one vector a clip: 'mean' over time, 'mean+std', which is twice as long and often better "
        "for speakers, or 'attentive', both weighted by an attention that is learnt. By default 'mean'; text "
        "has 'none'.",
        show_default=False,
    ),
]

DOMAIN = Domain(
    name="audio",
    example="clip",
    suffixes=SUFFIXES,
    default_backbone="torchaudio:WAV2VEC2_BASE",
    load_backbone=_load_backbone,
    list_backbones=_list_backbones,
    augment=_augment,
    parameters=(
        inspect.Parameter("max_seconds", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=MaxSeconds),
        inspect.Parameter("pooling", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Pooling),
    ),
    text_input={"pooling": "none"},
    verbs=(transcribe_command, enroll_command, verify_command, identify_command, trials_command, pretrain_command),
)
