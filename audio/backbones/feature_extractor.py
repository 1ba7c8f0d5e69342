"""What a checkpoint's feature extractor says of its input: the sample rate, and whether clips are normalised."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graftwork.core.errors import BackboneError
from graftwork.core.files import read_json

log = logging.getLogger(__name__)

PROCESSOR, PREPROCESSOR = "processor_config.json", "preprocessor_config.json"
SETTINGS_FILES = (PROCESSOR, PREPROCESSOR)
"""transformers 5 writes the first, with the extractor inside, where there is a tokenizer, and reads it first."""

KIND = "Wav2Vec2FeatureExtractor"
RATE_HZ, NORMALISED = 16000, True
"""What that class means by an entry that is left out."""

SLOWEST_HZ, FASTEST_HZ = 1000, 384_000


def input_settings(folder: Path) -> tuple[int, bool]:
    """Sample rate in Hz, and whether clips are normalised; the class's defaults, with a warning, where no file says.

    Raises BackboneError for settings that cannot be meant and for another kind of extractor, UnreadableError.
    """
    found: list[tuple[Path, tuple[int, bool]]] = []
    for name in SETTINGS_FILES:
        file = folder / name
        if not file.is_file():
            continue
        content = read_json(file)
        settings: Any = content
        if name == PROCESSOR:
            settings = content.get("feature_extractor", content.get("audio_processor"))
        if settings is not None:
            found.append((file, checked_settings(settings, str(file))))
    if not found:
        log.warning("%s: neither %s nor %s is there: %d Hz and normalised clips are assumed, which may be wrong (WavLM "
                    "base is not); put the file beside config.json", folder, *SETTINGS_FILES, RATE_HZ)  # fmt: skip
        return RATE_HZ, NORMALISED
    first, chosen = found[0]
    for other, differing in found[1:]:
        if differing != chosen:
            log.warning("%s and %s differ: the first is used, as in transformers 5 (%d Hz, %s)", first, other.name,
                        chosen[0], "normalised" if chosen[1] else "not normalised")  # fmt: skip
    return chosen


def checked_settings(settings: Any, source: str) -> tuple[int, bool]:
    """Sample rate in Hz and normalisation from entries such as `sampling_rate` and `do_normalize`. Raises BackboneError
    for others than an extractor of this family has."""
    if not isinstance(settings, Mapping):
        raise BackboneError(f"{source}: expected the settings of a feature extractor, found {settings!r}")
    kind = settings.get("feature_extractor_type", KIND)
    if kind != KIND:
        raise BackboneError(
            f"{source}: feature_extractor_type must be {KIND}, which takes the waveform; found {kind!r}"
        )
    rate, normalised = settings.get("sampling_rate", RATE_HZ), settings.get("do_normalize", NORMALISED)
    if isinstance(rate, bool) or not isinstance(rate, int | float) or rate != rate // 1:
        raise BackboneError(f"{source}: sampling_rate must be a whole number of Hz, found {rate!r}")
    if not SLOWEST_HZ <= rate <= FASTEST_HZ:
        raise BackboneError(f"{source}: sampling_rate must be from {SLOWEST_HZ} to {FASTEST_HZ} Hz, found {rate!r}")
    if not isinstance(normalised, bool):
        raise BackboneError(f"{source}: do_normalize must be true or false, found {normalised!r}")
    return int(rate), normalised
