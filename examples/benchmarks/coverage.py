"""How often intervals hold the true value: simulated, for every metric, with few rows and with few groups.

    python examples/benchmarks/coverage.py --runs 1000          # minutes; --only labels for one kind of target

Each line is a number of rows in so many groups, whose predictions resemble each other (a correlation of 0.5), with the
share of runs in which the 95 % interval held the value that 60 000 rows have. Two shares in a cell: the intervals that
were given, and how many of 100 runs had one: where a class has fewer than four rows or groups, or is predicted for
fewer, and for the calibration error of fewer than 100, the reason stands in its place. Draws with fewer than five rows
of a class are drawn again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftwork.core.metrics import scores
from graftwork.core.metrics.folds import averaged_names, cross_validated, fold_values, of_each_fold
from graftwork.core.metrics.intervals import Averaged, Interval, Metrics, intervals
from graftwork.core.metrics.scales import DIFFERENCE, Scale
from graftwork.core.tasks import find_task

Floats = NDArray[np.float64]
LARGE = 60_000
FOLDS = 5


@dataclass(frozen=True)
class Draw:
    """One simulated set of predictions: its metrics, rows and groups, and what intervals are told beside them."""

    metrics: Metrics
    rows: int
    groups: list[int] | None
    classes_of: Callable[[str], Any] = lambda name: ()
    scale: Scale | None = None
    usable: bool = True
    averaged: Averaged | None = None

    def intervals(self) -> dict[str, Interval]:
        return intervals(self.metrics, self.rows, self.groups, classes_of=self.classes_of, scale=self.scale,
                         averaged=self.averaged)  # fmt: skip


Simulation = Callable[[np.random.Generator, int, int | None], Draw]
SIZES = ((30, None), (40, None), (100, None), (300, None), (60, 6), (100, 10), (200, 20), (500, 50), (300, 100))


def noise(rng: np.random.Generator, rows: int, groups: int | None) -> tuple[Floats, list[int] | None]:
    """Standard normal numbers (rows,), half of whose variance is the group's."""
    if groups is None:
        return rng.standard_normal(rows), None
    own = np.arange(rows) % groups
    return np.sqrt(0.5) * (rng.standard_normal(groups)[own] + rng.standard_normal(rows)), own.tolist()


def labels(rng: np.random.Generator, rows: int, groups: int | None, *, auroc: float, positive: float,
           of_group: bool = False, sharp: float = 1.0) -> Draw:  # fmt: skip
    """Two classes with binormal scores, whose probabilities are `sharp` times too sure; of_group: each group is of one
    class. Not where so few positives are expected that those draws which have five are others than most."""
    from scipy.stats import norm

    error, members = noise(rng, rows, groups)
    truth = (rng.random(rows) < positive).astype(np.int64)
    if of_group and members is not None and groups is not None:
        truth = (rng.random(groups) < positive).astype(np.int64)[members]
    apart = np.sqrt(2) * norm.ppf(auroc)
    odds = sharp * (np.log(positive / (1 - positive)) + apart * (error + apart * truth) - apart**2 / 2)
    chance = 1 / (1 + np.exp(-odds))
    usable = _enough(truth, positive)
    task = find_task("single-label")
    predictions = np.stack([1 - chance, chance], axis=1)
    return Draw(task.measures(truth, predictions, ("a", "b")), rows, members,
                partial(task.metric_classes, truth, predictions, ("a", "b")), usable=usable)  # fmt: skip


def folded(rng: np.random.Generator, rows: int, groups: int | None, *, auroc: float, positive: float) -> Draw:
    """The same by a model for each of five folds, whose scores are shifted against each other."""
    from scipy.stats import norm

    error, members = noise(rng, rows, groups)
    truth = (rng.random(rows) < positive).astype(np.int64)
    # Groups stay together; rows without groups are dealt out class by class, as folds are.
    order = np.argsort(np.argsort(truth, kind="stable"), kind="stable")
    folds = (order if members is None else np.asarray(members)) % FOLDS
    apart = np.sqrt(2) * norm.ppf(auroc)
    odds = np.log(positive / (1 - positive)) + apart * (error + apart * truth) - apart**2 / 2
    chance = 1 / (1 + np.exp(-(odds + 0.6 * (folds - 2))))
    task, predictions = find_task("single-label"), np.stack([1 - chance, chance], axis=1)
    parts = of_each_fold(folds, lambda own: task.measures(truth[own], predictions[own], ("a", "b")))
    return Draw(cross_validated(task.measures(truth, predictions, ("a", "b")), parts), rows, members,
                partial(task.metric_classes, truth, predictions, ("a", "b")), usable=_enough(truth, positive),
                averaged=Averaged([folds], averaged_names(fold_values(parts))))  # fmt: skip


