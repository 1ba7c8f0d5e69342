"""Grades: classes in an order, as of BI-RADS, Kellgren and Lawrence, ISUP or diabetic retinopathy.

A head has one logit a threshold, of lying above it; all share one weight and differ in their bias (the proportional
odds model, McCullagh 1980). Trained by gradients, the loss is that of CORAL (Cao et al. 2020, arXiv 1901.07884): binary
cross-entropy summed over thresholds.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graftwork.core.metrics import scores as metrics
from graftwork.core.metrics.intervals import Metrics
from graftwork.core.tasks.cells import number_in, single_column
from graftwork.core.tasks.labels import (
    binary_likelihood,
    chance_columns,
    class_members,
    class_names,
    class_numbers,
    class_strata,
    class_tensor,
    counts_of,
    label_order,
    log_odds,
    read_class_columns,
)
from graftwork.core.tasks.linear_models import CumulativeLogit, LinearProblem, only_solution
from graftwork.core.tasks.plots import Panel, confusion_panel, ranking_panels
from graftwork.core.tasks.task import Drawn, Floats, TargetCells, Task, Values, Vote

if TYPE_CHECKING:
    from torch import Tensor, nn

    from graftwork.core.types import Features

MOST_GRADES = 30
"""More different numbers are no grades."""


def _read(
    rows: TargetCells, names: Sequence[str], columns: list[list[str]], classes: Sequence[str] | None
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Grades from the lowest to the highest: as they are given, or numbers by their size."""
    single_column(rows, names, "grades")
    name, cells = names[0], columns[0]
    if classes is None:
        cells = rows.same_names(name, cells)
        found = sorted({cell for cell in cells if cell}, key=label_order)
        named = [cell for cell in found if number_in(cell) is None]
        if named:
            rows.note(f"grades have an order, and {', '.join(map(repr, named[:5]))} have none of their own: name all "
                      f"{len(found)} from the lowest to the highest with --order, with commas, and not as here: "
                      f"{shlex.quote(','.join(found[:MOST_GRADES]))}", None, name)  # fmt: skip
        elif len(found) > MOST_GRADES:
            rows.note(f"{len(found)} different numbers are no grades: use --task regression", None, name)
        elif len(found) < 2:
            rows.note(f"every row has the grade {', '.join(map(repr, found))}: at least two are needed", None, name)
        classes = found
    return tuple(classes), class_numbers(rows, name, cells, classes)


def _thresholds(classes: Sequence[str]) -> int:
    return len(classes) - 1


def _shared_weight(width: int, outputs: int) -> nn.Module:
    from graftwork.core.tasks.shared_weight import SharedWeight

    return SharedWeight(width, outputs)


def _above(values: Values, thresholds: int) -> Tensor:
    """Whether every row lies above every threshold, float32 (rows, thresholds)."""
    import torch

    grades = torch.as_tensor(np.asarray(values, dtype=np.int64))
    return (grades[:, None] > torch.arange(thresholds)).float()


def _grades_as_votes(values: Values, classes: Sequence[str]) -> Tensor:
    return _above(values, len(classes) - 1)


def _coral(logits: Tensor, grades: Tensor) -> Tensor:
    """Binary cross-entropy (rows,) of every threshold, summed."""
    import torch
    from torch.nn import functional as F

    above = (grades[:, None] > torch.arange(logits.shape[1], device=grades.device)).float()
    return F.binary_cross_entropy_with_logits(logits.float(), above, reduction="none").sum(1)


def _summed_loss(outputs: Features, targets: Tensor, weights: Tensor, scale: Tensor) -> Tensor:
    return (_coral(outputs.values, targets) * weights).sum()  # of features, not of a table


def _mean_loss(outputs: Tensor, values: Values, found: Mapping[str, float], scale: Tensor) -> float:
    return float(_coral(outputs, class_tensor(values)).mean())


def _problem(values: Values, classes: Sequence[str], balanced: bool) -> list[LinearProblem]:
    return [LinearProblem(np.asarray(values, dtype=np.int64), CumulativeLogit(len(classes), balanced))]


def _probabilities(outputs: Tensor) -> Tensor:
    """Of every grade (rows, grades): what lies above one threshold and not above the next."""
    import torch

    above = _falling(outputs).sigmoid()
    ends = torch.ones_like(above[:, :1]), torch.zeros_like(above[:, :1])
    return torch.cat([ends[0], above], dim=1) - torch.cat([above, ends[1]], dim=1)


def _falling(logits: Tensor) -> Tensor:
    """Each logit, or a smaller one before it: nothing lies rather above a threshold than above a lower one. ONNX has no
    running minimum."""
    import torch

    columns = list(logits.unbind(1))
    for place in range(1, len(columns)):
        columns[place] = torch.minimum(columns[place], columns[place - 1])
    return torch.stack(columns, dim=1)


