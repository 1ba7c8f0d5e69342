"""What scikit-learn calls y: labels, label columns, grades or numbers become the core's targets, and come back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftwork.core.data.manifest import Manifest
from graftwork.core.inference.adapter import Adapter
from graftwork.core.tasks import MULTI_LABEL, ORDINAL, REGRESSION, SINGLE_LABEL, Task

CLASSIFIED = (SINGLE_LABEL, MULTI_LABEL, ORDINAL)
NUMBERS = (REGRESSION,)

Labels = NDArray[Any] | list[NDArray[Any]]

LABELS = "labels"
"""The field of an adapter's record that has the labels as they stood in y: its classes are texts."""


@dataclass(frozen=True, eq=False)
class Targets:
    """A y as a Manifest holds it. labels: scikit-learn's `classes_`: what is predicted, sorted, as it stands in y; of
    several labels 0 and 1 for each; None for numbers."""

    task: Task
    classes: tuple[str, ...]
    values: NDArray[Any]
    labels: Labels | None = None


def class_targets(y: Any, order: Sequence[Any] | None) -> Targets:
    """Targets of labels (rows,), or of label columns (rows, labels) of 0 and 1, sparse or dense.

    order: grades from the lowest to the highest. Columns are named by a table's own names, else numbered from 0. Raises
    ValueError for a y that is missing, that is no classes, or that has fewer than two, and for labels without a place
    in the order.
    """
    from sklearn.utils.multiclass import check_classification_targets, type_of_target
    from sklearn.utils.validation import column_or_1d

    _check_given(y)
    check_classification_targets(y)
    kind = type_of_target(y)
    if kind == "multiclass-multioutput":
        raise ValueError("y has several columns of classes: expected one column, or columns of 0 and 1")
    if kind == "multilabel-indicator":
        if order is not None:
            raise ValueError("order: grades are one column, y has several")
        cells = np.asarray(y.toarray() if hasattr(y, "toarray") else y, dtype=np.float64)
        names = tuple(str(column) for column in getattr(y, "columns", range(cells.shape[1])))
        return Targets(MULTI_LABEL, names, cells, _zero_and_one(names))
    labels = column_or_1d(y, warn=True)
    found, codes = np.unique(labels, return_inverse=True)
    if order is not None:
        return _graded(found, codes, order)
    if len(found) < 2:
        raise ValueError(f"a classifier needs at least two classes, y has {len(found)} class")
    return Targets(SINGLE_LABEL, tuple(str(label) for label in found), codes.astype(np.int64), found)


def _graded(found: NDArray[Any], codes: NDArray[Any], order: Sequence[Any]) -> Targets:
    if isinstance(order, str) or len(set(order)) < 2 or len(set(order)) < len(order):
        raise ValueError(f"order: expected two or more grades from the lowest to the highest, found {order!r}")
    grades = list(order)
    unknown = [label for label in found.tolist() if label not in grades]
    if unknown:
        raise ValueError(f"order: y has {', '.join(map(repr, unknown))}, the grades are {grades}")
    places = np.array([grades.index(label) for label in found.tolist()], dtype=np.int64)
    return Targets(ORDINAL, tuple(str(grade) for grade in grades), places[codes], np.unique(grades))


def number_targets(y: Any) -> Targets:
    """Targets of finite numbers (rows,). Raises ValueError for anything else, several columns included."""
    from sklearn.utils.validation import check_array, column_or_1d

    _check_given(y)
    numbers = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
    if len(numbers) < 2:
        raise ValueError(f"a regressor needs at least two rows, y has {len(numbers)} sample")
    return Targets(REGRESSION, (), column_or_1d(numbers, warn=True))


def weighted(manifest: Manifest, sample_weight: Any) -> Manifest:
    """The manifest's rows with their weights (rows,); those of weight 0 are left out.

    Raises ValueError for weights that are negative or not finite, and for fewer than two rows or classes that count.
    """
    from sklearn.utils.validation import check_array

    weights = check_array(sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight")
    if weights.ndim != 1:
        raise ValueError(f"sample_weight must have one dimension, found the shape {weights.shape}")
    if (weights < 0).any():
        raise ValueError("sample_weight must not be negative")
    counted = replace(manifest, weights=tuple(weights.tolist())).subset(weights > 0)
    if len(counted) < 2 or (counted.task.one_class and len(np.unique(counted.values)) < 2):
        raise ValueError("sample_weight: the rows whose weight is not zero are fewer than two, or of one class")
    return counted


def _check_given(y: Any) -> None:
    if y is None:
        raise ValueError("fit requires y to be passed, but the target y is None")


def _zero_and_one(names: Sequence[str]) -> list[NDArray[Any]]:
    """By which scikit-learn's scorers know that columns of probabilities are labels, and not classes of one."""
    return [np.array([0, 1]) for _ in names]


def labels_as_json(labels: Labels | None) -> dict[str, Any]:
    """What `labels_of` reads; nothing where the adapter's classes say it all, and for labels that JSON has no word for,
    as dates."""
    if not isinstance(labels, np.ndarray) or not all(isinstance(one, str | int | float) for one in labels.tolist()):
        return {}
    return {LABELS: {"dtype": str(labels.dtype), "values": labels.tolist()}}


def labels_of(adapter: Adapter) -> Labels:
    """scikit-learn's `classes_` of an adapter: as they stood in y if an estimator trained it, else as texts."""
    if not adapter.task.one_class:
        return _zero_and_one(adapter.classes)
    known = adapter.record.get(LABELS)
    if known is not None:
        return np.array(known["values"], dtype=known["dtype"])
    return np.sort(np.array(adapter.classes, dtype=object))


def chances_in_order(adapter: Adapter, chances: NDArray[np.float64], labels: Labels) -> NDArray[np.float64]:
    """Probabilities (rows, classes) of the adapter with the columns in the order of the labels: scikit-learn's metrics
    take it that classes are sorted, which grades need not be. Those of several labels stay as they are."""
    if not isinstance(labels, np.ndarray):
        return chances
    found: NDArray[np.float64] = chances[:, [adapter.classes.index(str(label)) for label in labels.tolist()]]
    return found


def predicted_labels(adapter: Adapter, chances: NDArray[np.float64], labels: Labels) -> NDArray[Any]:
    """What the task predicts by the adapter's probabilities (rows, classes): a label (rows,), or 0 and 1 for each of
    several (rows, labels), 1 from one half on."""
    if not isinstance(labels, np.ndarray):
        return (chances >= 0.5).astype(np.int64)
    place = {str(label): number for number, label in enumerate(labels.tolist())}
    names = adapter.task.prediction_columns(chances, adapter.classes)["prediction"]
    found: NDArray[Any] = labels[[place[name] for name in names]]
    return found
