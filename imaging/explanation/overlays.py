"""Saliency laid over the image, or over three slices through the strongest place."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graftwork.core.example import File
from graftwork.core.files import atomic_write
from graftwork.imaging.explanation.saliency import Saliency, explain
from graftwork.imaging.formats.scan_files import read_scan
from graftwork.imaging.segmentation.overlays import fullest_slice, shown_range

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from graftwork.core.example import Example
    from graftwork.core.inference.adapter import Adapter

WINDOW_PERCENT = (0.5, 99.5)
"""Quantiles of a scan between which its grey values are spread."""

PLANES = ("axial", "coronal", "sagittal")
"""Slices across depth, height and width of a volume in RAS order."""


def draw_saliency(path: Path, found: Saliency) -> None:
    """Writes a PNG: the image, beside it the same under the map; of a volume three slices, through the strongest place.

    Volumes in RAS order are drawn with the head and the front upwards, the patient's right to the right. Raises
    OutputError where it cannot be written.
    """
    from matplotlib.figure import Figure

    flat = found.values.ndim == 2
    figure = Figure(figsize=(7, 3.9) if flat else (10, 3.9), layout="constrained")
    panels = figure.subplots(1, 2 if flat else 3)
    if flat:
        for axes in panels:
            _draw(axes, found, None)
        _lay_over(panels[1], found.values)
    else:
        for axis, axes in enumerate(panels):
            _draw(axes, found, axis)
            _lay_over(axes, np.take(found.values, found.strongest[axis], axis), _aspect(found, axis))
    figure.suptitle(f"what raises {found.output} ({found.prediction:.3g}), by {found.stage}")
    with atomic_write(path) as temporary:
        # Without metadata the same numbers are the same bytes.
        figure.savefig(temporary, format="png", dpi=110, metadata={"Software": None})


def saliency_preview(adapter: Adapter, example: Example) -> bytes:
    """A small PNG of an example under the map of what raises its most probable output. Raises what `explain` does."""
    from matplotlib.figure import Figure

    found = explain(adapter, example)
    flat = found.values.ndim == 2
    height, width = found.values.shape[-2:]
    figure = Figure(figsize=(min(max(1.8 * width / height, 0.9), 3.6) if flat else 5.4, 1.8))
    panels = figure.subplots(1, 1 if flat else 3, squeeze=False)[0]
    figure.subplots_adjust(left=0, right=1, bottom=0, top=1, wspace=0.02)
    for axis, axes in enumerate(panels):
        _draw(axes, found, None if flat else axis)
        axes.set_title("")
        _lay_over(axes, found.values if flat else np.take(found.values, found.strongest[axis], axis),
                  None if flat else _aspect(found, axis))  # fmt: skip
    held = io.BytesIO()
    figure.savefig(held, format="png", dpi=110, facecolor="black", metadata={"Software": None})
    return held.getvalue()


def mask_preview(example: Example, mask: Path, names: Sequence[str]) -> bytes:
    """A small PNG of an example with the outlines of a mask file in its geometry, one colour a class; of a volume the
    slice across the first axis with most of the mask, the middle one where there is none. names: what the classes are
    called, the background first. Raises UnreadableError."""
    from matplotlib.figure import Figure

    scan = read_scan(example)
    classes = np.rint(read_scan(File(str(mask))).values[0]).astype(np.int64)
    shown = scan.values.mean(0) if scan.rgb else scan.values[0]
    low, high = shown_range(scan, shown, classes > 0)
    aspect = 1.0
    if classes.ndim == 3:
        place = fullest_slice(classes, 0)
        shown, classes = (np.take(one, place, 0)[::-1] for one in (shown, classes))  # the front upwards
        if scan.spacing_mm is not None:
            aspect = scan.spacing_mm[1] / scan.spacing_mm[2]
    figure = Figure(figsize=(4.5, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shown, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), aspect=aspect)
    for number, name in enumerate(names[1:], start=1):
        if (classes == number).any():
            axes.contour(classes == number, [0.5], colors=f"C{number}", linewidths=1)
        axes.plot([], [], color=f"C{number}", label=name)
    axes.set_axis_off()
    figure.legend(loc="outside lower center", ncols=4, fontsize="small")
    held = io.BytesIO()
    figure.savefig(held, format="png", dpi=90, metadata={"Software": None})
    return held.getvalue()


def _draw(axes: Axes, found: Saliency, axis: int | None) -> None:
    """The scan in grey, or in its colours; of a volume the slice across an axis, at the strongest place."""
    shown: NDArray[Any] = found.scan.values
    low, high = np.percentile(shown, WINDOW_PERCENT) if found.scan.full_range is None else found.scan.full_range
    shown = np.clip((shown - low) / max(high - low, 1e-12), 0, 1)
    aspect = None
    if axis is not None:
        shown = np.take(shown, found.strongest[axis], axis + 1)
        aspect = _aspect(found, axis)
        oriented = found.scan.affine is not None
        axes.set_title(f"{PLANES[axis] if oriented else 'slice'} {found.strongest[axis]}", fontsize="medium")
    picture = np.moveaxis(shown, 0, -1) if found.scan.rgb else shown[0]
    axes.imshow(picture, cmap="gray", vmin=0, vmax=1, origin="upper" if axis is None else "lower", aspect=aspect)
    axes.set_axis_off()


def _lay_over(axes: Axes, values: NDArray[np.float32], aspect: float | None = None) -> None:
    axes.imshow(values, cmap="inferno", vmin=0, vmax=1, alpha=0.65 * values, interpolation="nearest",
                origin="upper" if aspect is None else "lower", aspect=aspect)  # fmt: skip


def _aspect(found: Saliency, axis: int) -> float:
    """Height of a voxel relative to its width in the slice across an axis."""
    spacing = found.scan.spacing_mm or (1.0, 1.0, 1.0)
    down, across = (length for place, length in enumerate(spacing) if place != axis)
    return down / across