def _log_odds(outputs: Tensor, grade: int) -> Tensor:
    """Of a grade, from the logits (outputs,); finite also where probabilities are 0 or 1 to the last digit."""
    import torch
    from torch.nn import functional as F

    logits = _falling(outputs[None])[0]
    if grade == 0:
        return -logits[0]
    if grade == len(logits):
        return logits[-1]
    lower, upper = F.logsigmoid(logits[grade - 1]), F.logsigmoid(logits[grade])
    own = lower + torch.log(-torch.expm1((upper - lower).clamp(max=-1e-12)))
    return own - torch.logaddexp(F.logsigmoid(-logits[grade - 1]), upper)


def chances_above(predictions: Floats) -> Floats:
    """Probabilities (rows, thresholds) of lying above each, from those of the grades (rows, grades)."""
    # From the top: small ones are not lost beside 1.
    above: Floats = predictions[:, ::-1].cumsum(1)[:, ::-1][:, 1:]
    return above


def _predictions(outputs: Tensor) -> Floats:
    chances: Floats = _probabilities(outputs.double()).numpy()
    return chances


def predicted_grades(predictions: Floats) -> NDArray[np.int64]:
    """The median grade (rows,) of probabilities (rows, grades): the thresholds that a row rather lies above."""
    grades: NDArray[np.int64] = (chances_above(predictions) > 0.5).sum(1)
    return grades


def _columns(predictions: Floats, classes: Sequence[str]) -> dict[str, Any]:
    """The median grade, and the probability of every one."""
    return {"prediction": [classes[k] for k in predicted_grades(predictions)]} | chance_columns(predictions, classes)


def _confusion(truth: Values, predictions: Floats, classes: Sequence[str]) -> NDArray[np.int64]:
    return counts_of(np.asarray(truth, dtype=np.int64), predicted_grades(predictions), len(classes))


def _measures(truth: Values, predictions: Floats, classes: Sequence[str]) -> Metrics:
    """Quadratic kappa, the mean error in grades, and the AUROC of lying above every grade but the highest."""
    grades = np.asarray(truth, dtype=np.int64)
    guess = predicted_grades(predictions)
    above = chances_above(predictions)

    def measure(weights: Floats) -> dict[str, Floats]:
        matrix = metrics.confusion(grades, guess, len(classes), weights)
        auroc = [metrics.ranking(grades > k, above[:, k], weights)[0] for k in range(len(classes) - 1)]
        return {
            "quadratic_kappa": metrics.quadratic_kappa(matrix),
            "mae": metrics.mean_absolute_error(grades.astype(np.float64), guess.astype(np.float64), weights),
            "accuracy": metrics.accuracy(matrix),
            "balanced_accuracy": metrics.balanced_accuracy(matrix),
            "auroc": metrics.macro(auroc),
        } | {f"auroc_above_{name}": value for name, value in zip(classes, auroc, strict=False)}

    return measure


def _classes_of_rows(
    truth: Values, predictions: Floats, classes: Sequence[str], metric: str
) -> Sequence[NDArray[np.int64]]:
    own = np.asarray(truth, dtype=np.int64)
    return (own, predicted_grades(predictions)) if metric == "balanced_accuracy" else (own,)


def _grade_errors(truth: Values, predictions: Floats, classes: Sequence[str]) -> Floats:
    errors: Floats = np.abs(np.asarray(truth, dtype=np.float64) - predictions @ np.arange(len(classes)))
    return errors


def _panels(drawn: Drawn) -> list[Panel]:
    """ROC, precision and recall of every threshold, and the confusion of grades."""
    thresholds = len(drawn.classes) - 1
    truth = (np.asarray(drawn.values, dtype=np.int64)[:, None] > np.arange(thresholds)).astype(np.float64)
    above = chances_above(drawn.predictions)
    found = ranking_panels(truth, above, tuple(f"above {name}" for name in drawn.classes[:-1]), drawn.groups)
    return found if drawn.confusion is None else [*found, confusion_panel(drawn.confusion, drawn.classes)]


ORDINAL = Task(
    name="ordinal",
    metric="quadratic_kappa",
    shown_metrics=("quadratic_kappa", "mae"),
    one_class=True,
    ordered=True,
    read_targets=_read,
    cells=class_names,
    strata=class_strata,
    members=class_members,
    output_count=_thresholds,
    last_layer=_shared_weight,
    loss_targets=class_tensor,
    summed_loss=_summed_loss,
    validation_loss=_mean_loss,
    linear_problems=_problem,
    linear_map=only_solution,
    vote=Vote(_grades_as_votes, log_odds, binary_likelihood),
    probabilities=_probabilities,
    log_odds=_log_odds,
    predictions=_predictions,
    prediction_columns=_columns,
    read_columns=read_class_columns,
    measures=_measures,
    metric_classes=_classes_of_rows,
    confusion=_confusion,
    panels=_panels,
    row_errors=_grade_errors,
    row_error="grades between the truth and the expected grade",
)
