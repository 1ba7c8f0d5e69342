"""What a scan is once it has been read: its size, its spacing, and the range of its values."""

from __future__ import annotations

import numpy as np

from graftwork.core.example import Example
from graftwork.core.types import Description
from graftwork.imaging.formats.scan_files import read_scan
from graftwork.imaging.scan import times


def describe_scan(example: Example) -> Description:
    """Lowest and highest value, size, channels and spacing. Raises UnreadableError and MissingPackageError as reading
    does."""
    scan = read_scan(example)
    finite = scan.values[np.isfinite(scan.values)]
    faults = [] if len(finite) == scan.values.size else ["values that are not finite"]
    if not len(finite) or finite.min() == finite.max():
        faults.append("one value only")
    numbers = {"lowest": float(finite.min()), "highest": float(finite.max())} if len(finite) else {}
    spacing = "not said" if scan.spacing_mm is None else " x ".join(f"{length:.3g}" for length in scan.spacing_mm)
    words = {"size": times(scan.spatial_shape), "channels": str(scan.channels), "spacing_mm": spacing}
    return Description(numbers, words, tuple(faults))
