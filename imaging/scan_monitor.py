"""What training scans are like in spacing, size and values, and whether a new scan is far off."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from graftwork.core.errors import ContractError
from graftwork.core.example import Named
from graftwork.core.types import Features, OutsideMode
from graftwork.imaging.preprocessing.contract import ImageContract
from graftwork.imaging.preprocessing.intensity import HIGH_PERCENT, LOW_PERCENT, SAMPLE
from graftwork.imaging.scan import Scan
from graftwork.imaging.segmentation.mask_contract import MaskContract

SPREAD = 0.5
"""How far beyond the range of the training a scan may lie, as a share of that range: data that differ among themselves
may differ from a new scan as much."""

FEWEST = 5
"""Scans of which a range is kept."""

TAILS = (0.01, 0.99)
"""Quantiles over the training scans that make up their range, so that a single odd one does not widen it."""


class Trait(NamedTuple):
    """Something measured on every scan. factor: how many times as large or small as the training's a new one may be
    at least; None for what is compared by difference, with `margin`. said: for people, with the value and its unit."""

    said: str
    factor: float | None = None
    margin: float = 0.0


TRAITS = {
    "finest_mm": Trait("finest spacing {:.3g} mm", 1.5),
    "coarsest_mm": Trait("coarsest spacing {:.3g} mm", 1.5),
    "shortest": Trait("shortest side {:.0f} voxels", 2.0),
    "longest": Trait("longest side {:.0f} voxels", 2.0),
    "value_range": Trait("values over a range of {:.4g}", 4.0),
    "floor": Trait("lowest values at {:.2g} of their range from zero", margin=0.25),
}
"""Values are between the 0.5 % and 99.5 % quantiles of a scan. Their range alone says nothing about where it lies; the
floor, relative to it, tells Hounsfield units from values that begin at zero, whatever the scale of an MR scanner."""


def measure(scan: Scan) -> dict[str, float]:
    """The traits of a scan, as far as it has them."""
    found: dict[str, float] = {}
    if scan.spacing_mm is not None:
        found |= {"finest_mm": min(scan.spacing_mm), "coarsest_mm": max(scan.spacing_mm)}
    found |= {"shortest": float(min(scan.spatial_shape)), "longest": float(max(scan.spatial_shape))}
    values = scan.values.ravel(order="K")
    low, high = np.percentile(values[:: max(1, values.size // SAMPLE)], (LOW_PERCENT, HIGH_PERCENT))
    if high <= low:  # nearly all of it is of one value
        low, high = float(values.min()), float(values.max())
    if math.isfinite(high - low) and high > low:
        found |= {"value_range": float(high - low), "floor": float(low / (high - low))}
    return found


def summarise(measured: Sequence[dict[str, float]]) -> dict[str, Any]:
    """The range of every trait that all scans have, with their number; {} for fewer than `FEWEST` scans, whose range
    would be theirs one by one."""
    if len(measured) < FEWEST:
        return {}
    found: dict[str, Any] = {"scans": len(measured)}
    for name in TRAITS:
        values = [one[name] for one in measured if name in one]
        if values and len(values) == len(measured):
            found[name] = [float(value) for value in np.quantile(values, TAILS)]
    return found


def far_off(training: dict[str, Any], own: dict[str, float]) -> str:
    """In what a scan is far off the training scans, as a sentence without a full stop; "" where it is not.

    training: what `summarise` gave for them. own: what `measure` gave for the scan.
    """
    reasons = []
    for name, (said, factor, margin) in TRAITS.items():
        if name not in training:
            continue
        if name not in own:
            if name == "finest_mm":
                reasons.append(
                    f"no spacing, where {training[name][0]:.3g} to {training['coarsest_mm'][1]:.3g} mm was seen"
                )
            continue
        low, high = training[name]
        value, least, most = own[name], low, high
        if factor is not None:
            value, least, most, margin = math.log(value), math.log(low), math.log(high), math.log(factor)
        margin = max(margin, SPREAD * (most - least))
        if not least - margin <= value <= most + margin:
            reasons.append(f"{said.format(own[name])}, where {low:.4g} to {high:.4g} was seen")
    return "; ".join(reasons)


def _check_summary(summary: Any) -> None:
    """Raises ValueError for what `summarise` cannot have given."""
    if not isinstance(summary, dict):
        raise ValueError(f"expected the ranges of traits, found {summary!r}")
    for name, trait in TRAITS.items():
        if name not in summary:
            continue
        ends = summary[name]
        plain = isinstance(ends, list) and len(ends) == 2 and all(isinstance(end, float | int) for end in ends)
        if not plain or not all(map(math.isfinite, ends)) or (trait.factor is not None and min(ends) <= 0):
            raise ValueError(f"{name}: expected the ends of a range, found {ends!r}")
    if ("finest_mm" in summary) != ("coarsest_mm" in summary):
        raise ValueError("expected finest_mm and coarsest_mm, found one of them")


class ScanMonitor:
    """A contract of images, or of images with masks, that measures every scan it reads.

    summaries: what each run's training scans were like, by the run's name, "" for the only one; {} while training.
    outside: "refuse" makes a scan that is far off an error (ContractError), "flag" notes it in `outside`. Raises
    ValueError for a summary that `summarise` did not write.
    """

    def __init__(
        self, contract: ImageContract | MaskContract, summaries: dict[str, dict[str, Any]], outside: OutsideMode
    ) -> None:
        for summary in summaries.values():
            _check_summary(summary)
        self.contract, self.runs, self.refuse = contract, summaries, outside == "refuse"
        self.outside: dict[str, str] = {}
        self.measured: dict[str, dict[str, float]] = {}

    def read(self, example: Named) -> Tensor:
        """What the contract reads."""
        tensor, scan = self.contract.read_with_scan(example)
        own = self.measured[str(example)] = measure(scan)
        reasons = {name: far_off(summary, own) for name, summary in self.runs.items()}
        text = "; ".join(f"{name}: {reason}" if name else reason for name, reason in reasons.items() if reason)
        if text and self.refuse:
            raise ContractError(f"{example}: is unlike the scans of the training (--outside refuse): {text}")
        if text:
            self.outside[str(example)] = text
        return tensor

    def summary(self, examples: Iterable[Named]) -> dict[str, Any]:
        return summarise([self.measured[path] for path in map(str, examples) if path in self.measured])

    def collate(self, examples: Sequence[Tensor]) -> Features:
        return self.contract.collate(examples)

    def seconds(self, example: Tensor) -> None:
        return None

    def blank(self) -> Tensor:
        return self.contract.blank()

    def to_json(self) -> dict[str, Any]:
        return self.contract.to_json()
