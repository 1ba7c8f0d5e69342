"""Updates repeat themselves on a GPU, and a layer that cannot is named."""

import logging

import pytest
import torch

from graftwork.core.compute.determinism import Determinism
from graftwork.core.compute.global_state import undisturbed
from graftwork.core.compute.runtime import start_runtime
from graftwork.core.errors import SettingsError
from graftwork.core.recipe import Recipe

REFUSED = RuntimeError("adaptive_max_pool2d_backward_cuda does not have a deterministic implementation, but you set …")


@pytest.fixture(autouse=True)
def as_it_was():
    yield
    torch.use_deterministic_algorithms(False)


def test_torch_refuses_inside_an_update_only():
    with Determinism(strict=True).update():
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.is_deterministic_algorithms_warn_only_enabled()
    assert torch.is_deterministic_algorithms_warn_only_enabled()


def test_where_it_is_off_nothing_is_asked_for():
    with Determinism(strict=False).update():
        assert not torch.are_deterministic_algorithms_enabled()


def test_a_layer_without_a_deterministic_form_is_named_and_then_let_pass(caplog):
    determinism = Determinism(strict=True)
    assert not determinism.given_up(RuntimeError("out of luck"))
    with caplog.at_level(logging.WARNING):
        assert determinism.given_up(REFUSED)
    assert "adaptive_max_pool2d_backward_cuda has no deterministic form" in caplog.text
    assert not determinism.given_up(REFUSED), "it would be tried for ever"


def test_more_processes_than_gpus_are_refused_with_what_to_do(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    error = pytest.raises(SettingsError, match=r"2 processes on this machine, which has 1 CUDA device.*--device cpu")
    with undisturbed(), error:
        start_runtime(Recipe(device="cuda"))
