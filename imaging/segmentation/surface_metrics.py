"""How near a predicted mask is to the true one: overlap, and distances between their surfaces in mm."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from graftwork.core.tasks.masks import IGNORED


def measure_masks(
    truth: NDArray[np.int64], guess: NDArray[np.int64], classes: int, spacing_mm: Sequence[float] | None
) -> NDArray[np.float64]:
    """Dice, HD95, mean surface distance and false positive (classes - 1, 4) of every class but the background, which is
    0.

    truth, guess: (*spatial) class numbers; where the truth is `IGNORED`, both count as background. spacing_mm: between
    voxels along each axis, None where it is not known: distances are then not defined.

    Dice is 2 * overlap / (truth + guess). HD95 is the larger of the two 95 % quantiles of the distances from one
    surface to the other (Taha and Hanbury 2015), the surface distance the mean over the voxels of both surfaces; by
    MONAI. A class that is neither there nor predicted has none of these (NaN); one that is there or predicted, but not
    both, has a Dice of 0 and no distances. A class that is not there is a false positive, 1, where it was predicted,
    else 0; of one that is there this is NaN.
    """
    found = np.full((classes - 1, 4), np.nan)
    if (truth == IGNORED).any():
        guess = np.where(truth == IGNORED, 0, guess)
    for number in range(1, classes):
        true, own = truth == number, guess == number
        both = int(true.sum()) + int(own.sum())
        if both:
            found[number - 1, 0] = 2 * int((true & own).sum()) / both
        if not true.any():
            found[number - 1, 3] = own.any()
        if true.any() and own.any() and spacing_mm is not None:
            found[number - 1, 1:3] = _distances(true, own, spacing_mm)
    return found


def _distances(truth: NDArray[np.bool_], guess: NDArray[np.bool_], spacing_mm: Sequence[float]) -> tuple[float, float]:
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance

    pair: Any = [torch.from_numpy(mask[None, None].astype(np.float32)) for mask in (guess, truth)]
    spacing = [float(length) for length in spacing_mm]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # MONAI passes itself an argument that it deprecates
        hd95 = compute_hausdorff_distance(*pair, include_background=True, percentile=95, spacing=spacing)
        mean = compute_average_surface_distance(*pair, include_background=True, symmetric=True, spacing=spacing)
    return float(hd95), float(mean)
