"""What every task has, and what a task leaves to the defaults."""

import inspect

import numpy as np
import torch

from graftwork.core.tasks import TASKS
from graftwork.core.tasks.task import not_finite, one_stratum


def test_rows_whose_network_is_at_fault_are_found_in_outputs_of_any_shape():
    answers = torch.zeros(3, 2, 4)
    answers[1, 0, 3], answers[2, 1, 0] = torch.inf, torch.nan
    assert not_finite(answers).tolist() == [False, True, True]
    assert not_finite(answers[:, :, 0]).tolist() == [False, False, True]


def test_the_deciding_metric_is_measured_and_shown_first():
    for task in TASKS:
        assert task.shown_metrics[0] == task.metric
        assert repr(task) == task.name


def test_classes_with_an_order_are_classes_and_files_are_masks():
    assert [task.name for task in TASKS if task.ordered] == ["ordinal"]
    assert all(task.one_class for task in TASKS if task.ordered)
    assert [task.name for task in TASKS if task.in_files] == ["mask"]
    assert [task.name for task in TASKS if task.in_characters] == ["text"]


def test_a_linear_probe_has_its_problems_and_their_map_or_neither():
    for task in TASKS:
        assert (task.linear_problems is None) == (task.linear_map is None)
        assert len(inspect.signature(task.measures).parameters) == 3


def test_without_strata_of_its_own_a_task_shares_out_rows_by_their_number():
    np.testing.assert_array_equal(one_stratum(np.arange(4)), np.ones((4, 1)))
