"""The scale on which every metric has its interval."""

import numpy as np
import pytest

from graftwork.core.metrics.scales import SCALES, find_scale
from graftwork.core.tasks import TASKS


def test_every_metric_of_every_task_has_a_scale():
    for task in TASKS:
        truth = {"multi-label": np.eye(4)[:, :2], "text": np.ones((4, 2))}.get(task.name, np.array([0.0, 1, 0, 1]))
        predictions = {"regression": np.ones(4), "text": np.ones((4, 2)), "mask": np.ones((4, 1, 3))}
        guess = predictions.get(task.name, np.full((4, 2), 0.5))
        for name in task.measures(truth, guess, ("a", "b"))(np.ones((1, 4))):
            assert find_scale(name) in SCALES.values()
    assert find_scale("auroc_of_accuracy") is SCALES["auroc"]
    with pytest.raises(KeyError):
        find_scale("aurocs")
