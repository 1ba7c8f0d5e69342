"""Numbers as targets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from graftwork.core.metrics import scores as metrics
from graftwork.core.metrics.intervals import Metrics
from graftwork.core.tasks.cells import check_commas, number_in, single_column
from graftwork.core.tasks.labels import column_tensor
from graftwork.core.tasks.linear_models import LinearProblem, Ridge, only_solution
from graftwork.core.tasks.plots import Panel, numbers_panel
from graftwork.core.tasks.task import Drawn, Floats, TargetCells, Task, Values, Vote, read_numbers

if TYPE_CHECKING:
    from torch import Tensor

    from graftwork.core.types import Features

QUANTILE_BINS = 10


def _read(
    rows: TargetCells, names: Sequence[str], columns: list[list[str]], classes: Sequence[str] | None
) -> tuple[tuple[str, ...], Floats]:
    single_column(rows, names, "numbers")
    check_commas(rows, names[0], columns[0])
    numbers = [number_in(cell) for cell in columns[0]]
    for index, (cell, number) in enumerate(zip(columns[0], numbers, strict=True)):
        if cell and number is None:
            rows.note(f"expected a finite number, found {cell!r}", index, names[0])
    return (), np.array([math.nan if number is None else number for number in numbers])


def _deciles(values: Values) -> Floats:
    numbers = np.asarray(values, dtype=np.float64)
    edges = np.unique(np.quantile(numbers, np.linspace(0, 1, QUANTILE_BINS + 1)[1:-1]))
    codes = np.searchsorted(edges, numbers, side="right")
    return np.eye(int(codes.max()) + 1)[codes]


def _range(values: Values) -> tuple[float, float, float]:
    numbers = np.asarray(values, dtype=np.float64)
    return float(numbers.min()), float(numbers.max()), float(numbers.mean())


def _summary(values: Values, classes: Sequence[str]) -> list[str]:
    return ["from {:g} to {:g}, mean {:g}".format(*_range(values))]


def _one_output(classes: Sequence[str]) -> int:
    return 1


def _squared_error(outputs: Features, targets: Tensor, weights: Tensor, scale: Tensor) -> Tensor:
    """In units of the target's deviation."""
    numbers = outputs.values.float()  # of features, not of a table
    return (((numbers - targets) / scale).square().mean(1) * weights).sum()


def _mean_squared_error(outputs: Tensor, values: Values, found: Mapping[str, float], scale: Tensor) -> float:
    return float(((outputs.float() - column_tensor(values)) / scale).square().mean(1).sum()) / len(outputs)


def _mean_and_deviation(values: Values) -> tuple[float, float]:
    numbers = np.asarray(values, dtype=np.float64)
    return float(numbers.mean()), max(float(numbers.std()), 1e-12)


def _problem(values: Values, classes: Sequence[str], balanced: bool) -> list[LinearProblem]:
    return [LinearProblem(np.asarray(values), Ridge())]


def _as_votes(values: Values, classes: Sequence[str]) -> Tensor:
    return column_tensor(values)


def _less_squared_error(outputs: Tensor, truth: Tensor) -> float:
    return -float((outputs - truth).square().sum())


def _numbers(outputs: Tensor) -> Floats:
    numbers: Floats = outputs.double().numpy()[:, 0]
    return numbers


def _columns(predictions: Floats, classes: Sequence[str]) -> dict[str, Any]:
    return {"prediction": predictions.reshape(len(predictions))}


def _measures(truth: Values, predictions: Floats, classes: Sequence[str]) -> Metrics:
    numbers, guess = np.asarray(truth, dtype=np.float64), predictions.reshape(len(predictions))

    def measure(weights: Floats) -> dict[str, Floats]:
        return {
            "mae": metrics.mean_absolute_error(numbers, guess, weights),
            "rmse": metrics.root_mean_squared_error(numbers, guess, weights),
            "r2": metrics.r2(numbers, guess, weights),
        }

    return measure


def _read_columns(columns: Mapping[str, Sequence[str]], classes: Sequence[str]) -> tuple[Values, Floats]:
    found = read_numbers(columns, ["target", "prediction"])
    return found[:, 0], found[:, 1]


def _errors(truth: Values, predictions: Floats, classes: Sequence[str]) -> Floats:
    errors: Floats = np.abs(np.asarray(truth, dtype=np.float64) - predictions.reshape(len(predictions)))
    return errors


def _panels(drawn: Drawn) -> list[Panel]:
    """Predicted over true."""
    predictions = drawn.predictions.reshape(len(drawn.predictions))
    return [numbers_panel(drawn.values.astype(np.float64), predictions, drawn.target)]


REGRESSION = Task(
    name="regression",
    metric="r2",
    shown_metrics=("r2", "mae"),
    read_targets=_read,
    strata=_deciles,
    summary=_summary,
    value_range=_range,
    output_count=_one_output,
    loss_targets=column_tensor,
    summed_loss=_squared_error,
    validation_loss=_mean_squared_error,
    target_scale=_mean_and_deviation,
    linear_problems=_problem,
    linear_map=only_solution,
    vote=Vote(_as_votes, None, _less_squared_error),
    predictions=_numbers,
    prediction_columns=_columns,
    read_columns=_read_columns,
    measures=_measures,
    panels=_panels,
    row_errors=_errors,
    row_error="distance to the truth",
)
