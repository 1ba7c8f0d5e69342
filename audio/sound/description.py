"""What a sound file is once it has been decoded: how long, at which rate, and whether it is silent or clipped."""

from __future__ import annotations

from graftwork.audio.sound.container import described
from graftwork.audio.sound.waveform import CLIPPED_SHARE, FULL_SCALE, decode, parts
from graftwork.core.example import Example
from graftwork.core.types import Description


def describe_sound(example: Example) -> Description:
    """Seconds and loudest sample (1 is full scale), rate, channels and format. Raises UnreadableError and
    MissingPackageError as reading it does."""
    path, span = parts(example)
    samples, rate_hz = decode(path, None, span)
    faults = []
    if bool((samples == samples[:1]).all()):
        faults.append("silent")
    if float((samples.abs() >= FULL_SCALE).float().mean()) >= CLIPPED_SHARE:
        faults.append("clipped")
    numbers = {"seconds": len(samples) / rate_hz, "loudest": float(samples.abs().max())}
    words = {"rate_hz": str(rate_hz), "channels": str(samples.shape[1]), "format": described(path)}
    return Description(numbers, words, tuple(faults))
