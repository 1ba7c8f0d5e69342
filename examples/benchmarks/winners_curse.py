"""The best of several equal models: how much too good it looks, and what the corrected figure says.

    python examples/benchmarks/winners_curse.py [--rows 60] [--models 10] [--auroc 0.8] [--runs 200]

Every model has the same true AUROC (binormal scores), and models share none or half of the variance of their scores.
Prints the bias of the best model's AUROC and of the corrected one (BBC, Tsamardinos et al. 2018), and how often their
95 % intervals hold the true value.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.stats import norm

from graftwork import core
from graftwork.core.cli.console import print_table
from graftwork.core.evaluation.evaluation import measured
from graftwork.core.evaluation.selection import corrected_choice
from graftwork.core.tasks import SINGLE_LABEL

CLASSES = ("a", "b")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=60)
    parser.add_argument("--models", type=int, default=10)
    parser.add_argument("--auroc", type=float, default=0.8)
    parser.add_argument("--runs", type=int, default=200)
    chosen = parser.parse_args()
    rows = [row(chosen, shared) for shared in (0.0, 0.5)]
    print_table(["shared variance", "bias of the best", "it covers", "bias corrected", "it covers"], rows)


def row(chosen: argparse.Namespace, shared: float) -> tuple[str, ...]:
    """The figures of models that share this part of their scores' variance."""
    generator = np.random.default_rng(0)
    truth = np.arange(chosen.rows) % 2
    apart = np.sqrt(2) * norm.ppf(chosen.auroc)
    naive, corrected = [], []
    for _ in range(chosen.runs):
        common = generator.normal(size=chosen.rows) * np.sqrt(shared)
        own = generator.normal(size=(chosen.models, chosen.rows)) * np.sqrt(1 - shared)
        second = 1 / (1 + np.exp(-(apart * (truth - 0.5) + common + own)))
        chances = np.stack([1 - second, second], axis=2)
        models = [measured(SINGLE_LABEL, CLASSES, truth, one) for one in chances]
        best = int(np.argmax([model(np.ones((1, chosen.rows)))["auroc"][0] for model in models]))
        naive.append(core.evaluate_predictions(SINGLE_LABEL, CLASSES, truth, chances[best]).metrics["auroc"])
        corrected.append(corrected_choice(models, "auroc", chosen.rows))
    shown = [f"{shared:g}"]
    for found in (naive, corrected):
        shown.append(f"{np.mean([one.value for one in found]) - chosen.auroc:+.3f}")
        shown.append(f"{np.mean([one.low <= chosen.auroc <= one.high for one in found]):.2f}")
    return tuple(shown)


if __name__ == "__main__":
    main()
