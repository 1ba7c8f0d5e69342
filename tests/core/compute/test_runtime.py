"""Precision, seeds, layout, clipping, and the one process that is the ordinary case."""

import pytest
import torch
from torch import nn

from graftwork.core.compute.runtime import seed_everything, start_runtime
from graftwork.core.recipe import Recipe
from graftwork.core.types import Features


def test_every_runtime_has_its_own_precision():
    for precision, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32), ("bf16", torch.bfloat16)):
        runtime = start_runtime(Recipe(device="cpu", precision=precision))
        with runtime.autocast():
            assert nn.Linear(2, 2)(torch.zeros(1, 2)).dtype == dtype


def test_one_process_has_all_rows_and_puts_them_back_in_order():
    runtime = start_runtime(Recipe(device="cpu"))
    assert (runtime.rank, runtime.processes, runtime.total(1.5)) == (0, 1, 1.5)
    assert list(runtime.share([4, 2, 7])) == [4, 2, 7]
    found = runtime.gather([2, 0, 1], torch.tensor([[2.0], [0.0], [1.0]]), 3)
    assert found[:, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize(("shape", "layout"), [((2, 3, 4, 4), torch.channels_last),
                                               ((2, 3, 4, 4, 4), torch.channels_last_3d)])  # fmt: skip
def test_batches_and_filters_are_laid_out_as_asked(shape, layout):
    values = torch.randn(shape)
    runtime = start_runtime(Recipe(device="cpu"))
    sent = runtime.send(Features(values)).values
    assert sent.is_contiguous(memory_format=layout)
    assert torch.equal(sent, values)
    layer = (nn.Conv2d if len(shape) == 4 else nn.Conv3d)(3, 5, 3)
    assert runtime.place(nn.Sequential(layer))[0].weight.is_contiguous(memory_format=layout)
    plain = start_runtime(Recipe(device="cpu", memory_format="contiguous")).send(Features(values)).values
    assert plain.is_contiguous()


def test_gradients_are_clipped_to_the_norm_and_not_at_all_for_zero():
    """By plain gradient descent, whose step is the gradient."""
    runtime = start_runtime(Recipe(device="cpu"))
    for norm, expected in ((0.0, 6.0), (2.0, 2.0), (9.0, 6.0)):
        parameter = nn.Parameter(torch.zeros(4))
        parameter.grad = torch.full((4,), 3.0)
        runtime.step(torch.optim.SGD([parameter], lr=1.0), [parameter], norm)
        assert float(parameter.detach().norm()) == pytest.approx(expected, rel=1e-5)
        assert parameter.grad is None


def test_a_run_does_not_inherit_the_device_of_the_one_before():
    """Accelerate keeps it for the whole process."""
    from accelerate.state import PartialState

    start_runtime(Recipe(device="cpu"))
    PartialState._shared_state["device"] = torch.device("meta")
    assert start_runtime(Recipe(device="cpu")).accelerator.device.type == "cpu"


def test_seeds_of_several_numbers_differ_in_every_one_of_them():
    def first(*numbers):
        seed_everything(*numbers)
        return float(torch.rand(1, dtype=torch.float64))

    assert first(1, 2, 3) == first(1, 2, 3)
    assert len({first(1, 2, 3), first(1, 3, 2), first(2, 2, 3), first(1, 2, 4)}) == 4
