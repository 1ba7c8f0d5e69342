"""Labels: one of several classes a row, or several labels that each are there or not."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graftwork.core.metrics import scores as metrics
from graftwork.core.metrics.calibration import expected_calibration_error
from graftwork.core.metrics.intervals import Metrics
from graftwork.core.names import composed, name_key
from graftwork.core.tasks.cells import number_in, single_column
from graftwork.core.tasks.linear_models import LinearProblem, LinearSolution, Logistic, only_solution
from graftwork.core.tasks.plots import Panel, confusion_panel, net_benefit_panel, ranking_panels, reliability_panel
from graftwork.core.tasks.task import Drawn, Floats, TargetCells, Task, Values, Vote, read_numbers

if TYPE_CHECKING:
    from torch import Tensor

    from graftwork.core.types import Features

TRUTH = {"0": 0.0, "1": 1.0, "0.0": 0.0, "1.0": 1.0, "false": 0.0, "true": 1.0, "no": 0.0, "yes": 1.0}

UNCERTAIN = ("-1", "-1.0")
"""Cells by which CheXpert says that a label is not sure."""

UNKNOWN = "\0"
"""A cell of several labels, as no table has it, that counts in no loss and no metric; its value is NaN."""

SHOWN_CLASSES = 20

LEAST_SHARE = 1e-12
"""A class without any training row has no share at all; the logit of an absent class is finite all the same."""


def read_labels(
    rows: TargetCells, names: Sequence[str], columns: list[list[str]], classes: Sequence[str] | None
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Classes in order, numbers before names, and the number of every row's; -1 where it is noted as unknown."""
    single_column(rows, names, "single labels")
    name, cells = names[0], columns[0]
    if classes is None:
        cells = rows.same_names(name, cells)
        found = sorted({cell for cell in cells if cell}, key=label_order)
        _warn_of_case(rows, name, found)
        if len(found) == 1:
            rows.note(f"every row has the label {found[0]!r}: at least two classes are needed", None, name)
        classes = found
    return tuple(classes), class_numbers(rows, name, cells, classes)


def class_numbers(rows: TargetCells, name: str, cells: Sequence[str], classes: Sequence[str]) -> NDArray[np.int64]:
    """The number of every cell's class; unknown ones are noted."""
    # A model that exists may have learnt its classes in another spelling.
    number = {name_key(label): index for index, label in reversed(list(enumerate(classes)))}
    number |= {label: index for index, label in enumerate(classes)}
    found_numbers = [number.get(cell, number.get(name_key(cell), -1)) for cell in cells]
    more = "" if len(classes) <= SHOWN_CLASSES else f" and {len(classes) - SHOWN_CLASSES} more"
    known = ", ".join(map(repr, classes[:SHOWN_CLASSES])) + more
    for index, (cell, place) in enumerate(zip(cells, found_numbers, strict=True)):
        if cell and place < 0:
            rows.note(f"unknown label {cell!r}; the classes are {known}", index, name)
    return np.array(found_numbers, dtype=np.int64)


def _warn_of_case(rows: TargetCells, name: str, labels: Sequence[str]) -> None:
    folded: dict[str, list[str]] = {}
    for label in labels:
        folded.setdefault(label.casefold(), []).append(label)
    for alike in folded.values():
        if len(alike) > 1:
            rows.warn(f"column {name!r}: {', '.join(map(repr, alike))} differ in case alone and are different classes")


def label_order(label: str) -> tuple[int, float, str]:
    """By which labels are sorted: numbers by size, then names."""
    number = number_in(label)
    return (1, 0.0, label) if number is None else (0, number, label)


def class_names(values: Values, classes: Sequence[str]) -> Values:
    """The name of every row's class."""
    return np.array(classes, dtype=object)[np.asarray(values, dtype=np.int64)]


def class_strata(values: Values) -> Floats:
    """A stratum a class."""
    codes = np.asarray(values, dtype=np.int64)
    return np.eye(int(codes.max()) + 1)[codes]


