"""What should learn and has no gradient is named within a few updates; what starts late or at zero is not."""

import pytest
import torch
from torch import nn

from graftwork.core.errors import TrainingError
from graftwork.core.model.strategies import parse_strategy
from graftwork.core.training.finetuning import new_graft
from graftwork.core.training.gradient_check import UPDATES, GradientCheck


@pytest.fixture
def proof(backbone, manifest, recipe):
    return GradientCheck(new_graft(backbone, manifest, parse_strategy("full"), recipe))


def tensors(*gradients):
    learning = []
    for number, gradient in enumerate(gradients):
        parameter = nn.Parameter(torch.zeros(2))
        parameter.grad = None if gradient is None else torch.tensor(gradient)
        learning.append((f"tensor{number}", parameter))
    return learning


@pytest.mark.parametrize("silent", [None, [0.0, 0.0]])
def test_a_silent_tensor_is_named_after_a_few_updates_not_at_the_end(proof, silent):
    for _ in range(UPDATES - 1):
        proof.look(tensors([1.0, 0.0], silent))
    with pytest.raises(TrainingError, match=r"full on tiny:net: 1 tensors .*no gradient: tensor1\. "):
        proof.look(tensors([1.0, 0.0], silent))


def test_a_gradient_that_is_zero_at_first_is_enough_later(proof):
    """As of the A of a fresh LoRA."""
    proof.look(tensors([0.0, 0.0], [1.0, 1.0]))
    proof.look(tensors([0.0, 1e-20], [1.0, 1.0]))
    for _ in range(UPDATES):
        proof.look(tensors([0.0, 0.0], [0.0, 0.0]))
    proof.close()


def test_a_loss_of_nothing_says_nothing_of_the_network(proof):
    """As of rows that the solved head at which training starts tells without any doubt."""
    for _ in range(3 * UPDATES):
        proof.look(tensors([0.0, 0.0], [0.0, 0.0]))
    proof.close()


def test_tensors_that_learn_from_a_later_phase_on_are_counted_from_there(proof):
    for _ in range(3 * UPDATES):
        proof.look(tensors([1.0, 1.0]))
    for _ in range(UPDATES - 1):
        proof.look(tensors([1.0, 1.0], None))
    with pytest.raises(TrainingError, match="tensor1"):
        proof.look(tensors([1.0, 1.0], None))


@pytest.mark.parametrize(("updates", "refused"), [(1, False), (2, True)])
def test_a_short_run_is_evaluated_by_the_updates_it_had(proof, updates, refused):
    for _ in range(updates):
        proof.look(tensors(None))
    if refused:
        with pytest.raises(TrainingError, match="tensor0"):
            proof.close()
    else:
        proof.close()
