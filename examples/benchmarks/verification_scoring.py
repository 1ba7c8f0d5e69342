"""How long do EER, minDCF, Cllr and minCllr of a million trials take, and are they those of a direct computation?

    python examples/benchmarks/verification_scoring.py [--trials 1000000]

The direct computation of EER and minDCF is scikit-learn's `roc_curve`; of Cllr, its formula. Memory is what the process
grew by at its highest.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from graftwork.audio.verification.evaluation import evaluate_scores
from graftwork.audio.verification.scoring import (
    Counts,
    DetectionCost,
    cllr,
    count,
    equal_error_rate,
    min_cllr,
    min_detection_cost,
)
from graftwork.core.compute.memory import recent_peak_memory_mb, reset_peak_memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1_000_000)
    number = parser.parse_args().trials
    from sklearn.isotonic import isotonic_regression
    from sklearn.metrics import roc_curve

    rng = np.random.default_rng(0)
    same = rng.random(number) < 0.02
    scores = rng.normal(np.where(same, 2.0, 0.0))
    cost = DetectionCost()
    isotonic_regression(np.array([0.0, 1.0]))  # imported and ready
    reset_peak_memory()
    before, began = recent_peak_memory_mb(), time.perf_counter()
    counts: Counts = count(scores, same)
    ours = [equal_error_rate(counts), min_detection_cost(counts, cost), cllr(counts), min_cllr(counts)]
    took = time.perf_counter() - began
    print(f"{number} trials: {took:.2f} s, {recent_peak_memory_mb() - before:.0f} MB")
    false_alarm, hit, _ = roc_curve(same, scores, drop_intermediate=False)
    miss = 1 - hit
    place = int(np.argmax(miss <= false_alarm))
    a, b = miss[place - 1] - false_alarm[place - 1], false_alarm[place] - miss[place]
    direct = [
        float(miss[place - 1] + a / (a + b) * (miss[place] - miss[place - 1])),
        float((cost.p_target * miss + (1 - cost.p_target) * false_alarm).min() / cost.p_target),
        float(np.logaddexp(0, -scores[same]).mean() + np.logaddexp(0, scores[~same]).mean()) / (2 * np.log(2)),
    ]
    for name, own, other in zip(("EER", "minDCF", "Cllr"), ours, direct, strict=False):
        print(f"{name:<8} {own:.6f}, directly {other:.6f}, difference {abs(own - other):.1e}")
    print(f"minCllr  {ours[3]:.6f}")
    names = [f"s{speaker}" for speaker in range(200)]
    sides = ([names[i] for i in rng.integers(0, 200, number)], [names[i] for i in rng.integers(0, 200, number)])
    began = time.perf_counter()
    evaluate_scores(scores, same, sides)
    print(f"with intervals that leave out each of 200 speakers: {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
