"""Detection error trade-off: misses against false alarms, on axes where Gaussian scores give straight lines."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from graftwork.audio.verification.scoring import DetectionCost, count, equal_error_rate, error_rates, min_detection_cost
from graftwork.core.files import atomic_write

TICKS = (0.001, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6)


def draw_det(
    path: Path, scores: Mapping[str, NDArray[np.float64]], targets: NDArray[np.bool_], cost: DetectionCost
) -> None:
    """Writes a detection error trade-off curve (Martin et al. 1997) for every kind of score, with probit axes."""
    from matplotlib.figure import Figure
    from scipy.stats import norm

    figure = Figure(figsize=(5.5, 5.5), layout="constrained")
    axes = figure.subplots()
    for name, values in scores.items():
        counts = count(values, targets)
        miss, false_alarm = error_rates(counts)
        shown = slice(None, None, max(1, len(miss) // 5000))
        eer = equal_error_rate(counts)
        label = f"{name}: EER {eer:.1%}, minDCF {min_detection_cost(counts, cost):.3f}"
        (line,) = axes.plot(
            *(norm.ppf(np.clip(one[shown], 1e-5, 1 - 1e-5)) for one in (false_alarm, miss)), label=label
        )
        axes.plot(*[norm.ppf(np.clip(eer, 1e-5, 1 - 1e-5))] * 2, "o", color=line.get_color())
    places, names = norm.ppf(TICKS), [f"{tick:.1%}" for tick in TICKS]
    axes.set_xticks(places, names)
    axes.set_yticks(places, names)
    limits = (norm.ppf(0.0005), norm.ppf(0.7))
    axes.set(xlim=limits, ylim=limits, xlabel="false alarms", ylabel="misses")
    axes.grid(alpha=0.3)
    axes.legend()
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120, metadata={"Software": None})
