"""What an audio backbone takes: sample rate, normalisation, shortest and longest clip."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from graftwork.audio.preprocessing.voice_activity import trim_silence
from graftwork.audio.sound.memory import MemoryNeed, refuse_too_long
from graftwork.audio.sound.waveform import duration_of, read_waveform
from graftwork.core.data.windows import windows_of
from graftwork.core.errors import ContractError, SettingsError
from graftwork.core.example import Example, Named, Span, as_example, recording_of, span_problem
from graftwork.core.types import Features

Normalisation = Literal["clip", "none"]
VARIANCE_FLOOR = 1e-7
"""What Hugging Face's Wav2Vec2FeatureExtractor adds to the variance of a clip."""

OnOff = Literal["on", "off"]
Longer = Literal["crop", "refuse"]


@dataclass(frozen=True)
class AudioContract:
    """How a sound file becomes what a network of the wav2vec 2.0 family was trained on.

    sample_rate_hz: files of another rate are resampled.
    normalise: "clip" brings every clip to zero mean and unit variance over its own samples, before any
    padding; "none" leaves the amplitude as it was recorded.
    shortest_samples: what the network needs for one frame; a shorter clip gets zeros at its end.
    max_seconds: a longer clip is cropped to its middle; None keeps everything.
    window_seconds: a longer recording is learnt from, and evaluated, in windows of this length; None for whole clips.
    window_overlap: share of a window that it has in common with the next one.
    trim_silence: "on" cuts off what comes before the first and behind the last speech, before anything is cropped.
    longer: "refuse" makes of a clip beyond max_seconds an error, for text: a transcript belongs to the whole clip.
    memory: what a clip takes in the network; None where that is not known. most_seconds: what the network
    fills every clip up to; a longer one that nothing crops is an error. All three follow from the backbone, and are not
    kept in JSON.
    """

    sample_rate_hz: int = 16000
    normalise: Normalisation = "none"
    shortest_samples: int = 400
    max_seconds: float | None = None
    window_seconds: float | None = None
    window_overlap: float = 0.5
    trim_silence: OnOff = "off"
    longer: Longer = "crop"
    memory: MemoryNeed | None = None
    most_seconds: float | None = None

    def __post_init__(self) -> None:
        if self.normalise not in get_args(Normalisation):
            raise SettingsError(f"normalise must be one of {get_args(Normalisation)}, found {self.normalise!r}")
        if self.sample_rate_hz <= 0 or self.shortest_samples <= 0:
            raise SettingsError(
                f"sample_rate_hz and shortest_samples must be above 0, found {self.sample_rate_hz} "
                f"and {self.shortest_samples}"
            )
        if self.max_seconds is not None and not self.max_seconds * self.sample_rate_hz >= self.shortest_samples:
            raise SettingsError(
                f"max_seconds must be at least {self.shortest_samples / self.sample_rate_hz:g} s, the "
                f"shortest clip that the network takes; found {self.max_seconds}"
            )

        if self.window_seconds is not None:
            if self.max_seconds is not None:
                raise SettingsError("max_seconds crops what window_seconds would cut into windows: give one of them")
            if not self.window_seconds * self.sample_rate_hz >= self.shortest_samples:
                raise SettingsError(
                    f"window_seconds must be at least {self.shortest_samples / self.sample_rate_hz:g} s, found "
                    f"{self.window_seconds}"
                )
        if self.trim_silence not in get_args(OnOff):
            raise SettingsError(f"trim_silence must be one of {get_args(OnOff)}, found {self.trim_silence!r}")
        if self.trim_silence == "on" and self.window_seconds is not None:
            raise SettingsError("trim_silence shortens clips, window_seconds counts their seconds: give one of them")
        for name in ("max_seconds", "window_seconds"):
            asked = getattr(self, name)
            if self.most_seconds is not None and asked is not None and asked > self.most_seconds:
                raise SettingsError(f"{name} must be at most {self.most_seconds:g} s, which is all that the network "
                                    f"takes; found {asked:g}")  # fmt: skip
        if not 0 <= self.window_overlap < 1:
            raise SettingsError(f"window_overlap must be at least 0 and below 1, found {self.window_overlap}")

    def windows(self, named: Named) -> list[Example]:
        """The windows of a recording; itself where it is short, cannot be read, or is not to be cut."""
        example = as_example(named)
        if self.window_seconds is None:
            return [example]
        duration_s = duration_of(str(recording_of(example)))
        if duration_s is not None and isinstance(example, Span):
            # Seconds that cannot be meant are refused where they are read.
            whole = span_problem(example) is None
            duration_s = min(example.end_s, duration_s) - example.start_s if whole else None
        if duration_s is None:
            return [example]
        return windows_of(example, duration_s, self.window_seconds, self.window_overlap)

    def read(self, named: Named) -> Tensor:
        """One clip: (samples,), float32, trimmed, cropped, resampled, normalised and long enough for one frame.

        Raises UnreadableError, naming the file, and ContractError for a longer clip that must not be cropped, or that
        does not fit into memory.
        """
        trims = self.trim_silence == "on"
        crops = self.longer == "crop"
        samples = read_waveform(named, self.sample_rate_hz, self.max_seconds if crops and not trims else None)
        if trims:
            samples = trim_silence(samples, self.sample_rate_hz, named)
        # The resampler may leave a sample too many.
        if not crops and self.max_seconds is not None and self._duration_s(samples[1:]) > self.max_seconds:
            raise ContractError(
                f"{named}: has {self._duration_s(samples):.2f} s, more than --max-seconds {self.max_seconds:g}: its "
                "words belong to the whole clip, so it is not cropped; cut it where words end, or train with more"
            )
        if self.max_seconds is not None:
            # Rounding in the resampler may leave one sample too many; trimmed clips are not cropped yet.
            most = round(self.max_seconds * self.sample_rate_hz)
            start = (len(samples) - most) // 2 if trims and len(samples) > most else 0
            samples = samples[start : start + most]
        # The resampler may leave a sample too many here as well.
        if self.most_seconds is not None and self._duration_s(samples[1:]) > self.most_seconds:
            advice = (
                "crop clips with --max-seconds, or cut them with --window-seconds"
                if crops
                else "cut it where words end, or leave such clips out with --max-seconds and --skip-unreadable"
            )
            raise ContractError(f"{named}: has {self._duration_s(samples):.2f} s, and the network takes at most "
                                f"{self.most_seconds:g} s: {advice}")  # fmt: skip
        if self.most_seconds is not None:
            samples = samples[: round(self.most_seconds * self.sample_rate_hz)]
        if self.memory is not None:
            refuse_too_long(named, self._duration_s(samples), self.memory.of(len(samples)))
        if self.normalise == "clip":
            samples = normalise_clip(samples)
        missing = self.shortest_samples - len(samples)
        return torch.nn.functional.pad(samples, (0, missing)) if missing > 0 else samples

    def collate(self, examples: Sequence[Tensor]) -> Features:
        """Clips (samples,) as one batch: values (batch, time) with zeros after each clip, and their lengths.

        Raises ContractError for an example that is not one-dimensional or is shorter than `shortest_samples`.
        """
        for index, example in enumerate(examples):
            if example.ndim != 1 or len(example) < self.shortest_samples:
                raise ContractError(
                    f"example {index} of the batch: expected (samples,) with at least "
                    f"{self.shortest_samples} samples, found shape {tuple(example.shape)}"
                )
        lengths = torch.tensor([len(example) for example in examples], dtype=torch.int64)
        return Features(pad_sequence(list(examples), batch_first=True), lengths)

    def seconds(self, example: Tensor) -> float:
        """Duration of a clip (samples,) as the network computes it: `most_seconds` where it fills every clip up."""
        return self._duration_s(example) if self.most_seconds is None else self.most_seconds

    def _duration_s(self, samples: Tensor) -> float:
        return len(samples) / self.sample_rate_hz

    def blank(self) -> Tensor:
        """Silence (samples,), long enough for four frames: the shortest gives a single one."""
        return torch.zeros(4 * self.shortest_samples)

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _kept_fields()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> AudioContract:
        """The contract that `to_json` described. Raises ContractError for missing or unknown entries."""
        expected = set(_kept_fields())
        if set(values) != expected:
            raise ContractError(f"an audio contract has the entries {sorted(expected)}, found {sorted(values)}")
        return cls(**values)


def _kept_fields() -> list[str]:
    return [
        field.name
        for field in dataclasses.fields(AudioContract)
        if field.name not in ("longer", "memory", "most_seconds")
    ]


def normalise_clip(samples: Tensor) -> Tensor:
    """Zero mean and unit variance over all of `samples` (samples,).

    The variance is the population's, and `VARIANCE_FLOOR` is added to it.
    """
    return (samples - samples.mean()) / torch.sqrt(samples.var(unbiased=False) + VARIANCE_FLOOR)
