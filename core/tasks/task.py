"""What a task is: one value that knows how its targets are read, learnt, predicted, evaluated and drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from graftwork.core.metrics.intervals import Metrics
from graftwork.core.types import TaskName

if TYPE_CHECKING:
    from torch import Tensor, nn

    from graftwork.core.tasks.linear_models import LinearProblem, LinearSolution
    from graftwork.core.tasks.plots import Panel
    from graftwork.core.types import Features

Floats = NDArray[np.float64]
Values = NDArray[np.generic]
"""Targets as a Manifest holds them, one entry a row."""


class TargetCells(Protocol):
    """Where everything that is wrong with the target cells of a table is noted."""

    def note(self, message: str, index: int | None = None, column: str | None = None) -> None:
        """Adds a problem of the table, or of the row at `index`."""

    def warn(self, message: str) -> None:
        """Says what need not be wrong."""

    def same_names(self, column: str, cells: list[str]) -> list[str]:
        """The cells with one spelling for every name."""


@dataclass(frozen=True)
class Vote:
    """How nearest neighbours predict a target.

    targets: values, classes -> (rows, outputs), of which a mean is taken. logits: mean targets (batch, outputs), 0 to 1
    -> head outputs; None where the mean is the output itself. score: head outputs and targets (batch, outputs) -> a sum
    over rows, the larger the better.
    """

    targets: Callable[[Values, Sequence[str]], Tensor]
    logits: Callable[[Tensor], Tensor] | None
    score: Callable[[Tensor, Tensor], float]


@dataclass(frozen=True, eq=False)
class Drawn:
    """What an evaluation is drawn of: targets and predictions (rows, …), the classes and the target's name, counts
    of truth (down) by prediction where a row has one class, and the group of every row, by which intervals are
    resampled."""

    values: Values
    predictions: Floats
    classes: tuple[str, ...]
    target: str
    confusion: NDArray[np.int64] | None
    groups: tuple[str, ...] | None = None


def values_as_cells(values: Values, classes: Sequence[str]) -> Values:
    """Targets that are written as they are."""
    return values


def one_target_column(cells: Values, classes: Sequence[str]) -> dict[str, Any]:
    """A column `target`."""
    return {"target": list(cells)}


def one_stratum(values: Values) -> Floats:
    """No make-up that parts should share but the number of rows, (rows, 1)."""
    return np.ones((len(values), 1))


def no_members(values: Values, classes: Sequence[str]) -> dict[str, NDArray[np.bool_]]:
    """No class of which rows could be counted."""
    return {}


def read_numbers(columns: Mapping[str, Sequence[str]], names: Sequence[str]) -> Floats:
    """Columns of text by their names, (rows, names), float64; NaN for an empty cell."""
    cells = [[float(cell) if cell else math.nan for cell in columns[name]] for name in names]
    return np.array(cells, dtype=np.float64).reshape(len(names), -1).T


def no_lines(values: Values, classes: Sequence[str]) -> list[str]:
    """Nothing to say beside the counts."""
    return []


def no_doubts(predictions: Floats, classes: Sequence[str]) -> tuple[str, ...]:
    """Nothing to say of predictions as they are."""
    return ()


def no_range(values: Values) -> None:
    """Targets that are no numbers have no range."""


def one_output_a_class(classes: Sequence[str]) -> int:
    """As many outputs as classes."""
    return len(classes)


def linear_layer(width: int, outputs: int) -> nn.Module:
    """(batch, width) -> (batch, outputs), with a bias."""
    from torch import nn

    return nn.Linear(width, outputs)


def outputs_as_answers(outputs: Features) -> Tensor:
    """Head outputs (batch, outputs), float32."""
    return outputs.values.float()  # of features, not of a table


def as_they_are(answers: Tensor) -> Tensor:
    """Answers that are no probabilities."""
    return answers


def one_output(outputs: Tensor, place: int) -> Tensor:
    """One of the outputs (outputs,): a label's logit, or the number itself."""
    return outputs[place]


def not_finite(answers: Tensor) -> Tensor:
    """Which rows (rows,) of the answers (rows, …) hold a number that is not finite."""
    return ~answers.isfinite().flatten(1).all(dim=1)


def no_metric_classes(
    truth: Values, predictions: Floats, classes: Sequence[str], metric: str
) -> Sequence[NDArray[Any]]:
    """Metrics that depend on no class, or on several at once."""
    return ()


