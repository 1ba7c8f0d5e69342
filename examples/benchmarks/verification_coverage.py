"""How often intervals by speaker hold the true value: simulated trials, by number of speakers and of clips of each.

    python examples/benchmarks/verification_coverage.py --runs 500      # half an hour; --only "EER 5 %" for one

Speakers are directions in 24 dimensions, clips lie about them with noise that differs between speakers, scores are
cosines of all pairs of clips. The truth is that of 40 sets of 120 speakers; for identification, which depends on how
many are enrolled, that of 300 sets of the same size. Rows are written as in `docs/explained/intervals.md`: the share of
intervals that held the truth, in per cent, and in brackets how many of 100 sets had an interval at all.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graftwork.audio.verification.calibration import Line, calibrate_cosines
from graftwork.audio.verification.evaluation import evaluate_scores
from graftwork.audio.verification.open_set import FALSE_ALARM_RATES, best_scores, detection_rates, profile_trials
from graftwork.audio.verification.scoring import (
    DetectionCost,
    actual_detection_cost,
    cllr,
    count,
    equal_error_rate,
    min_cllr,
    min_detection_cost,
)
from graftwork.core.metrics.intervals import Interval

DIMENSIONS = 24
ENROLLED = 3
"""Clips that a profile is averaged from."""

RARE, OFTEN = DetectionCost(0.01), DetectionCost(0.05)
SIZES = ((10, 5), (10, 10), (20, 5), (20, 10), (40, 5))
"""Speakers, clips of each."""


@dataclass(frozen=True)
class Kind:
    """noise: of clips about their speaker, in standard deviations. uneven: standard deviation of its logarithm between
    speakers."""

    title: str
    noise: float
    uneven: float


KINDS = (
    Kind("EER 2 %", 0.609, 0.15),
    Kind("EER 5 %", 0.779, 0.15),
    Kind("EER 10 %", 0.995, 0.15),
    Kind("EER 20 %", 1.399, 0.15),
    Kind("EER 5 %, most errors of few speakers", 0.67, 0.3),
)


def draw(rng: np.random.Generator, kind: Kind, speakers: int, clips: int) -> tuple[NDArray[np.float32], list[str]]:
    """Unit vectors (speakers * clips, dimensions) and their speakers."""
    noise = kind.noise * np.exp(kind.uneven * rng.standard_normal(speakers))
    own = np.repeat(np.arange(speakers), clips)
    vectors = rng.standard_normal((speakers, DIMENSIONS))[own]
    vectors += noise[own, None] * rng.standard_normal(vectors.shape)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), [f"{one:03}" for one in own]


def pairs(
    vectors: NDArray[np.float32], names: list[str]
) -> tuple[NDArray[np.float64], NDArray[np.bool_], tuple[list[str], list[str]]]:
    """Cosines of all pairs, whether of one speaker, and both speakers."""
    first, second = np.triu_indices(len(vectors), 1)
    who = np.array(names)
    scores = (vectors @ vectors.T)[first, second].astype(np.float64)
    return scores, who[first] == who[second], (who[first].tolist(), who[second].tolist())


def true_values(kind: Kind) -> tuple[dict[str, float], Line]:
    """What very many trials have, and the calibration that is used in every set."""
    rng = np.random.default_rng(99)
    found, same = [], []
    for _ in range(40):
        scores, targets, _ = pairs(*draw(rng, kind, 120, 8))
        found += [scores[targets], rng.choice(scores[~targets], 60_000, replace=False)]
        same += [np.ones(int(targets.sum()), dtype=bool), np.zeros(60_000, dtype=bool)]
    scores, targets = np.concatenate(found), np.concatenate(same)
    line = calibrate_cosines(scores[::5], targets[::5])
    counts, ratios = count(scores, targets), count(line.ratios(scores), targets)
    return {
        "EER": equal_error_rate(counts),
        "minDCF(0.01)": min_detection_cost(counts, RARE),
        "minDCF(0.05)": min_detection_cost(counts, OFTEN),
        "minCllr": min_cllr(counts),
        "Cllr": cllr(ratios),
        "actual DCF(0.05)": actual_detection_cost(ratios, OFTEN),
    }, line


def true_rates(kind: Kind, speakers: int, clips: int) -> dict[str, float]:
    """Identification rates of very many sets of so many speakers."""
    rng = np.random.default_rng((98, speakers, clips))
    known, strangers = [], []
    for _ in range(300):
        found = profile_trials(*draw(rng, kind, speakers, clips), ENROLLED)
        assert found is not None
        own, others = best_scores(found, None)
        known.append(own)
        strangers.append(others)
    every = np.concatenate(known)
    return {f"DIR at FAR {rate:.0%}": float((every >= np.quantile(np.concatenate(strangers), 1 - rate)).mean())
            for rate in FALSE_ALARM_RATES}  # fmt: skip


def intervals(kind: Kind, rng: np.random.Generator, line: Line, speakers: int, clips: int) -> dict[str, Interval]:
    """Of one set."""
    vectors, names = draw(rng, kind, speakers, clips)
    scores, targets, sides = pairs(vectors, names)
    ratios = line.ratios(scores)
    often = evaluate_scores(scores, targets, sides, ratios=ratios, cost=OFTEN)
    rare = evaluate_scores(scores, targets, sides, cost=RARE)
    profiles = profile_trials(vectors, names, ENROLLED)
    assert profiles is not None
    assert often.cllr is not None
    assert often.act_dcf is not None
    return {
        "EER": often.eer,
        "minDCF(0.01)": rare.min_dcf,
        "minDCF(0.05)": often.min_dcf,
        "minCllr": often.min_cllr,
        "Cllr": often.cllr,
        "actual DCF(0.05)": often.act_dcf,
    } | {f"DIR at FAR {one.false_alarm_rate:.0%}": one.rate for one in detection_rates(profiles)}


def cell(found: list[Interval], truth: float) -> str:
    given = [one for one in found if not np.isnan(one.low)]
    if not given:
        return "—"
    held = f"{100 * np.mean([one.low <= truth <= one.high for one in given]):.1f}"
    return held if len(given) == len(found) else f"{held} ({100 * len(given) / len(found):.0f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=500, help="sets of trials a row")
    parser.add_argument("--only", choices=[kind.title for kind in KINDS], default=None)
    asked = parser.parse_args()
    runs, began = asked.runs, time.monotonic()
    for kind in KINDS:
        if asked.only not in (None, kind.title):
            continue
        truth, line = true_values(kind)
        print(f"\n### trials: {kind.title}\n")
        print(", ".join(f"{name} {value:.3f}" for name, value in truth.items()), end="\n\n")
        for place, (speakers, clips) in enumerate(SIZES):
            rng = np.random.default_rng((speakers, clips))
            found: dict[str, list[Interval]] = {}
            for _ in range(runs):
                for name, interval in intervals(kind, rng, line, speakers, clips).items():
                    found.setdefault(name, []).append(interval)
            true = truth | true_rates(kind, speakers, clips)
            if place == 0:
                print(f"| speakers | clips of each | {' | '.join(found)} |\n|{'---|' * (2 + len(found))}")
            print(f"| {speakers} | {clips} |", " | ".join(cell(found[name], true[name]) for name in found), "|",
                  flush=True)  # fmt: skip
    print(f"\n{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