def class_members(values: Values, classes: Sequence[str]) -> dict[str, NDArray[np.bool_]]:
    """The rows of every class."""
    return {name: values == place for place, name in enumerate(classes)}


def class_tensor(values: Values) -> Tensor:
    """int64 (rows,)."""
    import torch

    return torch.as_tensor(np.asarray(values, dtype=np.int64))


def class_confusion(truth: Values, predictions: Floats, classes: Sequence[str]) -> NDArray[np.int64]:
    """Counts of the likeliest class."""
    return counts_of(np.asarray(truth, dtype=np.int64), predictions.argmax(1), len(classes))


def counts_of(truth: NDArray[np.int64], guess: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Rows by class (down) and predicted class (across)."""
    counts: NDArray[np.int64] = metrics.confusion(truth, guess, classes, np.ones((1, len(truth))))[0].astype(np.int64)
    return counts


def _cross_entropy(outputs: Features, targets: Tensor, weights: Tensor, scale: Tensor) -> Tensor:
    from torch.nn import functional as F

    logits = outputs.values.float()  # of features, not of a table
    return (F.cross_entropy(logits, targets, reduction="none") * weights).sum()


def _mean_cross_entropy(outputs: Tensor, values: Values, found: Mapping[str, float], scale: Tensor) -> float:
    from torch.nn import functional as F

    return float(F.cross_entropy(outputs.float(), class_tensor(values), reduction="none").sum()) / len(outputs)


def softmax(outputs: Tensor) -> Tensor:
    """Probabilities (batch, classes, …) from logits."""
    return outputs.softmax(1)


def _log_odds(outputs: Tensor, place: int) -> Tensor:
    import torch

    others = torch.cat([outputs[:place], outputs[place + 1 :]])
    return outputs[place] - others.logsumexp(0)


def _class_chances(outputs: Tensor) -> Floats:
    chances: Floats = outputs.double().softmax(1).numpy()
    return chances


def class_columns(predictions: Floats, classes: Sequence[str]) -> dict[str, Any]:
    """The likeliest class, and the probability of every one."""
    return {"prediction": [classes[k] for k in predictions.argmax(1)]} | chance_columns(predictions, classes)


def chance_columns(predictions: Floats, classes: Sequence[str]) -> dict[str, Any]:
    """A column `probability_<class>` for every class."""
    return {f"probability_{name}": predictions[:, place] for place, name in enumerate(classes)}


def _class_problem(values: Values, classes: Sequence[str], balanced: bool) -> list[LinearProblem]:
    return [LinearProblem(np.asarray(values), Logistic(len(classes), balanced))]


def _one_hot(values: Values, classes: Sequence[str]) -> Tensor:
    import torch
    from torch.nn import functional as F

    return F.one_hot(torch.as_tensor(np.asarray(values)), len(classes)).float()


def _log_shares(shares: Tensor) -> Tensor:
    return shares.clamp(LEAST_SHARE, 1.0).log()


def _class_likelihood(outputs: Tensor, truth: Tensor) -> float:
    return float((outputs.log_softmax(1) * truth).sum())


def _class_measures(truth: Values, predicted: Floats, names: Sequence[str]) -> Metrics:
    """Two classes: AUROC and average precision of the second; more: the mean over classes, one against the rest."""
    own = np.asarray(truth, dtype=np.int64)
    classes = predicted.shape[1]
    guess = predicted.argmax(1)
    onehot = np.eye(classes)[own]
    correct, confidence = (guess == own).astype(np.float64), predicted.max(1)
    scored = [1] if classes == 2 else range(classes)

    def measure(weights: Floats) -> dict[str, Floats]:
        matrix = metrics.confusion(own, guess, classes, weights)
        ranked = [metrics.ranking(own == k, predicted[:, k], weights) for k in scored]
        return {
            "auroc": metrics.macro([auroc for auroc, _ in ranked]),
            "average_precision": metrics.macro([precision for _, precision in ranked]),
            "accuracy": metrics.accuracy(matrix),
            "balanced_accuracy": metrics.balanced_accuracy(matrix),
            "f1": metrics.f1(matrix),
            "brier": metrics.brier(onehot, predicted, weights),
            "ece": expected_calibration_error(correct, confidence, weights),
        }

    return measure


OF_THE_PREDICTED = ("balanced_accuracy", "f1")
"""Metrics that say nothing of a class which is hardly ever predicted."""


def _classes_of_rows(
    truth: Values, predicted: Floats, names: Sequence[str], metric: str
) -> Sequence[NDArray[np.int64]]:
    own = np.asarray(truth, dtype=np.int64)
    return (own, predicted.argmax(1)) if metric in OF_THE_PREDICTED else (own,)


def read_class_columns(columns: Mapping[str, Sequence[str]], classes: Sequence[str]) -> tuple[Values, Floats]:
    """The number of every row's class, and the probability of every class."""
    number = {name: place for place, name in enumerate(classes)}
    values = np.array([number[name] for name in columns["target"]], dtype=np.int64)
    return values, read_numbers(columns, [f"probability_{name}" for name in classes])


def _class_errors(truth: Values, predictions: Floats, classes: Sequence[str]) -> Floats:
    own = np.asarray(truth, dtype=np.int64)
    errors: Floats = 1 - predictions[np.arange(len(own)), own]
    return errors


def _class_panels(drawn: Drawn) -> list[Panel]:
    """ROC, precision and recall, reliability, confusion; of two classes also the decision curve."""
    values, predictions, classes = np.asarray(drawn.values, dtype=np.int64), drawn.predictions, drawn.classes
    onehot, shown, names = np.eye(len(classes))[values], predictions, classes
    if len(classes) == 2:
        onehot, shown, names = onehot[:, 1:], predictions[:, 1:], classes[1:]
    correct = (predictions.argmax(1) == values).astype(np.float64)
    found = [
        *ranking_panels(onehot, shown, names, drawn.groups),
        reliability_panel(correct, predictions.max(1)),
    ]
    if drawn.confusion is not None:
        found.append(confusion_panel(drawn.confusion, classes))
    return [*found, net_benefit_panel(onehot[:, 0], shown[:, 0], names[0])] if len(classes) == 2 else found


SINGLE_LABEL = Task(
    name="single-label",
    metric="auroc",
    shown_metrics=("auroc", "balanced_accuracy"),
    one_class=True,
    read_targets=read_labels,
    cells=class_names,
    strata=class_strata,
    members=class_members,
    loss_targets=class_tensor,
    summed_loss=_cross_entropy,
    validation_loss=_mean_cross_entropy,
    linear_problems=_class_problem,
    linear_map=only_solution,
    vote=Vote(_one_hot, _log_shares, _class_likelihood),
    probabilities=softmax,
    log_odds=_log_odds,
    predictions=_class_chances,
    prediction_columns=class_columns,
    read_columns=read_class_columns,
    measures=_class_measures,
    metric_classes=_classes_of_rows,
    confusion=class_confusion,
    panels=_class_panels,
    row_errors=_class_errors,
    row_error="1 less the probability of the true class",
)


def _read_columns(
    rows: TargetCells, names: Sequence[str], columns: list[list[str]], classes: Sequence[str] | None
) -> tuple[tuple[str, ...], Floats]:
    table = np.zeros((len(columns[0]), len(columns)))
    for place, (name, cells) in enumerate(zip(names, columns, strict=True)):
        for index, cell in enumerate(cells):
            truth = TRUTH.get(cell.lower(), TRUTH.get(name_key(cell)))
            if cell and cell != UNKNOWN and truth is None:
                hint = ": if that is an uncertain label, --uncertain says what to do" if cell in UNCERTAIN else ""
                rows.note(f"expected 0 or 1, found {cell!r}{hint}", index, name)
            table[index, place] = math.nan if truth is None else truth
    if classes is not None and list(map(composed, classes)) != list(names):
        rows.note(f"expected the label columns {', '.join(classes)}, found {', '.join(names)}")
    return tuple(names), table


def _label_columns(cells: Values, classes: Sequence[str]) -> dict[str, Any]:
    return {f"target_{name}": cells[:, place] for place, name in enumerate(classes)}


def _positive_strata(values: Values) -> Floats:
    return np.nan_to_num(np.asarray(values, dtype=np.float64))


def _unknown_counts(values: Values, classes: Sequence[str]) -> list[str]:
    """How many cells of every label count nowhere."""
    unknown = np.isnan(np.asarray(values, dtype=np.float64)).sum(0)
    named = ", ".join(f"{name} {count}" for name, count in zip(classes, unknown.tolist(), strict=True) if count)
    return [f"cells that are ignored: {named}"] if named else []


def _positive_members(values: Values, classes: Sequence[str]) -> dict[str, NDArray[np.bool_]]:
    return {name: np.asarray(values, dtype=np.float64)[:, place] > 0.5 for place, name in enumerate(classes)}


def column_tensor(values: Values) -> Tensor:
    """float32 (rows, columns), NaN for a label that is not known."""
    import torch

    numbers = np.asarray(values, dtype=np.float32)
    return torch.as_tensor(numbers.reshape(len(numbers), -1))


def _binary_cross_entropy(outputs: Features, targets: Tensor, weights: Tensor, scale: Tensor) -> Tensor:

    logits = outputs.values.float()  # of features, not of a table
    return (_label_losses(logits, targets).mean(1) * weights).sum()


def _label_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy (rows, labels), 0 of labels that are not known: every known cell counts alike."""
    from torch.nn import functional as F

    known = ~targets.isnan()
    losses = F.binary_cross_entropy_with_logits(logits, targets.nan_to_num(0.0), reduction="none")
    return losses * known


def _mean_binary_cross_entropy(outputs: Tensor, values: Values, found: Mapping[str, float], scale: Tensor) -> float:
    return float(_label_losses(outputs.float(), column_tensor(values)).mean(1).sum()) / len(outputs)


def _sigmoid(outputs: Tensor) -> Tensor:
    return outputs.sigmoid()


def _label_chances(outputs: Tensor) -> Floats:
    chances: Floats = outputs.double().sigmoid().numpy()
    return chances


def _label_problems(values: Values, classes: Sequence[str], balanced: bool) -> list[LinearProblem]:
    columns, known = np.nan_to_num(np.asarray(values, dtype=np.float64)).T, ~np.isnan(np.asarray(values)).T
    return [LinearProblem(column.astype(np.int64), Logistic(2, balanced), None if own.all() else own)
            for column, own in zip(columns, known, strict=True)]  # fmt: skip


def _label_map(solutions: Sequence[LinearSolution]) -> LinearSolution:
    """One linear map; of a two-class problem per label only the second class' logit is kept."""
    weight = np.stack([weight[1] - weight[0] for weight, _ in solutions])
    return weight, np.array([bias[1] - bias[0] for _, bias in solutions])


def _columns_as_votes(values: Values, classes: Sequence[str]) -> Tensor:
    return column_tensor(values)


def log_odds(shares: Tensor) -> Tensor:
    """Logits of shares, 0 to 1."""
    shares = shares.clamp(LEAST_SHARE, 1.0)
    return shares.log() - (1 - shares).clamp_min(LEAST_SHARE).log()


def binary_likelihood(outputs: Tensor, truth: Tensor) -> float:
    """Summed log-likelihood of logits (rows, outputs) under 0 and 1, without NaN."""
    return -float(_label_losses(outputs, truth).sum())


LABEL_METRICS = ("auroc", "average_precision", "accuracy", "balanced_accuracy", "f1")
"""What every label has of its own."""


def _label_measures(truth: Values, predicted: Floats, classes: Sequence[str]) -> Metrics:
    """The mean over labels of each label's own metric, and those of every label, over the rows where it is known; the
    Brier score is the mean over all known cells."""
    cells = np.asarray(truth, dtype=np.float64)
    labels = range(cells.shape[1])
    known = ~np.isnan(cells)
    whole = bool(known.all())
    rows = [slice(None) if own.all() else np.flatnonzero(own) for own in known.T]
    guess = (predicted >= 0.5).astype(np.int64)
    positive = cells > 0.5

    def measure(weights: Floats) -> dict[str, Floats]:
        counted = [weights[:, own] for own in rows]
        matrices = [metrics.confusion(positive[rows[k], k].astype(np.int64), guess[rows[k], k], 2, counted[k])
                    for k in labels]  # fmt: skip
        ranked = [metrics.ranking(positive[rows[k], k], predicted[rows[k], k], counted[k]) for k in labels]
        own = {
            "auroc": [auroc for auroc, _ in ranked],
            "average_precision": [precision for _, precision in ranked],
            "accuracy": [metrics.accuracy(matrix) for matrix in matrices],
            "balanced_accuracy": [metrics.balanced_accuracy(matrix) for matrix in matrices],
            "f1": [metrics.positive_f1(matrix) for matrix in matrices],
        }
        together = {name: metrics.macro(values) for name, values in own.items()} | {
            "brier": metrics.brier(cells, predicted, weights) / cells.shape[1]
            if whole
            else metrics.rate(np.nansum((predicted - cells) ** 2, axis=1), known.sum(1).astype(np.float64), weights),
            "ece": metrics.macro(
                [expected_calibration_error(cells[rows[k], k], predicted[rows[k], k], counted[k]) for k in labels]
            ),
        }
        return together | {f"{name}_{label}": values[k] for k, label in enumerate(classes)
                           for name, values in own.items()}  # fmt: skip

    return measure


def _label_of_rows(truth: Values, predicted: Floats, classes: Sequence[str], metric: str) -> Sequence[NDArray[Any]]:
    """Of a metric of one label whether the row has it, NaN where that is not known; means over labels depend on all of
    them."""
    own = {f"{name}_{label}": (name, place) for place, label in enumerate(classes) for name in LABEL_METRICS}
    if metric not in own:
        return ()
    name, place = own[metric]
    cells = np.asarray(truth, dtype=np.float64)[:, place]
    has = (cells > 0.5).astype(np.float64)
    guess = (predicted[:, place] >= 0.5).astype(np.float64)
    has[np.isnan(cells)] = guess[np.isnan(cells)] = np.nan
    return (has, guess) if name in OF_THE_PREDICTED else (has,)


def _read_label_columns(columns: Mapping[str, Sequence[str]], classes: Sequence[str]) -> tuple[Values, Floats]:
    values = read_numbers(columns, [f"target_{name}" for name in classes])
    return values, read_numbers(columns, [f"probability_{name}" for name in classes])


def _label_errors(truth: Values, predictions: Floats, classes: Sequence[str]) -> Floats:
    away = np.abs(np.asarray(truth, dtype=np.float64) - predictions)
    errors: Floats = np.where(np.isnan(away).all(1), np.nan, np.nan_to_num(away).max(1))
    return errors


def _label_panels(drawn: Drawn) -> list[Panel]:
    """ROC, precision and recall, reliability."""
    truth = np.asarray(drawn.values, dtype=np.float64)
    known = ~np.isnan(truth)
    return [
        *ranking_panels(truth, drawn.predictions, drawn.classes, drawn.groups),
        reliability_panel(truth[known], drawn.predictions[known]),
    ]


MULTI_LABEL = Task(
    name="multi-label",
    metric="auroc",
    shown_metrics=("auroc", "average_precision"),
    read_targets=_read_columns,
    target_columns=_label_columns,
    strata=_positive_strata,
    members=_positive_members,
    summary=_unknown_counts,
    loss_targets=column_tensor,
    summed_loss=_binary_cross_entropy,
    validation_loss=_mean_binary_cross_entropy,
    linear_problems=_label_problems,
    linear_map=_label_map,
    vote=Vote(_columns_as_votes, log_odds, binary_likelihood),
    probabilities=_sigmoid,
    predictions=_label_chances,
    prediction_columns=chance_columns,
    read_columns=_read_label_columns,
    measures=_label_measures,
    metric_classes=_label_of_rows,
    panels=_label_panels,
    row_errors=_label_errors,
    row_error="largest distance of a label's probability to the truth",
)
