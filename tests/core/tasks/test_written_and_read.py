"""What every task writes of its rows can be read again, and says how wrong each row is."""

import io

import numpy as np
import pandas as pd
import pytest

from graftwork.core.tasks import TASKS
from graftwork.core.tasks.transcripts import encode

RNG = np.random.default_rng(0)


def chances(rows, classes):
    return RNG.dirichlet(np.ones(classes), rows)


TEXTS = ["one two", "three", "four"]
CHARACTERS = ("", *sorted(set("".join([*TEXTS, "onetwo", "thre", "for"]))))

ROWS = {
    "single-label": (np.array([0, 2, 1]), chances(3, 3), ("x", "y, z", "0")),
    "ordinal": (np.array([0, 2, 1]), chances(3, 3), ("low", "mid", "high")),
    "multi-label": (np.array([[0.0, 1.0], [1.0, 1.0], [0.0, 0.0]]), RNG.uniform(size=(3, 2)), ("p", "q")),
    "regression": (np.array([1.5, -2.0, 3.0]), np.array([1.0, 5.0, 3.0]), ()),
    "mask": (np.zeros(3), np.where(np.arange(24).reshape(3, 2, 4) == 5, np.nan, RNG.uniform(size=(3, 2, 4))),
             ("rest", "a", "b")),
    "text": (encode(TEXTS, CHARACTERS), encode(["onetwo", "thre", "four"], CHARACTERS).astype(np.float64), CHARACTERS),
}  # fmt: skip


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_what_is_written_of_predictions_is_read_again(task):
    values, predictions, classes = ROWS[task.name]
    columns = task.target_columns(task.cells(values, classes), classes) | task.prediction_columns(predictions, classes)
    held = io.StringIO(pd.DataFrame(columns).to_csv(index=False, float_format="%.9g"))
    table = pd.read_csv(held, dtype=str, keep_default_na=False)
    found, again = task.read_columns({name: table[name].tolist() for name in table}, classes)
    if not task.in_files:
        np.testing.assert_allclose(found, values)
    np.testing.assert_allclose(again, predictions, rtol=1e-8)
    if task.name == "multi-label":
        partly = np.where(np.eye(3, 2) > 0, np.nan, values)
        table = pd.DataFrame(task.target_columns(task.cells(partly, classes), classes)).to_csv(index=False)
        assert table.splitlines()[1:] == [",1.0", "1.0,", "0.0,0.0"]
    first, second = (task.measures(*one, classes)(np.ones((1, 3))) for one in ((values, predictions), (found, again)))
    for name, value in first.items():
        np.testing.assert_allclose(second[name], value, rtol=1e-6, err_msg=name)


EXPECTED = {
    "single-label": lambda values, found: 1 - found[[0, 1, 2], values],
    "ordinal": lambda values, found: np.abs(values - (found[:, 1] + 2 * found[:, 2])),
    "multi-label": lambda values, found: np.abs(values - found).max(1),
    "regression": lambda values, found: np.array([0.5, 7.0, 0.0]),
    "mask": lambda values, found: 1 - found[:, :, 0].mean(1),
    "text": lambda values, found: np.array([1 / 7, 1 / 5, 0.0]),
}


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_every_row_has_an_error(task):
    values, predictions, classes = ROWS[task.name]
    np.testing.assert_allclose(task.row_errors(values, predictions, classes), EXPECTED[task.name](values, predictions))
    assert task.row_error


def test_a_case_without_a_dice_has_no_error():
    (task,) = (one for one in TASKS if one.name == "mask")
    scores = np.full((2, 2, 3), np.nan)
    scores[1, 0, 0] = 0.25
    np.testing.assert_array_equal(task.row_errors(np.zeros(2), scores, ("rest", "a", "b")), [np.nan, 0.75])
