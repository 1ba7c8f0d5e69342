"""What a checkpoint's feature extractor says of its input: sample rate, normalisation, and how spectra are made."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graftwork.core.errors import BackboneError
from graftwork.core.files import read_json

log = logging.getLogger(__name__)

PROCESSOR, PREPROCESSOR = "processor_config.json", "preprocessor_config.json"
SETTINGS_FILES = (PROCESSOR, PREPROCESSOR)
"""transformers 5 writes the first, with the extractor inside, where there is a tokenizer, and reads it first."""

KIND, WHISPER, SPECTRA = "Wav2Vec2FeatureExtractor", "WhisperFeatureExtractor", "SeamlessM4TFeatureExtractor"
RATE_HZ, NORMALISED = 16000, True
"""What the first class means by an entry that is left out."""

SLOWEST_HZ, FASTEST_HZ = 1000, 384_000


NUMBERS: dict[str, dict[str, float]] = {
    KIND: {},
    WHISPER: {"feature_size": 80, "chunk_length": 30, "n_fft": 400, "hop_length": 160, "dither": 0.0},
    SPECTRA: {"num_mel_bins": 80, "stride": 2},
}
"""Numbers by which the classes make spectra, and what they mean by one that is left out."""


@dataclass(frozen=True)
class ExtractorSettings:
    """normalised: whether clips are brought to zero mean and unit variance. numbers: how spectra are made, by the names
    that the class has for them; none where no file says."""

    sample_rate_hz: int
    normalised: bool
    numbers: dict[str, float]


def input_settings(folder: Path) -> tuple[int, bool]:
    """Sample rate in Hz, and whether clips are normalised, as of `extractor_settings` for waveforms."""
    found = extractor_settings(folder, KIND)
    return found.sample_rate_hz, found.normalised


def extractor_settings(folder: Path, kind: str) -> ExtractorSettings:
    """What the files of a folder say of an extractor of that class; its defaults, with a warning, where no file says.

    Raises BackboneError for settings that cannot be meant and for another kind of extractor, UnreadableError.
    """
    found: list[tuple[Path, ExtractorSettings]] = []
    for name in SETTINGS_FILES:
        file = folder / name
        if not file.is_file():
            continue
        content = read_json(file)
        settings: Any = content
        if name == PROCESSOR:
            settings = content.get("feature_extractor", content.get("audio_processor"))
        if settings is not None:
            found.append((file, _checked(settings, str(file), kind)))
    if not found:
        assumed = "normalised clips are assumed, which may be wrong (WavLM base is not)" if kind == KIND else (
            "the spectra of the published checkpoints are assumed")  # fmt: skip
        log.warning("%s: neither %s nor %s is there: %d Hz and %s; put the file beside config.json", folder,
                    *SETTINGS_FILES, RATE_HZ, assumed)  # fmt: skip
        return ExtractorSettings(RATE_HZ, kind == KIND and NORMALISED, {})
    first, chosen = found[0]
    for other, differing in found[1:]:
        if differing != chosen:
            log.warning("%s and %s differ: the first is used, as in transformers 5 (%d Hz, %s)", first, other.name,
                        chosen.sample_rate_hz, "normalised" if chosen.normalised else "not normalised")  # fmt: skip
    return chosen


def checked_settings(settings: Any, source: str) -> tuple[int, bool]:
    """Sample rate in Hz and normalisation from entries such as `sampling_rate` and `do_normalize`. Raises BackboneError
    for others than an extractor of waveforms has."""
    found = _checked(settings, source, KIND)
    return found.sample_rate_hz, found.normalised


def _checked(settings: Any, source: str, expected: str) -> ExtractorSettings:
    if not isinstance(settings, Mapping):
        raise BackboneError(f"{source}: expected the settings of a feature extractor, found {settings!r}")
    kind = settings.get("feature_extractor_type", expected)
    if kind != expected:
        takes = ", which takes the waveform" if expected == KIND else ""
        raise BackboneError(f"{source}: feature_extractor_type must be {expected}{takes}; found {kind!r}")
    rate = settings.get("sampling_rate", RATE_HZ)
    normalised = settings.get("do_normalize", expected == KIND and NORMALISED)
    if isinstance(rate, bool) or not isinstance(rate, int | float) or rate != rate // 1:
        raise BackboneError(f"{source}: sampling_rate must be a whole number of Hz, found {rate!r}")
    if not SLOWEST_HZ <= rate <= FASTEST_HZ:
        raise BackboneError(f"{source}: sampling_rate must be from {SLOWEST_HZ} to {FASTEST_HZ} Hz, found {rate!r}")
    if not isinstance(normalised, bool):
        raise BackboneError(f"{source}: do_normalize must be true or false, found {normalised!r}")
    numbers = {name: settings.get(name, default) for name, default in NUMBERS[expected].items()}
    wrong = [f"{name}: {value!r}" for name, value in numbers.items()
             if isinstance(value, bool) or not isinstance(value, int | float)]  # fmt: skip
    if wrong:
        raise BackboneError(f"{source}: expected numbers, found {', '.join(wrong)}")
    return ExtractorSettings(int(rate), normalised, numbers)
