"""Devices and precisions that are there, and those that are not."""

import pytest
import torch

from graftwork.core.compute.device import choose_device, choose_precision
from graftwork.core.errors import SettingsError

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "mps", "cuda:99", "cuda:x"])
def test_a_device_that_is_not_there_is_refused(name):
    with pytest.raises(SettingsError, match=name):
        choose_device(name)


def test_auto_is_what_is_there():
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert choose_precision("auto", CPU) == "fp32"


def test_fp16_needs_a_gpu():
    with pytest.raises(SettingsError, match="fp16 needs a GPU"):
        choose_precision("fp16", CPU)


@pytest.mark.parametrize(("really", "expected"), [(True, "bf16"), (False, "fp16")])
def test_a_card_that_only_emulates_bf16_computes_in_fp16(monkeypatch, really, expected):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or really)
    assert choose_precision("auto", torch.device("cuda")) == expected