def _enough(truth: NDArray[np.int64], positive: float) -> bool:
    """Whether both classes have five rows, where that is what is to be expected."""
    return bool(len(truth) * min(positive, 1 - positive) >= 8 and np.bincount(truth, minlength=2).min() >= 5)


def grades(rng: np.random.Generator, rows: int, groups: int | None, *, error: float) -> Draw:
    """Four grades as often, predicted with an error."""
    from scipy.stats import norm

    wrong, members = noise(rng, rows, groups)
    cuts, hidden = norm.ppf(np.arange(1, 4) / 4), rng.standard_normal(rows)
    truth = np.digitize(hidden, cuts)
    chances = np.full((rows, 4), 0.02)
    chances[np.arange(rows), np.digitize((hidden + error * wrong) / np.sqrt(1 + error**2), cuts)] = 0.94
    task = find_task("ordinal")
    names = ("none", "mild", "moderate", "severe")
    usable = np.bincount(truth, minlength=4).min() >= 5
    return Draw(task.measures(truth, chances, names), rows, members,
                partial(task.metric_classes, truth, chances, names), usable=bool(usable))  # fmt: skip


def numbers(rng: np.random.Generator, rows: int, groups: int | None, *, tails: float = 1.0) -> Draw:
    """Numbers predicted with errors, of heavier tails above 1."""
    wrong, members = noise(rng, rows, groups)
    truth = rng.standard_normal(rows)
    guess = truth + 0.6 * np.sign(wrong) * np.abs(wrong) ** tails
    return Draw(find_task("regression").measures(truth, guess, ()), rows, members)


def masks(rng: np.random.Generator, rows: int, groups: int | None) -> Draw:
    """Dice and distances of cases, one in twenty of which fails."""
    wrong, members = noise(rng, rows, groups)
    failed = rng.random(rows) < 0.05
    dice = 1 / (1 + np.exp(-1.8 - 0.8 * wrong)) * np.where(failed, 0.3 * rng.random(rows), 1.0)
    distance = np.exp(1 + 0.7 * wrong + 1.5 * failed)
    measured = np.stack([dice, distance, distance / 3], axis=1)[:, None]
    return Draw(find_task("mask").measures(np.zeros(rows), measured, ("background", "organ")), rows, members)


def transcripts(rng: np.random.Generator, rows: int, groups: int | None) -> Draw:
    """Words of which about one in six is wrong, more for some speakers."""
    wrong, members = noise(rng, rows, groups)
    words = rng.integers(2, 20, rows).astype(np.float64)
    errors = rng.binomial(words.astype(int), 1 / (1 + np.exp(1.7 - 0.8 * wrong))).astype(np.float64)

    def measure(weights: Floats) -> dict[str, Floats]:
        rate = scores.rate(errors, words, weights)
        return {"wer": rate, "word_accuracy": 1 - rate}

    return Draw(measure, rows, members)


def differences(rng: np.random.Generator, rows: int, groups: int | None, *, auroc: tuple[float, float],
                positive: float) -> Draw:  # fmt: skip
    """Two models on the same rows whose scores resemble each other."""
    from scipy.stats import norm

    shared, members = noise(rng, rows, groups)
    other, _ = noise(rng, rows, groups)
    truth = (rng.random(rows) < positive).astype(np.int64)
    task, measured = find_task("single-label"), []
    for wanted, error in zip(auroc, (shared, 0.6 * shared + 0.8 * other), strict=True):
        apart = np.sqrt(2) * norm.ppf(wanted)
        odds = np.log(positive / (1 - positive)) + apart * (error + apart * truth) - apart**2 / 2
        chance = 1 / (1 + np.exp(-odds))
        measured.append(task.measures(truth, np.stack([1 - chance, chance], axis=1), ("a", "b")))

    def measure(weights: Floats) -> dict[str, Floats]:
        first, second = (one(weights) for one in measured)
        return {name: value - second[name] for name, value in first.items()}

    return Draw(measure, rows, members, scale=DIFFERENCE, usable=_enough(truth, positive))


