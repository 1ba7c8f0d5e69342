"""Panels that evaluations are drawn from; which of them a task has, its own file says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from graftwork.core.metrics.calibration import reliability

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

MAX_CURVES = 10
"""More classes than this are drawn as their mean curve would be unreadable one by one: only the first are shown."""


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, size in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def draw_cases(axes: Axes, values: Floats, classes: tuple[str, ...], name: str) -> None:
    """A box a class over its cases (rows, classes), and a point for each; what is not defined is left out."""
    defined = [column[~np.isnan(column)] for column in values.T]
    axes.boxplot(defined, tick_labels=list(classes), showfliers=False)
    for place, column in enumerate(defined, start=1):
        axes.scatter(place + np.linspace(-0.15, 0.15, len(column)), column, s=8, alpha=0.5)
    axes.set(xlabel="class", ylabel=name)


def draw_roc(axes: Axes, onehot: Floats, predictions: Floats, classes: tuple[str, ...]) -> None:
    """One curve a class that has rows of both kinds; of two classes only the second's."""
    from sklearn.metrics import roc_curve

    for k in [1] if len(classes) == 2 and onehot.sum(1).max() == 1 else range(min(len(classes), MAX_CURVES)):
        if 0 < onehot[:, k].sum() < len(onehot):
            false_rate, true_rate, _ = roc_curve(onehot[:, k], predictions[:, k])
            axes.plot(false_rate, true_rate, label=classes[k])
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle=":")
    axes.set(xlabel="false positive rate", ylabel="true positive rate", title="ROC", aspect="equal")
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="lower right", fontsize="small")


def draw_reliability(axes: Axes, hits: Floats, confidence: Floats) -> None:
    """Hit rate over confidence, the area of a point showing its number of rows."""
    mean, rate, count = reliability(hits, confidence)
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle=":")
    axes.plot(mean, rate, linewidth=0.8)
    axes.scatter(mean, rate, s=10 + 190 * count / count.max())
    axes.set(xlabel="confidence", ylabel="hit rate", title="reliability", xlim=(0, 1), ylim=(0, 1), aspect="equal")


def draw_confusion(axes: Axes, matrix: NDArray[np.int64], classes: tuple[str, ...]) -> None:
    """Counts, coloured by the share of the true class."""
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right")
    axes.set_yticks(range(len(classes)), classes)
    axes.set(xlabel="predicted", ylabel="true", title="confusion")
    if len(classes) <= 20:
        for i, j in np.ndindex(matrix.shape):
            axes.text(
                j,
                i,
                str(matrix[i, j]),
                ha="center",
                va="center",
                color="white" if share[i, j] > 0.5 else "black",
            )


def draw_numbers(axes: Axes, truth: Floats, predicted: Floats, name: str) -> None:
    """Predicted over true, with the diagonal."""
    low, high = float(min(truth.min(), predicted.min())), float(max(truth.max(), predicted.max()))
    axes.plot([low, high], [low, high], color="grey", linewidth=0.8, linestyle=":")
    axes.scatter(truth, predicted, s=12, alpha=0.7)
    axes.set(xlabel=f"true {name}", ylabel=f"predicted {name}", aspect="equal")
