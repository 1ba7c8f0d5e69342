"""Decisions of a trained run: on which held-out predictions they are fitted, and on which evaluated."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from graftwork.core.data.examples import Examples
from graftwork.core.evaluation.decisions import (
    DecisionOptions,
    DecisionReport,
    apply_decisions,
    apply_out_of_fold,
    drawn_folds,
    evaluate_decisions,
    fit_decisions,
)
from graftwork.core.evaluation.evaluation import EvaluatedPart, Repeat
from graftwork.core.inference.predict import evaluate_part, with_predictions
from graftwork.core.model.graft import plan_run
from graftwork.core.runs.cross_validation import OUT_OF_FOLD, predict_folds
from graftwork.core.runs.setup import Setup

log = logging.getLogger(__name__)

CALIBRATION = "calibration"
"""Folder of the models whose predictions decisions are fitted on."""


def decide(
    setup: Setup, options: DecisionOptions, parts: Sequence[EvaluatedPart], learnt: Examples | None = None
) -> tuple[tuple[EvaluatedPart, ...], DecisionReport | None]:
    """The decisions of a run and what they are worth, and its evaluated parts, the last one recalibrated if that was
    asked for.

    Out-of-fold predictions are fitted and evaluated fold by fold. Else decisions are fitted on the validation part,
    or, without one and only if something asks for them, on predictions of the learnt rows (after the frozen stages) by
    folds of their own; and evaluated on the last part. None where no single class is predicted, or nothing is held out.
    """
    last = parts[-1]
    if not last.manifest.task.one_class:
        return tuple(parts), None
    if last.folds is not None:
        report, changed = _in_folds(options, last)
        return (*parts[:-1], changed), report
    if len(parts) > 1:
        held_out: EvaluatedPart | None = parts[0]
    elif last.part == "val":
        number = drawn_folds(last.manifest)
        if len(np.unique(number)) < 2:
            return tuple(parts), None
        report, changed = _in_folds(options, replace(last, folds=number))
        return (*parts[:-1], replace(changed, folds=None)), report
    else:
        held_out = _of_learnt_rows(setup, learnt) if options.asks and learnt is not None else None
    if held_out is None:
        return tuple(parts), None
    decisions = fit_decisions(options, held_out)
    applied = apply_decisions(decisions, last.predictions)
    report = evaluate_decisions(last, applied, decisions, _positive(options, last))
    return (*parts[:-1], with_predictions(last, applied.probabilities)), report


def _in_folds(options: DecisionOptions, part: EvaluatedPart) -> tuple[DecisionReport, EvaluatedPart]:
    """Decisions of all rows, evaluated by those of the other folds."""
    applied = apply_out_of_fold(options, part)
    report = evaluate_decisions(part, applied, fit_decisions(options, part), _positive(options, part))
    repeats = [Repeat(apply_out_of_fold(options, replace(part, predictions=one.predictions, folds=one.folds, repeats=())
                                        ).probabilities, one.folds) for one in part.repeats]  # fmt: skip
    return report, with_predictions(part, applied.probabilities, repeats)


def _positive(options: DecisionOptions, part: EvaluatedPart) -> int:
    return 0 if options.rule is None else options.positive_class(part.manifest.classes)


def _of_learnt_rows(setup: Setup, learnt: Examples) -> EvaluatedPart | None:
    """Predictions of the rows that were learnt, each by a model that did not see its fold; None where they make no two
    folds."""
    manifest = replace(learnt.manifest, parts=None)
    number = drawn_folds(manifest)
    names = [str(fold + 1) for fold in np.unique(number)]
    if len(names) < 2:
        log.warning("decisions: the training rows make no two folds, nothing is fitted")
        return None
    log.info("decisions: the training rows in %d folds", len(names))
    plan = plan_run(setup.backbone, setup.strategy, setup.recipe, manifest)
    rows = replace(learnt, manifest=manifest)
    predictions, _, _ = predict_folds(setup.below(CALIBRATION), plan, rows, number, names, 0.0)
    return evaluate_part(OUT_OF_FOLD, manifest, predictions, number)
