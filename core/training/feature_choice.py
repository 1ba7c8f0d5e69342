"""Which stages' pooled outputs a solved head reads: as asked, or as cross-validation on the training rows says."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from graftwork.core.errors import SettingsError
from graftwork.core.model.plan import Plan
from graftwork.core.model.stage_outputs import FeatureChoice, Part, StageOutput, joined, placed

log = logging.getLogger(__name__)

Vectors = NDArray[np.float32]

SPREAD_STAGES = 2
"""How many of the best stages are tried with the deviation over time."""

NAMED = ("auto", "last", "all")
"""What --features may be beside the name of a stage."""


def reads_stages(plan: Plan, features: str) -> bool:
    """Whether the head of this plan is solved on chosen stages, not on the last one alone.

    Raises SettingsError where stages are asked for, and the head is not solved: what learns by gradients begins where
    the network ends, and `layers` learns a sum of all layers.
    """
    if features == "last":
        return False
    if plan.solver != "gradient":
        return True
    if features == "auto":
        return False
    raise SettingsError(f"--features {features}: {plan.strategy} is trained, and reads the last stage alone; knn and a "
                        "solved probe read others, and the strategy layers learns a sum of all layers")  # fmt: skip


def check_features(outputs: Sequence[StageOutput], features: str) -> None:
    """Raises SettingsError for a stage, or a pooling of it, that there is not."""
    if features in NAMED:
        return
    stage, _, pooling = features.partition(":")
    known = [str(Part(output.stage, own)) for output in outputs for own in output.poolings]
    if features not in known and not (stage in known and pooling == "mean"):
        raise SettingsError(f"--features: expected one of {', '.join((*NAMED, *known))}, found {features!r}")


def choose_features(
    vectors: Vectors, outputs: Sequence[StageOutput], features: str, scores_of: Callable[[Vectors], NDArray[np.float64]]
) -> FeatureChoice:
    """What the vector is made of, out of the pooled outputs of all stages, (rows, total), of the training rows alone.

    features: `all`, the name of a stage, `STAGE:mean+std`, or `auto`. That compares the last stage, every stage, the
    two best means with their deviations, the last two stages joined, and all; and takes all unless another is better by
    more than the standard error of the difference over folds, as in the rule of Breiman et al. 1984.
    scores_of: how well held-out rows are predicted from vectors (rows, features), in every fold (folds,), the larger
    the better. Raises SettingsError for a stage that there is not.
    """
    check_features(outputs, features)
    own = _distinct(vectors, outputs)
    whole = [Part(output.stage, output.poolings[-1]) for output in own]
    if features == "all":
        return _together(vectors, own, whole)
    if features != "auto":
        stage, _, pooling = features.partition(":")
        return FeatureChoice((Part(stage, "mean+std" if pooling == "mean+std" else "mean"),))
    last, scores = outputs[-1], dict[FeatureChoice, NDArray[np.float64]]()

    def consider(*parts: Part) -> FeatureChoice:
        choice = FeatureChoice(tuple(parts)) if len(parts) == 1 else _together(vectors, own, parts)
        scores[choice] = scores_of(made_of(vectors, outputs, choice))
        return choice

    def mean(choice: FeatureChoice) -> float:
        return float(scores[choice].mean()) if len(scores[choice]) else -np.inf

    of_last = consider(Part(last.stage))
    means = {output.stage: of_last if _same(vectors, output.columns("mean"), last.whole) else
             consider(Part(output.stage)) for output in reversed(own) if output != last}  # fmt: skip
    sequences = [output for output in own if output.sequence]
    for output in sorted(sequences, key=lambda one: -mean(means.get(one.stage, of_last)))[:SPREAD_STAGES]:
        if not _same(vectors, output.whole, last.whole):
            consider(Part(output.stage, "mean+std"))
    if len(own) > 2:
        consider(*whole[-2:])
    best, joined_all = max(scores, key=mean), None
    if len(own) > 1:
        joined_all = consider(*whole)
        best = best if _clearly_better(scores[best], scores[joined_all]) else joined_all
    log.info("features: %s (held-out score %.4g; of the last stage %.4g, of all %.4g)", best, mean(best), mean(of_last),
             mean(joined_all or best))  # fmt: skip
    return best


def _clearly_better(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    """Whether scores (folds,) are better on average by more than the standard error of their difference."""
    difference = one - other
    if len(difference) < 2:
        return False
    return bool(difference.mean() > difference.std(ddof=1) / np.sqrt(len(difference)))


def made_of(vectors: Vectors, outputs: Sequence[StageOutput], choice: FeatureChoice) -> Vectors:
    """The chosen vectors (rows, features) out of those of all stages (rows, total)."""
    found: Vectors = joined(torch.from_numpy(vectors), placed(outputs, choice)).numpy()
    return found


def _together(vectors: Vectors, outputs: Sequence[StageOutput], parts: Sequence[Part]) -> FeatureChoice:
    """The parts joined, each divided by the root mean square of its features' deviations, so that none outweighs the
    others because its numbers are large."""
    scaled = []
    for part in parts:
        spread = vectors[:, _of(outputs, part.stage).columns(part.pooling)].std(axis=0, dtype=np.float64)
        usual = float(np.sqrt(np.mean(spread**2)))
        scaled.append(replace(part, scale=1 / usual if usual > 0 else 1.0))
    return FeatureChoice(tuple(scaled))


def _distinct(vectors: Vectors, outputs: Sequence[StageOutput]) -> list[StageOutput]:
    """In order, without the stages whose vector is one of another stage's: a last stage that only pools says nothing
    new. Of two, the one with a deviation stays, else the later one."""
    kept: list[StageOutput] = []
    for output in sorted(outputs, key=lambda one: (not one.sequence, -one.start)):
        mean = output.columns("mean")
        if not any(_same(vectors, mean, other.columns(own)) for other in kept for own in other.poolings):
            kept.append(output)
    return sorted(kept, key=lambda one: one.start)


def _same(vectors: Vectors, one: slice, other: slice) -> bool:
    """Whether two ranges of columns hold the same numbers, but for rounding."""
    first, second = vectors[:, one], vectors[:, other]
    return first.shape == second.shape and bool(np.allclose(first, second, atol=1e-6))


def _of(outputs: Sequence[StageOutput], stage: str) -> StageOutput:
    return next(output for output in outputs if output.stage == stage)