KINDS: dict[str, dict[str, Simulation]] = {
    "labels": {
        "AUROC 0.85, half positive": partial(labels, auroc=0.85, positive=0.5),
        "AUROC 0.97, half positive": partial(labels, auroc=0.97, positive=0.5),
        "AUROC 0.9, 10 % positive": partial(labels, auroc=0.9, positive=0.1),
        "AUROC 0.8, 5 % positive": partial(labels, auroc=0.8, positive=0.05),
        "AUROC 0.85, groups of one class": partial(labels, auroc=0.85, positive=0.4, of_group=True),
        "AUROC 0.85, twice too sure": partial(labels, auroc=0.85, positive=0.5, sharp=2.0),
    },
    "folds": {
        "AUROC 0.85, half positive": partial(folded, auroc=0.85, positive=0.5),
        "AUROC 0.9, 10 % positive": partial(folded, auroc=0.9, positive=0.1),
    },
    "grades": {"kappa 0.7": partial(grades, error=0.8), "kappa 0.9": partial(grades, error=0.3)},
    "numbers": {"normal errors": numbers, "heavy tails": partial(numbers, tails=1.6)},
    "masks": {"one in twenty fails": masks},
    "transcripts": {"one word in six is wrong": transcripts},
    "differences": {
        "AUROC 0.85 and 0.8": partial(differences, auroc=(0.85, 0.8), positive=0.5),
        "AUROC 0.9 and 0.85, 10 % positive": partial(differences, auroc=(0.9, 0.85), positive=0.1),
    },
}  # fmt: skip


@dataclass(frozen=True)
class Coverage:
    """given: share of runs with an interval. held: share of those that held the truth. width: their mean width."""

    given: float
    held: float
    width: float


def coverage(simulation: Simulation, rows: int, groups: int | None, runs: int, seed: int = 0) -> dict[str, Coverage]:
    """Of every metric, over so many usable draws."""
    rng = np.random.default_rng((seed, rows, groups or 0))
    large = [simulation(rng, LARGE, None if groups is None else LARGE * groups // rows) for _ in range(5)]
    points = [one.metrics(np.ones((1, one.rows))) for one in large]
    truth = {name: float(np.mean([one[name][0] for one in points])) for name in points[0]}
    found: dict[str, list[Interval]] = {name: [] for name in truth}
    for draw in _usable(simulation, rng, rows, groups, runs):
        for name, interval in draw.intervals().items():
            found[name].append(interval)
    return {name: _summary(truth[name], own) for name, own in found.items() if own}


def _usable(
    simulation: Simulation, rng: np.random.Generator, rows: int, groups: int | None, runs: int
) -> Iterator[Draw]:
    """So many usable draws; fewer, where one in twenty is not."""
    done = 0
    for _ in range(20 * runs):
        draw = simulation(rng, rows, groups)
        if draw.usable:
            yield draw
            done += 1
        if done == runs:
            return


def _summary(truth: float, found: list[Interval]) -> Coverage:
    given = [one for one in found if not np.isnan(one.low)]
    if not given:
        return Coverage(0.0, float("nan"), float("nan"))
    return Coverage(len(given) / len(found), float(np.mean([one.low <= truth <= one.high for one in given])),
                    float(np.mean([one.high - one.low for one in given])))  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--only", choices=list(KINDS), default=None)
    asked = parser.parse_args()
    outside = cells = 0
    for kind in [asked.only] if asked.only else KINDS:
        for title, simulation in KINDS[kind].items():
            print(f"\n{kind}: {title}")
            for rows, groups in SIZES:
                found = coverage(simulation, rows, groups, asked.runs)
                if not found:
                    continue
                line = [f"{name} {100 * one.held:.1f} ({100 * one.given:.0f})" for name, one in found.items()]
                print(f"{rows:>4} rows{'' if groups is None else f' in {groups} groups':<14}", "  ".join(line))
                sys.stdout.flush()
                fair = [one for one in found.values() if one.given > 0 and (groups or rows // 3) >= 10]
                cells += len(fair)
                outside += sum(not 0.93 <= one.held <= 0.97 for one in fair)
    print(f"\n{outside} of {cells} cells with 30 rows or 10 groups and more lie outside 93 to 97 %")


if __name__ == "__main__":
    main()
