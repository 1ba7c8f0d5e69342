"""Evaluations as people would rather see them: ROC, confusion, reliability, predicted against true."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from graftwork.core.calibration import reliability
from graftwork.core.files import whole_file
from graftwork.core.masks import MEASURES
from graftwork.core.transcripts import decode, error_counts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from graftwork.core.comparison import Comparison
    from graftwork.core.run_folder import Judged

Floats = NDArray[np.float64]

MAX_CURVES = 10
"""More classes than this are drawn as their mean curve would be unreadable one by one: only the first are shown."""


def draw_evaluation(folder: Path, judged: Judged) -> None:
    """Writes `evaluation.png`: for labels ROC, confusion and reliability side by side; for numbers a scatter; for masks
    every measure of every case."""
    from matplotlib.figure import Figure

    manifest, predictions = judged.manifest, judged.predictions
    values = np.asarray(manifest.values)
    if manifest.task == "mask":
        # Without a spacing there are no distances.
        shown = [place for place in range(len(MEASURES)) if place == 0 or not np.isnan(predictions[:, :, place]).all()]
        figure = Figure(figsize=(4 * len(shown), 4), layout="constrained")
        for axes, place in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
            draw_cases(axes, predictions[:, :, place], manifest.classes[1:], MEASURES[place])
    elif manifest.task == "text":
        figure = Figure(figsize=(6, 4), layout="constrained")
        draw_text_errors(figure.subplots(), judged)
    elif manifest.task == "regression":
        figure = Figure(figsize=(5, 5), layout="constrained")
        draw_numbers(
            figure.subplots(),
            values.astype(np.float64),
            predictions.reshape(len(predictions)),
            manifest.target,
        )
    else:
        single = manifest.task == "single-label"
        figure = Figure(figsize=(13.5 if single else 9, 4.5), layout="constrained")
        panels = figure.subplots(1, 3 if single else 2)
        onehot = np.eye(len(manifest.classes))[values.astype(np.int64)] if single else values.astype(np.float64)
        draw_roc(panels[0], onehot, predictions, manifest.classes)
        if single:
            confidence, hits = predictions.max(1), (predictions.argmax(1) == values).astype(np.float64)
        else:
            confidence, hits = predictions.ravel(), onehot.ravel()
        draw_reliability(panels[1], hits, confidence)
        if judged.evaluation.confusion is not None:
            draw_confusion(panels[2], judged.evaluation.confusion, manifest.classes)
    with whole_file(folder / "evaluation.png") as beside:
        # Without metadata the same numbers are the same bytes.
        figure.savefig(beside, format="png", dpi=110, metadata={"Software": None})


def draw_cases(axes: Axes, values: Floats, classes: tuple[str, ...], name: str) -> None:
    """A box a class over its cases (rows, classes), and a point for each; what is not defined is left out."""
    defined = [column[~np.isnan(column)] for column in values.T]
    axes.boxplot(defined, tick_labels=list(classes), showfliers=False)
    for place, column in enumerate(defined, start=1):
        axes.scatter(place + np.linspace(-0.15, 0.15, len(column)), column, s=8, alpha=0.5)
    axes.set(xlabel="class", ylabel=name)


def draw_text_errors(axes: Axes, judged: Judged) -> None:
    """How many transcripts have which word and character error rate; rates above 1 stand with 1."""
    manifest = judged.manifest
    counts = error_counts(decode(manifest.values, manifest.classes), decode(judged.predictions, manifest.classes))
    rates = [np.minimum(errors / np.maximum(lengths, 1), 1.0) for errors, lengths in counts.values()]
    axes.hist(rates, bins=[tenth / 10 for tenth in range(11)], label=[name.upper() for name in counts])
    axes.set(xlabel="error rate of a transcript", ylabel="transcripts")
    axes.legend()


def draw_comparison(path: Path, comparison: Comparison) -> None:
    """One line a strategy: its metric with the interval, and beside its name the seconds it took."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 1.4 + 0.45 * len(comparison.results)), layout="constrained")
    axes = figure.subplots()
    names = []
    for place, result in enumerate(comparison.results):
        found, seconds = result.metrics[comparison.metric], result.seconds
        chosen = result.strategy in (comparison.best, comparison.cheapest)
        colour = "C0" if chosen else "grey"
        axes.plot([found.low, found.high], [place, place], color=colour)
        axes.plot([found.value], [place], "o", color=colour)
        names.append(result.strategy + ("" if seconds is None else f"\n{seconds:.3g} s"))
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    title = f"best: {comparison.best or 'undefined'}; cheapest beside it: {comparison.cheapest or 'unknown'}"
    axes.set(xlabel=f"{comparison.metric} ({comparison.part}), 95% interval", title=title)
    with whole_file(path) as beside:
        figure.savefig(beside, format="png", dpi=110, metadata={"Software": None})


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
