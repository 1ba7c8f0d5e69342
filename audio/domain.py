"""What the commands shared by both domains need to know about speech."""

from __future__ import annotations

import inspect
from typing import Annotated

import typer

from graftwork.audio.augmentation import augment
from graftwork.audio.backbones import list_backbones, load_backbone
from graftwork.audio.waveform import SUFFIXES
from graftwork.core.domain import Domain

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
        help="From frames to one vector a clip: 'mean' over time, or 'mean+std', which is twice as long and "
        "often better for speakers. By default 'mean'.",
        show_default=False,
    ),
]

DOMAIN = Domain(
    name="audio",
    example="clip",
    suffixes=SUFFIXES,
    default_backbone="torchaudio:WAV2VEC2_BASE",
    load_backbone=load_backbone,
    list_backbones=list_backbones,
    augment=augment,
    parameters=(
        inspect.Parameter("max_seconds", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=MaxSeconds),
        inspect.Parameter("pooling", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Pooling),
    ),
)
