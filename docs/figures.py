"""Figures of the explaining pages on frozen stages, intervals and leaks, drawn when the documentation is built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from torch.nn import Linear

from graftwork import core, imaging

STATIC = Path(__file__).parent / "_static"
FROZEN, LEARNT, CHANCE = "#9db4c8", "#e08e45", "#777777"


def draw_frozen() -> Figure:
    """The stages of a network under three strategies: what is computed once, and what learns."""
    backbone = imaging.load_backbone("tiny:cnn2d")
    names = [stage.name for stage in backbone.stages]
    figure = Figure(figsize=(8, 2.8), layout="constrained")
    axes = figure.subplots()
    for row, strategy in enumerate(("probe", "partial:1", "full")):
        frontier = core.make_plan(core.parse_strategy(strategy), backbone, Linear(1, 2)).frontier
        for place, name in enumerate([*names, "head"]):
            colour = LEARNT if place >= frontier or name == "head" else FROZEN
            axes.add_patch(FancyBboxPatch((place, -row), 0.8, 0.5, boxstyle="round,pad=0.03", color=colour))
            axes.text(place + 0.4, 0.25 - row, name, ha="center", va="center", fontsize=9)
        axes.text(-0.2, 0.25 - row, strategy, ha="right", va="center", fontsize=10)
        axes.plot([frontier - 0.1] * 2, [-row - 0.15, 0.65 - row], color="black", linewidth=1.5)
    axes.set(xlim=(-1.4, len(names) + 1), ylim=(-2.4, 1.1))
    axes.text(0, 0.9, "blue: computed once for each example     orange: computed in every epoch     line: frontier",
              fontsize=9, va="center")  # fmt: skip
    axes.set_axis_off()
    return figure


def draw_intervals() -> Figure:
    """The AUROC of one model in twenty studies of 12, and of 60 patients with three scans each, with its interval."""
    generator = np.random.default_rng(0)
    figure = Figure(figsize=(8, 3), layout="constrained")
    for axes, patients in zip(figure.subplots(1, 2, sharey=True), (12, 60), strict=True):
        for study in range(20):
            groups = np.repeat(np.arange(patients), 3)
            truth = groups % 2
            logits = 1.5 * truth + generator.normal(size=patients)[groups] + 0.5 * generator.normal(size=len(groups))
            second = 1 / (1 + np.exp(-logits))
            found = core.evaluate_predictions("single-label", ("a", "b"), truth, np.stack([1 - second, second], axis=1),
                                              groups.tolist()).metrics["auroc"]  # fmt: skip
            axes.plot([study, study], [found.low, found.high], color=FROZEN, linewidth=3)
            axes.plot(study, found.value, "o", color="black", markersize=3)
        axes.axhline(TRUE_AUROC, color=LEARNT, linewidth=1)
        axes.set(title=f"{patients} patients", xlabel="study", ylim=(0.1, 1.02), xticks=[])
    figure.axes[0].set_ylabel("AUROC")
    return figure


TRUE_AUROC = 0.829
"""Of a difference of 1.5 where scores of both classes vary by 1 + 0.25: the normal distribution at 1.5 / sqrt(2.5)."""


def draw_leaks() -> Figure:
    """A score that knows nothing of the label but who the patient is, evaluated apart and mixed."""
    generator = np.random.default_rng(0)
    patients = 20
    groups = np.repeat(np.arange(patients), 6)
    truth = groups % 2
    anatomy = generator.normal(size=(patients, 8))[groups] + 0.3 * generator.normal(size=(len(groups), 8))
    order = generator.permutation(len(groups))
    shown = {}
    for name, folds in (("patients apart", groups % 10 // 2), ("patients mixed", order % 5)):
        nearest = np.empty(len(groups))
        for fold in range(5):
            test, train = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
            distances = np.linalg.norm(anatomy[test][:, None] - anatomy[train][None], axis=2)
            nearest[test] = truth[train][np.argsort(distances, axis=1)[:, :5]].mean(axis=1)
        shown[name] = core.evaluate_predictions("single-label", ("a", "b"), truth,
                                                np.stack([1 - nearest, nearest], axis=1), groups.tolist(),
                                                ).metrics["auroc"]  # fmt: skip
    figure = Figure(figsize=(7, 1.8), layout="constrained")
    axes = figure.subplots()
    for place, (found, colour) in enumerate(zip(shown.values(), (FROZEN, LEARNT), strict=True)):
        axes.plot([found.low, found.high], [place, place], color=colour, linewidth=3)
        axes.plot(found.value, place, "o", color="black", markersize=4)
    axes.axvline(0.5, color=CHANCE, linestyle=":")
    axes.set(yticks=range(2), yticklabels=list(shown), xlabel="AUROC of scores that know patients, and nothing else",
             xlim=(0.2, 1.02))  # fmt: skip
    axes.margins(y=0.4)
    axes.invert_yaxis()
    return figure


FIGURES = {"frozen": draw_frozen, "intervals": draw_intervals, "leaks": draw_leaks}


def write(app: Any) -> None:
    """Writes all of them into `_static/`, which git does not keep."""
    STATIC.mkdir(exist_ok=True)
    with matplotlib.rc_context({"svg.hashsalt": "graftwork"}):
        for name, draw in FIGURES.items():
            draw().savefig(STATIC / f"drawn-{name}.svg", metadata={"Date": None})


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True}
