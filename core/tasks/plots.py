"""Panels that evaluations are drawn from; which of them a task has, its own file says."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from graftwork.core.metrics.calibration import reliability
from graftwork.core.metrics.intervals import Interval, intervals
from graftwork.core.metrics.operating_point import decision_curve
from graftwork.core.metrics.scores import ranking

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]
Groups = Sequence[Hashable] | None

MAX_CURVES = 10
"""Of more classes only the first are drawn: curves on top of each other cannot be read."""

MOST_COUNTED = 10
"""Of more classes a confusion matrix shows shares alone, and of more than twice as many only colours."""

MOST_CELLS = 200_000
"""Rows times classes up to which areas of single classes have intervals, which then take two seconds."""

LONGEST_NAME = 22
"""Characters of a name that a plot has room for."""

STYLE: Any = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 11,
    "font.size": 9.5,
    "grid.alpha": 0.25,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "svg.hashsalt": "graftwork",  # equal plots are equal bytes
    "text.parse_math": False,  # a name with dollar signs is a name
}
"""What all panels have in common, as matplotlib's settings."""


@dataclass(frozen=True)
class Panel:
    """One plot.

    name: what is shown, in words. draw: onto axes. size: width and height in inches. says: the same in a sentence, for
    those who cannot see it.
    """

    name: str
    draw: Callable[[Axes], None]
    size: tuple[float, float] = (4.5, 4.5)
    says: str = ""


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, size in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def plot_style() -> AbstractContextManager[None]:
    """While it lasts, what is drawn has the look of all plots."""
    import matplotlib as mpl

    return mpl.rc_context(STYLE)


def draw_side_by_side(panels: Sequence[Panel]) -> Figure:
    """All of them in a row."""
    with plot_style():
        widths = [panel.size[0] for panel in panels]
        figure = new_figure(sum(widths), max(panel.size[1] for panel in panels))
        parts = figure.subfigures(1, len(panels), squeeze=False, width_ratios=widths)[0]
        for part, panel in zip(parts, panels, strict=True):
            axes = part.subplots()
            panel.draw(axes)
            axes.set_title(panel.name)
    return figure


def panel_svg(panel: Panel) -> bytes:
    """One alone, as a file of its own; the same panel is the same bytes."""
    with plot_style():
        figure = new_figure(*panel.size)
        axes = figure.subplots()
        panel.draw(axes)
        axes.set_title(panel.name)
        held = io.BytesIO()
        figure.savefig(held, format="svg", dpi=144, metadata={"Date": None, "Creator": None})
    return held.getvalue()


def short_name(name: str) -> str:
    """A name as far as a plot has room for it, its end too, by which names often differ; matplotlib leaves out what
    begins with an underscore."""
    name = name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 9]}…{name[-8:]}"
    return f" {name}" if name.startswith("_") else name


def cases_panel(values: Floats, classes: Sequence[str], name: str) -> Panel:
    """A box a class over its cases (rows, classes), and a point for each; what is not defined is left out."""

    def draw(axes: Axes) -> None:
        defined = [column[~np.isnan(column)] for column in values.T]
        axes.boxplot(defined, tick_labels=[short_name(label) for label in classes], showfliers=False)
        for place, column in enumerate(defined, start=1):
            axes.scatter(place + np.linspace(-0.15, 0.15, len(column)), column, s=8, alpha=0.5, rasterized=True)
        if max(map(len, classes), default=0) * len(classes) > 40:
            axes.tick_params(axis="x", rotation=45)
        axes.set(xlabel="class", ylabel=name)
        axes.grid(axis="y")

    return Panel(name, draw, (max(4.0, 1.5 + 0.5 * len(classes)), 4.0), f"{name} of every case, by class")


