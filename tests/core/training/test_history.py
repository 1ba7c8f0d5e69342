"""The history of a run as CSV and plot."""

import csv
import os

from graftwork.core.training.history import write_history

ROWS = [
    {"epoch": 1, "learning_rate": 0.1, "train_loss": 0.9, "val_loss": 1.0, "val_auroc": None},
    {"epoch": 2, "learning_rate": 0.05, "train_loss": 0.7, "val_loss": 0.8, "val_auroc": 0.75},
]


def test_every_epoch_is_a_row_and_what_is_undefined_is_empty(tmp_path):
    write_history(tmp_path, ROWS)
    with (tmp_path / "history.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert found == [{name: "" if value is None else str(value) for name, value in row.items()} for row in ROWS]


def test_the_same_course_is_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        write_history(tmp_path / name, ROWS)
    pictures = [(tmp_path / name / "loss.png").read_bytes() for name in ("one", "two")]
    assert pictures[0] == pictures[1]
    assert pictures[0].startswith(b"\x89PNG")


def test_a_run_without_epochs_writes_nothing(tmp_path):
    write_history(tmp_path, ())
    assert os.listdir(tmp_path) == []
