"""Intensity: from a scan's own units to the numbers a network expects, by a rule that has a short textual form."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from graftwork.core.errors import ContractError, SettingsError
from graftwork.imaging.scan import Scan

Kind = Literal["auto", "range", "quantile", "foreground", "window", "zscore"]
LOW_PERCENT, HIGH_PERCENT = 0.5, 99.5
SAMPLE = 1_000_000
"""Quantiles of larger scans are taken from every k-th value, with k so that about this many remain."""

FORMS = (
    "auto, range, quantile, quantile:LOW:HIGH (per cent), foreground, foreground:LOW:HIGH (per cent of what is not "
    "background), window:LOW:HIGH (for CT in Hounsfield units), zscore"
)

BACKGROUND_SHARE = 0.1
"""From so many voxels of the lowest value on, that value is the background."""


@dataclass(frozen=True)
class Intensity:
    """How values are scaled; `low` and `high` in per cent for `quantile` and `foreground`, in the scan's units for
    `window`."""

    kind: Kind
    low: float = math.nan
    high: float = math.nan


def parse_intensity(text: str) -> Intensity:
    """The rule that a text names: one of FORMS.

    auto: `range` for 8- and 16-bit pictures, `quantile` for everything else (NIfTI, DICOM, float TIFF).
    range: the whole range of the picture's type becomes [0, 1].
    quantile: the 0.5 % and 99.5 % quantiles of the scan become 0 and 1; values beyond are clipped.
    foreground: the same quantiles of the voxels that are not background alone, for MR with much air, where few voxels
    of the whole are tissue and a bright lesion would be clipped. Background is the lowest value where a tenth of the
    voxels have it (skull-stripped, padded), else what is at most the mean of all.
    window: LOW and HIGH become 0 and 1; values beyond are clipped. `window:-1000:400` suits lungs in CT.
    zscore: mean 0 and standard deviation 1 over the whole scan; the backbone's mean and std are then not used.
    Raises SettingsError for any other text.
    """
    kind, *numbers = text.strip().lower().split(":")
    if kind in ("auto", "range", "zscore") and not numbers:
        return Intensity(kind)  # type: ignore[arg-type]
    if kind in ("quantile", "foreground") and not numbers:
        return Intensity(kind, LOW_PERCENT, HIGH_PERCENT)  # type: ignore[arg-type]
    if kind not in ("quantile", "foreground", "window") or len(numbers) != 2:
        raise SettingsError(f"intensity {text!r} is not known; expected one of: {FORMS}")
    try:
        low, high = float(numbers[0]), float(numbers[1])
    except ValueError:
        raise SettingsError(f"intensity {text!r}: {':'.join(numbers)} are not two numbers; expected {FORMS}") from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise SettingsError(f"intensity {text!r}: LOW must be below HIGH, and both finite")
    if kind != "window" and not (low >= 0 and high <= 100):
        raise SettingsError(f"intensity {text!r}: quantiles are per cents, from 0 to 100")
    return Intensity(kind, low, high)  # type: ignore[arg-type]


def scale_intensity(scan: Scan, intensity: Intensity) -> NDArray[np.float32]:
    """The scan's values under a rule: in [0, 1], or with mean 0 and standard deviation 1 for `zscore`.

    The scan is left as it is. Channels that are measurements of their own (a fourth NIfTI axis) are scaled
    one by one for `quantile`, `foreground` and `zscore`; red, green and blue together, so that hues stay. Raises
    ContractError where `range` is asked of a scan whose type has none.
    """
    kind = intensity.kind
    if kind == "auto":
        kind = "quantile" if scan.full_range is None else "range"
    if kind == "range":
        if scan.full_range is None:
            raise ContractError(
                f"{scan.path}: intensity 'range' needs an 8- or 16-bit picture, and this file's type says nothing "
                "about its range; choose quantile or window:LOW:HIGH"
            )
        return _unit(scan.values, *scan.full_range)
    if kind == "window":
        return np.clip(_unit(scan.values, intensity.low, intensity.high), 0, 1)
    groups = [scan.values] if scan.rgb else [scan.values[channel : channel + 1] for channel in range(scan.channels)]
    scaled = [_zscore(group) if kind == "zscore" else _quantile(group, intensity) for group in groups]
    return scaled[0] if len(scaled) == 1 else np.concatenate(scaled)


def _unit(values: NDArray[np.float32], low: float, high: float) -> NDArray[np.float32]:
    scaled: NDArray[np.float32] = (values - np.float32(low)) if low else values.copy(order="K")
    scaled /= np.float32(high - low)
    return scaled


def _quantile(values: NDArray[np.float32], intensity: Intensity) -> NDArray[np.float32]:
    percents = (LOW_PERCENT, HIGH_PERCENT) if math.isnan(intensity.low) else (intensity.low, intensity.high)
    # "K" flattens in memory order, without the copy that a transposed picture would need.
    sample = values.ravel(order="K")
    sample = sample[:: max(1, sample.size // SAMPLE)]
    if intensity.kind == "foreground":
        sample = _foreground(sample)
    low, high = np.percentile(sample, percents)
    if high <= low:
        # Nearly all values are equal (a small bright object on black): the extremes still tell them apart.
        low, high = float(values.min()), float(values.max())
    if high <= low:
        return np.zeros_like(values)
    return np.clip(_unit(values, float(low), float(high)), 0, 1)


def _foreground(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Those that are not background; all where there is nothing else."""
    lowest = values.min()
    share = np.count_nonzero(values == lowest) / values.size
    limit = float(lowest) if share >= BACKGROUND_SHARE else float(values.mean(dtype=np.float64))
    found = values[values > limit]
    return found if found.size else values


def _zscore(values: NDArray[np.float32]) -> NDArray[np.float32]:
    # float64: a million float32 values far from zero lose the digits the standard deviation is made of.
    mean, deviation = values.mean(dtype=np.float64), values.std(dtype=np.float64)
    scaled: NDArray[np.float32] = ((values - np.float32(mean)) / np.float32(deviation or 1.0)).astype(np.float32)
    return scaled