def no_confusion(truth: Values, predictions: Floats, classes: Sequence[str]) -> None:
    """Predictions that are no single class cannot be confused."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Task:
    """What a target is.

    name: as `--task` and files say it. metric: by which epochs, stages and strategies are compared, higher is better;
    shown_metrics: those in tables, the first is `metric`. output: what the backbone has to end in.
    one_class: whether every row has exactly one of the classes, whose number is its value; ordered: whether these
    classes have an order, which `--order` can give. in_files: whether targets
    are files of their own, paired with the examples; their values are zeros. in_characters: whether the classes are the
    characters of texts, which `--vocabulary` can give.

    Reading. read_targets: notes, names and cells of the target columns, and the classes of a trained model or None ->
    classes in order and values. cells: values, classes -> what the source says of every row. target_columns: those
    cells, classes -> columns of `predictions.csv`. strata: values -> (rows, strata), ones for what every part of a
    split should hold its share of. members: values, classes -> the rows (rows,) of every class. summary: values,
    classes -> lines of `check`. value_range: values -> least, largest and mean of numbers.

    Learning. output_count: classes -> outputs of the head. last_layer: width and outputs -> the head's last layer.
    loss_targets: values -> what `summed_loss` takes. summed_loss: head outputs, targets, weights (batch,), and the
    head's `scale` -> sum over rows of weight times loss. validation_loss: answers of all rows, values, metrics by
    name, and `scale` -> their mean loss; validation_column: what it is called. loss_hint: what may have made a loss
    infinite. target_scale: values -> mean and deviation that the head's outputs are multiplied out by.
    linear_problems: values, classes, and whether classes weigh the same -> the convex problems of a linear probe;
    linear_map: their solutions -> the head's weight and bias. vote: how nearest neighbours predict it. Those three are
    None where a task has no such thing.

    Predicting. answers: head outputs of a batch -> what is kept of it, (batch, …), float32. broken: answers
    -> the rows (rows,) whose network is at fault. probabilities: answers -> probabilities (softmax, sigmoid), or as
    they are. log_odds: outputs (outputs,) of one example, and a class -> what is explained of it, the logarithm of its
    odds. predictions: answers (rows, …) -> what `measures` takes. prediction_columns: predictions, classes ->
    columns of `predictions.csv`; read_columns: those columns as text, with those of `target_columns`, and classes ->
    values and predictions again.

    Evaluating. measures: values, predictions, classes -> metrics as a function of how often every row counts.
    metric_classes: values,
    predictions, classes, name of a metric -> the class of every row (rows,) that it depends on, and the predicted one
    where each class has to be predicted for the metric to say something.
    doubts: predictions, classes -> sentences on what they look like, whatever the truth.
    confusion: values, predictions, classes -> counts, truth down, prediction across. panels: the plots. row_errors:
    values, predictions, classes -> how wrong every row (rows,) is, NaN where that is not defined; row_error: in words.
    """

    name: TaskName
    metric: str
    shown_metrics: tuple[str, ...]
    output: Literal["vector", "frames", "maps"] = "vector"
    one_class: bool = False
    ordered: bool = False
    in_files: bool = False
    in_characters: bool = False

    read_targets: Callable[
        [TargetCells, Sequence[str], list[list[str]], Sequence[str] | None], tuple[tuple[str, ...], Values]
    ]
    cells: Callable[[Values, Sequence[str]], Values] = values_as_cells
    target_columns: Callable[[Values, Sequence[str]], dict[str, Any]] = one_target_column
    strata: Callable[[Values], Floats] = one_stratum
    members: Callable[[Values, Sequence[str]], dict[str, NDArray[np.bool_]]] = no_members
    summary: Callable[[Values, Sequence[str]], list[str]] = no_lines
    value_range: Callable[[Values], tuple[float, float, float] | None] = no_range

    output_count: Callable[[Sequence[str]], int] = one_output_a_class
    last_layer: Callable[[int, int], nn.Module] = linear_layer
    loss_targets: Callable[[Values], Tensor]
    summed_loss: Callable[[Features, Tensor, Tensor, Tensor], Tensor]
    validation_loss: Callable[[Tensor, Values, Mapping[str, float], Tensor], float]
    validation_column: str = "val_loss"
    loss_hint: str = ""
    target_scale: Callable[[Values], tuple[float, float]] | None = None
    linear_problems: Callable[[Values, Sequence[str], bool], list[LinearProblem]] | None = None
    linear_map: Callable[[Sequence[LinearSolution]], LinearSolution] | None = None
    vote: Vote | None = None

    answers: Callable[[Features], Tensor] = outputs_as_answers
    broken: Callable[[Tensor], Tensor] = not_finite
    probabilities: Callable[[Tensor], Tensor] = as_they_are
    log_odds: Callable[[Tensor, int], Tensor] = one_output
    predictions: Callable[[Tensor], Floats]
    prediction_columns: Callable[[Floats, Sequence[str]], dict[str, Any]]
    read_columns: Callable[[Mapping[str, Sequence[str]], Sequence[str]], tuple[Values, Floats]]

    measures: Callable[[Values, Floats, Sequence[str]], Metrics]
    metric_classes: Callable[[Values, Floats, Sequence[str], str], Sequence[NDArray[Any]]] = no_metric_classes
    confusion: Callable[[Values, Floats, Sequence[str]], NDArray[np.int64] | None] = no_confusion
    panels: Callable[[Drawn], list[Panel]]
    doubts: Callable[[Floats, Sequence[str]], tuple[str, ...]] = no_doubts
    row_errors: Callable[[Values, Floats, Sequence[str]], Floats]
    row_error: str

    def __repr__(self) -> str:
        return self.name
