"""Speech as the core sees it: its files, and what is done with them. Importing this loads no network library."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graftwork.audio.sound.formats import SUFFIXES
from graftwork.core.domain import Domain, corruption_in
from graftwork.core.example import File, Span
from graftwork.core.names import hub_name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from torch import Tensor

    from graftwork.core.domain import CorpusTable
    from graftwork.core.example import Example
    from graftwork.core.types import Description, InputContract


def _near_duplicates(examples: Sequence[Example]) -> list[tuple[int, int]]:
    from graftwork.audio.sound.near_duplicates import near_duplicates

    return near_duplicates(examples)


def _preview(example: Example) -> bytes:
    from graftwork.audio.sound.preview import preview

    return preview(example)


def _hub_model(backbone: str) -> str | None:
    source, _, name = backbone.partition(":")
    return hub_name(name) if source in ("hf", "speechbrain", "wespeaker") else None


def _read_common_voice(source: Path, suffixes: Sequence[str], pattern: str | None) -> CorpusTable | None:
    from graftwork.audio.corpora.common_voice import read_common_voice

    return read_common_voice(source, pattern)


def _read_kaldi(source: Path, suffixes: Sequence[str], pattern: str | None) -> CorpusTable | None:
    from graftwork.audio.corpora.kaldi import read_kaldi

    return read_kaldi(source, pattern)


def _describe(example: Example) -> Description:
    from graftwork.audio.sound.description import describe_sound

    return describe_sound(example)


def _augment(example: Tensor, generator: np.random.Generator) -> Tensor:
    from graftwork.audio.preprocessing.augmentation import augment

    return augment(example, generator)


WORSE = "graftwork.audio.preprocessing.corruptions"

CORRUPTIONS = (
    corruption_in(WORSE, "noise", "add_noise"),
    corruption_in(WORSE, "room", "add_room"),
    corruption_in(WORSE, "codec", "code"),
    corruption_in(WORSE, "rate", "lower_rate"),
    corruption_in(WORSE, "band", "narrow_band"),
)


def _windows(examples: Sequence[Example], contract: InputContract) -> list[list[Example]]:
    from graftwork.audio.preprocessing.contract import AudioContract

    return [contract.windows(one) if isinstance(contract, AudioContract) else [one] for one in examples]


DOMAIN = Domain(
    name="audio",
    example="clip",
    suffixes=SUFFIXES,
    augment=_augment,
    windows=_windows,
    near_duplicates=_near_duplicates,
    describe=_describe,
    corruptions=CORRUPTIONS,
    preview=_preview,
    hub_model=_hub_model,
    pipeline_tags={
        "single-label": "audio-classification",
        "multi-label": "audio-classification",
        "ordinal": "audio-classification",
        "text": "automatic-speech-recognition",
    },
    kinds=(File, Span),
    path_columns=("file_name", "audio", "filename", "file", "audio_filepath", "wav"),
    corpora=(_read_common_voice, _read_kaldi),
)
