"""Masks as people would rather see them: the scan with the outlines of the true and the predicted mask."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from graftwork.imaging.scan import Scan

Classes = NDArray[np.int64]


def draw_masks(file: Path, cases: list[tuple[str, Scan, Classes, Classes]], names: Sequence[str]) -> None:
    """One row a case: its title, the scan, and true and predicted classes (*spatial), as outlines. names: what the
    classes are called, the background first.

    Volumes show the slice across each axis in which most of the true mask, or where there is none of the predicted one,
    lies. Dashed is the truth, solid the prediction, one colour a class.
    """
    from matplotlib.figure import Figure

    columns = max(truth.ndim for _, _, truth, _ in cases)
    columns = 1 if columns == 2 else 3
    figure = Figure(figsize=(3.6 * columns, 3.6 * len(cases)), layout="constrained")
    panels = figure.subplots(len(cases), columns, squeeze=False)
    for row, (title, scan, truth, guess) in zip(panels, cases, strict=True):
        shown = scan.values[0] if not scan.rgb else scan.values.mean(0)
        low, high = shown_range(scan, shown, (truth > 0) | (guess > 0))
        for axis, axes in enumerate(row):
            views = [shown, truth, guess]
            if columns == 3:
                place = fullest_slice(truth if truth.any() else guess, axis)
                views = [np.take(view, place, axis)[::-1] for view in views]
            axes.imshow(
                views[0], cmap="gray", vmin=low, vmax=max(high, low + 1e-6), aspect=_aspect(scan, axis, columns)
            )
            for number in range(1, len(names)):
                for mask, style in ((views[1], "--"), (views[2], "-")):
                    if (mask == number).any():
                        axes.contour(mask == number, [0.5], colors=f"C{number}", linestyles=style, linewidths=1)
            axes.set_axis_off()
        row[0].set_title(title, fontsize="small", loc="left")
    for kind, style in (("truth", "--"), ("prediction", "-")):
        panels[0][0].plot([], [], color="black", linestyle=style, label=kind)
    for number, name in enumerate(names[1:], start=1):
        panels[0][0].plot([], [], color=f"C{number}", label=name)
    figure.legend(loc="outside lower center", ncols=4, fontsize="small")
    figure.savefig(file, format="png", dpi=110, metadata={"Software": None})


def shown_range(scan: Scan, shown: NDArray[np.float32], marked: NDArray[np.bool_]) -> tuple[float, float]:
    """The values that are drawn black and white: the full range of a picture's type, else 1 % and 99 % of the scan,
    and of what is marked, which may be brighter or darker than nearly all of it."""
    if scan.full_range is not None:
        return scan.full_range
    low, high = np.percentile(shown, (1, 99))
    if marked.any():
        within = np.percentile(shown[marked], (1, 99))
        low, high = min(low, within[0]), max(high, within[1])
    return float(low), float(high)


def fullest_slice(mask: Classes, axis: int) -> int:
    """The place along the axis of the slice with most of the mask; the middle where there is none."""
    counts = (mask > 0).sum(axis=tuple(other for other in range(mask.ndim) if other != axis))
    return int(counts.argmax()) if counts.any() else mask.shape[axis] // 2


def _aspect(scan: Scan, axis: int, columns: int) -> float:
    """Height of a pixel by its width, in mm."""
    if scan.spacing_mm is None:
        return 1.0
    spacing = [length for place, length in enumerate(scan.spacing_mm) if columns == 1 or place != axis]
    return spacing[0] / spacing[1]