def ranking_panels(onehot: Floats, predictions: Floats, classes: Sequence[str], groups: Groups = None) -> list[Panel]:
    """ROC, and precision over recall: one curve a class (rows, classes) that has rows of both kinds, with its area and
    interval. NaN is a row that does not count. Dotted is what chance gives."""
    known = ~np.isnan(onehot)
    count = np.nansum(onehot, axis=0)
    shown = [k for k in range(onehot.shape[1]) if 0 < count[k] < known[:, k].sum()][:MAX_CURVES]
    positive = onehot > 0.5
    areas = _areas(positive, known, predictions, shown, groups)
    roc, precision = ({k: f"{short_name(classes[k])}: {_area(areas[f'{name}_{k}'])}" for k in shown}
                      for name in ("auroc", "average_precision"))  # fmt: skip

    def draw_roc(axes: Axes) -> None:
        from sklearn.metrics import roc_curve

        axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle=":")
        for k, label in roc.items():
            false_rate, true_rate, _ = roc_curve(positive[known[:, k], k], predictions[known[:, k], k])
            axes.plot(false_rate, true_rate, label=label)
        axes.set(xlabel="false positive rate (1 - specificity)", ylabel="true positive rate (sensitivity)")
        _legend(axes, len(roc), "AUROC with 95 % interval")

    def draw_precision(axes: Axes) -> None:
        from sklearn.metrics import precision_recall_curve

        for k, label in precision.items():
            own = known[:, k]
            share, recall, _ = precision_recall_curve(positive[own, k], predictions[own, k], drop_intermediate=True)
            (line,) = axes.plot(recall, share, label=label, drawstyle="steps-post")
            if len(precision) <= 3:
                axes.axhline(positive[own, k].mean(), color=line.get_color(), linewidth=0.8, linestyle=":")
        axes.set(xlabel="recall (sensitivity)", ylabel="precision (PPV)", xlim=(-0.04, 1.04), ylim=(-0.04, 1.04))
        _legend(axes, len(precision), "average precision with 95 % interval")

    size = (4.5, _height(len(shown)))
    return [
        Panel("ROC", draw_roc, size, f"receiver operating characteristic; area: {_said(roc)}"),
        Panel("precision and recall", draw_precision, size,
              f"precision over recall; average precision: {_said(precision)}"),
    ]  # fmt: skip


def reliability_panel(hits: Floats, confidence: Floats) -> Panel:
    """Hit rate over confidence, the area of a point showing its number of rows, with Wilson's 95 % interval of each."""

    def draw(axes: Axes) -> None:
        from scipy.stats import binomtest

        mean, rate, count = reliability(hits, confidence)
        axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle=":")
        # Wilson's (1927) interval of the share in every bin
        ends = [binomtest(round(share * rows), int(rows)).proportion_ci(method="wilson")
                for share, rows in zip(rate.tolist(), count.tolist(), strict=True)]  # fmt: skip
        axes.fill_between(mean, *np.transpose(ends), alpha=0.15, linewidth=0)
        axes.plot(mean, rate, linewidth=0.8)
        axes.scatter(mean, rate, s=10 + 190 * count / count.max())
        axes.set(xlabel="confidence", ylabel="hit rate", xlim=(-0.04, 1.04), ylim=(-0.04, 1.04), aspect="equal")

    return Panel(
        "reliability",
        draw,
        says="share of right predictions over their confidence, with 95 % bands that count rows",
    )


def net_benefit_panel(positive: Floats, probability: Floats, name: str) -> Panel:
    """Decision curve of one class (Vickers and Elkin 2006): true positives per row, less false positives weighed by the
    odds of the threshold, beside treating all and treating none."""

    def draw(axes: Axes) -> None:
        curve = decision_curve(probability, positive > 0.5)
        thresholds, worth, everybody = (
            [one[name] for one in curve] for name in ("threshold", "net_benefit", "treat_all")
        )
        axes.plot(thresholds, worth, label="this model")
        axes.plot(thresholds, everybody, color="grey", linewidth=1, linestyle="--", label="act on all")
        axes.axhline(0, color="grey", linewidth=1, linestyle=":", label="act on none")
        top = max(float(positive.mean()), 0.05)
        axes.set(xlabel=f"threshold probability of {short_name(name)}", ylabel="net benefit", xlim=(0, 1),
                 ylim=(-0.25 * top, 1.1 * top))  # fmt: skip
        axes.legend()

    return Panel("decision curve", draw, says="net benefit of acting on the prediction, over the threshold probability")


