"""What the commands shared by both domains need to know about speech."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from graftwork.audio.pretraining.commands import pretrain_command
from graftwork.audio.recognition.commands import transcribe_command
from graftwork.audio.sound.formats import SUFFIXES
from graftwork.audio.verification.commands import (
    enroll_command,
    identify_command,
    trials_command,
    verify_command,
)
from graftwork.core.domain import BackboneEntry, Domain
from graftwork.core.example import File, Span

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from torch import Tensor

    from graftwork.core.example import Example
    from graftwork.core.model.backbone import Backbone
    from graftwork.core.types import FrameHead, InputContract


def _load_backbone(id: str, *, weights: str | None = None, **options: Any) -> Backbone:
    from graftwork.audio.backbones.loading import load_backbone

    return load_backbone(id, weights=weights, **options)


def _load_frame_head(id: str, *, weights: str | None = None) -> FrameHead:
    from graftwork.audio.backbones.checkpoint_head import load_frame_head

    return load_frame_head(id, weights)


def _list_backbones(text: str) -> list[BackboneEntry]:
    from graftwork.audio.backbones.loading import list_backbones

    return list_backbones(text)


def _near_duplicates(examples: Sequence[Example]) -> list[tuple[int, int]]:
    from graftwork.audio.sound.near_duplicates import near_duplicates

    return near_duplicates(examples)


def _augment(example: Tensor, generator: np.random.Generator) -> Tensor:
    from graftwork.audio.preprocessing.augmentation import augment

    return augment(example, generator)


def _windows(examples: Sequence[Example], contract: InputContract) -> list[list[Example]]:
    from graftwork.audio.preprocessing.contract import AudioContract

    return [contract.windows(one) if isinstance(contract, AudioContract) else [one] for one in examples]


MaxSeconds = Annotated[
    float | None,
    typer.Option(
        "--max-seconds",
        help="Crop longer clips to their middle, in seconds; for text they are refused, or left out with "
        "--skip-unreadable. Memory and time grow with the longest clip of a "
        "batch; by default nothing is cropped.",
        show_default=False,
    ),
]
WindowSeconds = Annotated[
    float | None,
    typer.Option(
        "--window-seconds",
        help="Learn from longer recordings, and judge them, in windows of so many seconds: predictions of a recording "
        "are the mean of its windows', and `predict --timeline` writes each.",
        show_default=False,
    ),
]
WindowOverlap = Annotated[
    float | None,
    typer.Option(
        "--window-overlap",
        help="Share of a window that it has in common with the next, 0.5 by default.",
        show_default=False,
    ),
]
TrimSilence = Annotated[
    Literal["on", "off"] | None,
    typer.Option(
        "--trim-silence",
        help="on: cut off what comes before the first and behind the last speech of a clip (needs silero-vad: the "
        "extra vad). By default off.",
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
    kinds=(File, Span),
    default_backbone="torchaudio:WAV2VEC2_BASE",
    load_backbone=_load_backbone,
    list_backbones=_list_backbones,
    augment=_augment,
    parameters=(
        inspect.Parameter("max_seconds", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=MaxSeconds),
        inspect.Parameter("window_seconds", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=WindowSeconds),
        inspect.Parameter("window_overlap", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=WindowOverlap),
        inspect.Parameter("trim_silence", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=TrimSilence),
        inspect.Parameter("pooling", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Pooling),
    ),
    windows=_windows,
    near_duplicates=_near_duplicates,
    text_input={"pooling": "none"},
    load_frame_head=_load_frame_head,
    verbs=(transcribe_command, enroll_command, verify_command, identify_command, trials_command, pretrain_command),
)
