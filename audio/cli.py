"""The command line `graftwork-audio`: the shared verbs, told about this domain."""

from __future__ import annotations

from inspect import Parameter
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from graftwork.audio.domain import DOMAIN
from graftwork.audio.export.commands import export_command
from graftwork.audio.pretraining.commands import pretrain_command
from graftwork.audio.recognition.commands import LANGUAGE, transcribe_command
from graftwork.audio.verification.commands import enroll_command, identify_command, trials_command, verify_command
from graftwork.core.cli.app import run_app
from graftwork.core.cli.command_line import CommandLine
from graftwork.core.cli.options import ID, WEIGHTS, with_parameters
from graftwork.core.domain import BackboneEntry

if TYPE_CHECKING:
    from graftwork.core.model.backbone import Backbone
    from graftwork.core.types import FrameHead


def main() -> None:
    """Runs the command line and exits."""
    run_app(COMMANDS)


def _load_backbone(id: str, *, weights: str | None = None, **options: Any) -> Backbone:
    from graftwork.audio.backbones.loading import load_backbone

    return load_backbone(id, weights=weights, **options)


def _load_frame_head(id: str, *, weights: str | None = None, **options: Any) -> FrameHead:
    from graftwork.audio.backbones.checkpoint_head import load_frame_head

    return load_frame_head(id, weights, language=options.get("language"))


def _list_backbones(text: str) -> list[BackboneEntry]:
    from graftwork.audio.backbones.loading import list_backbones

    return list_backbones(text)


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
        help="Learn from longer recordings, and evaluate them, in windows of so many seconds: predictions of a "
        "recording are the mean of its windows', and `predict --timeline` writes each.",
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
        help="From frames to one vector a clip: 'mean+std' over time, 'mean' alone, which is half as long, or "
        "'attentive', both weighted by an attention that is learnt, or 'checkpoint', the x-vector or projector that "
        "an hf: checkpoint was fine-tuned with. By default 'mean+std'; text has 'none'.",
        show_default=False,
    ),
]

PARAMETERS = (
    Parameter("max_seconds", Parameter.KEYWORD_ONLY, default=None, annotation=MaxSeconds),
    Parameter("window_seconds", Parameter.KEYWORD_ONLY, default=None, annotation=WindowSeconds),
    Parameter("window_overlap", Parameter.KEYWORD_ONLY, default=None, annotation=WindowOverlap),
    Parameter("trim_silence", Parameter.KEYWORD_ONLY, default=None, annotation=TrimSilence),
    Parameter("pooling", Parameter.KEYWORD_ONLY, default=None, annotation=Pooling),
    LANGUAGE,
)

COMMANDS = CommandLine(
    domain=DOMAIN,
    default_backbone="torchaudio:WAV2VEC2_BASE",
    load_backbone=with_parameters(_load_backbone, ID, WEIGHTS, *PARAMETERS),
    list_backbones=_list_backbones,
    parameters=PARAMETERS,
    omitted=frozenset({"patches", "decoder_convolutions"}),
    load_frame_head=_load_frame_head,
    verbs=(
        transcribe_command,
        export_command,
        enroll_command,
        verify_command,
        identify_command,
        trials_command,
        pretrain_command,
    ),
)