def confusion_panel(matrix: NDArray[np.int64], classes: Sequence[str]) -> Panel:
    """Counts, and their share of the true class, which is the colour; where there is none, the cell is empty."""
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    side = min(4.5 + 0.25 * max(0, len(classes) - 6), 10.0)

    def draw(axes: Axes) -> None:
        axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        names = [short_name(name) for name in classes]
        axes.set_xticks(range(len(classes)), names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(classes)), names)
        axes.set(xlabel="predicted", ylabel="true")
        axes.spines[:].set_visible(False)
        if len(classes) > 2 * MOST_COUNTED:
            return
        for i, j in np.argwhere(matrix):
            percent = f"{share[i, j]:.0%}"
            text = percent if len(classes) > MOST_COUNTED else f"{matrix[i, j]}\n{percent}"
            axes.text(j, i, text, ha="center", va="center", fontsize=9 if len(classes) <= 5 else 6.5,
                      color="white" if share[i, j] > 0.5 else "black")  # fmt: skip

    return Panel("confusion", draw, (side, side), "rows by true and predicted class, with their share of the true one")


def numbers_panel(truth: Floats, predicted: Floats, name: str) -> Panel:
    """Predicted over true, with the diagonal."""

    def draw(axes: Axes) -> None:
        low, high = float(min(truth.min(), predicted.min())), float(max(truth.max(), predicted.max()))
        axes.plot([low, high], [low, high], color="grey", linewidth=0.8, linestyle=":")
        axes.scatter(truth, predicted, s=12, alpha=0.7, rasterized=True)
        axes.set(xlabel=f"true {short_name(name)}", ylabel=f"predicted {short_name(name)}", aspect="equal")

    return Panel("predicted over true", draw, (5.0, 5.0), "predicted over true numbers, with the diagonal")


def rates_panel(rates: Mapping[str, Floats]) -> Panel:
    """How many rows have which rate, 0 to 1, by its name."""

    def draw(axes: Axes) -> None:
        axes.hist(list(rates.values()), bins=[tenth / 10 for tenth in range(11)], label=list(rates))
        axes.set(xlabel="error rate of a transcript", ylabel="transcripts")
        axes.legend()

    return Panel("error rates", draw, (6.0, 4.0), "number of transcripts by error rate")


def _areas(
    positive: NDArray[np.bool_],
    known: NDArray[np.bool_],
    predictions: Floats,
    shown: Sequence[int],
    groups: Groups,
) -> dict[str, Interval]:
    """`auroc_K` and `average_precision_K` of every shown class K against the rest, (rows, classes) each; without
    intervals where these would take longer than the evaluation."""

    def measure(weights: Floats) -> dict[str, Floats]:
        found = {}
        for k in shown:
            own = known[:, k]
            areas = ranking(positive[own, k], predictions[own, k], weights[:, own])
            found[f"auroc_{k}"], found[f"average_precision_{k}"] = areas
        return found

    def classes_of(name: str) -> tuple[Floats]:
        k = int(name.rpartition("_")[2])
        return (np.where(known[:, k], positive[:, k], np.nan),)

    if len(shown) * len(positive) > MOST_CELLS:
        return {name: Interval(float(value[0]), math.nan, math.nan)
                for name, value in measure(np.ones((1, len(positive)))).items()}  # fmt: skip
    return intervals(measure, len(positive), groups, classes_of=classes_of) if shown else {}


def _area(interval: Interval) -> str:
    ends = "" if math.isnan(interval.low) else f" [{interval.low:.3f}, {interval.high:.3f}]"
    return f"{interval.value:.3f}{ends}"


def _said(labels: Mapping[int, str]) -> str:
    return "; ".join(labels.values()) or "not defined"


def _height(curves: int) -> float:
    """Of a panel whose curves are named below it."""
    return 4.5 + (0.3 + 0.2 * curves if curves > 2 else 0.0)


def _legend(axes: Axes, curves: int, title: str) -> None:
    """Within the axes for two curves, below them for more, which it would cover."""
    if not curves:
        return
    if curves <= 2:
        axes.set_aspect("equal")
        axes.legend(loc="lower right", title=title, title_fontsize=8.5)
    else:  # axes that are kept square as well would be laid out beyond the top
        around = cast("Figure", axes.get_figure(root=False))
        around.legend(loc="outside lower center", title=title, title_fontsize=8.5)
