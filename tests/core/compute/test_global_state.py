"""Calls leave the process as it was: generators, flags, variables, after errors too."""

import os
import random

import numpy as np
import pytest
import sklearn.linear_model  # noqa: F401  # sets variables when it is first imported
import torch

from graftwork.core.compute.global_state import undisturbed
from graftwork.core.errors import GraftworkError
from graftwork.core.inference.adapter import load_adapter
from graftwork.core.inference.predict import predict_examples
from graftwork.core.runs.compare import compare
from graftwork.core.runs.cross_validation import cross_validate
from graftwork.core.runs.predict import predict
from graftwork.core.runs.rank import rank
from graftwork.core.runs.stages import stages
from graftwork.core.runs.train import train
from graftwork.core.training.finetuning import finetune, frozen_features


def process_state():
    """What a program may have set of the process, for comparison."""
    backends = torch.backends
    _, keys, *position = np.random.get_state()  # noqa: NPY002
    return {
        "torch": torch.get_rng_state().tolist(), "numpy": (keys.tolist(), position), "python": random.getstate(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "warns": torch.is_deterministic_algorithms_warn_only_enabled(),
        "filled": torch.utils.deterministic.fill_uninitialized_memory,
        "cudnn": [getattr(backends.cudnn, name) for name in ("enabled", "benchmark", "deterministic", "allow_tf32")],
        "tf32": backends.cuda.matmul.allow_tf32, "precision": torch.get_float32_matmul_precision(),
        "threads": torch.get_num_threads(), "dtype": torch.get_default_dtype(), "gradients": torch.is_grad_enabled(),
        "environment": {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"},
    }  # fmt: skip


@pytest.fixture
def own_state(monkeypatch):
    """A program with a state of its own, which is not what any run sets."""
    monkeypatch.delenv("ACCELERATE_DISABLE_RICH", raising=False)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    torch.manual_seed(11)
    np.random.seed(12)  # noqa: NPY002
    random.seed(13)
    return process_state()


@pytest.mark.parametrize("strategy", ["probe", "partial:1", "lora", "full", "scratch", "knn"])
def test_training_and_predicting_leave_the_state_as_it_was(backbone, examples, recipe, own_state, strategy):
    run = finetune(backbone, examples, strategy=strategy, recipe=recipe)
    assert process_state() == own_state
    predict_examples(run.adapter, examples, batch_size=8, device="cpu")
    assert process_state() == own_state


def test_every_other_verb_does_too(load_backbone, backbone, examples, recipe, tmp_path, own_state):
    frozen_features(backbone, examples, "partial:1", recipe)
    assert process_state() == own_state
    result = train(backbone, examples.manifest, strategy="partial:1", recipe=recipe)
    assert process_state() == own_state
    cross_validate(backbone, examples, strategy="partial:1", folds=2, recipe=recipe)
    assert process_state() == own_state
    result.adapter.save(tmp_path / "adapter")
    adapter = load_adapter(tmp_path / "adapter", load_backbone)
    assert process_state() == own_state
    adapter.predict(examples.manifest)
    assert process_state() == own_state
    predict(tmp_path / "adapter", examples.manifest, load_backbone)
    assert process_state() == own_state
    stages(backbone, examples.manifest, folds=2, recipe=recipe)
    rank([backbone], examples.manifest, folds=2, recipe=recipe)
    compare(backbone, examples.manifest, ["probe", "knn"], recipe=recipe)
    assert process_state() == own_state


def test_an_error_in_the_middle_leaves_it_too(backbone, examples, recipe, own_state):
    def stop(row):
        raise GraftworkError("enough")

    with pytest.raises(GraftworkError, match="enough"):
        finetune(backbone, examples, strategy="full", recipe=recipe, on_epoch=stop)
    assert process_state() == own_state


@undisturbed()
def change(deterministic, warns):
    torch.use_deterministic_algorithms(deterministic, warn_only=warns)
    torch.utils.deterministic.fill_uninitialized_memory = False
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    os.environ["ACCELERATE_DISABLE_RICH"] = "1"
    raise ValueError("x")


@pytest.mark.parametrize("before", [(False, False), (True, False), (True, True)])
def test_determinism_and_variables_that_a_gpu_asks_for_are_taken_back(own_state, monkeypatch, before):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    torch.use_deterministic_algorithms(before[0], warn_only=before[1])
    try:
        state = process_state()
        with pytest.raises(ValueError, match="x"):
            change(not before[0], not before[1])
        assert process_state() == state
    finally:
        torch.use_deterministic_algorithms(False)


def test_equal_calls_give_equal_weights_whatever_was_drawn_before(backbone, examples, recipe):
    learnt = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        learnt.append(finetune(backbone, examples, strategy="lora", recipe=recipe).adapter.graft.learnt())
    assert all(torch.equal(value, learnt[1][name]) for name, value in learnt[0].items())
