"""Stages of timm networks: which networks stay one, and what is said of them."""

import logging

import pytest
import timm
import torch
from torch import nn

from graftwork.core.model.strategies import STRATEGIES
from graftwork.imaging import list_backbones, load_backbone
from graftwork.imaging.backbones.module_chain import trace
from graftwork.imaging.backbones.timm_stages import ONE_STAGE, timm_stages


@pytest.mark.slow(reason="builds a network of each of timm's modules that stay one stage, without numbers")
@pytest.mark.parametrize("module", sorted(ONE_STAGE - {"deepseek_vit", "gemma4_vit", "mobilenetv5", "qwen3_vit"}))
def test_the_table_of_networks_that_are_one_stage_agrees_with_timm(module):
    name = timm.list_models(module=module)[0]
    with torch.device("meta"):
        network = timm.create_model(name, num_classes=0).eval()
    stages, _ = timm_stages(network, timm.get_pretrained_cfg(name).input_size)
    assert [stage.name for stage in stages] == ["network", "pool"]


def test_partial_on_a_network_of_one_stage_warns_once_that_it_is_full(caplog):
    backbone = load_backbone("timm:crossvit_9_240", weights="random")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            learning = STRATEGIES["partial"].learns(backbone, 1)
    assert set(learning.tensors) == {name for name, _ in backbone.network.named_parameters()}
    assert [record.getMessage() for record in caplog.records if "partial:1" in record.getMessage()] == [
        "partial:1 on timm:crossvit_9_240 is full: where its network can be cut is not known, so that all its weights "
        "are in one stage"
    ]


def test_the_list_of_backbones_names_networks_of_one_stage():
    notes = {row.id: row.note for row in list_backbones("xcit_nano") + list_backbones("regnety_002")}
    assert notes["timm:xcit_nano_12_p16_224"] == "one stage: partial:N is full"
    assert notes["timm:regnety_002"] == ""


class Net(nn.Module):
    """Two layers, and something in between that may be more than handing on."""

    def __init__(self, between):
        super().__init__()
        self.first, self.second, self.between = nn.Linear(2, 2), nn.Linear(2, 2), between

    def forward(self, values):
        return self.second(self.between(self.first(values)))


@pytest.mark.parametrize(("between", "linear"), [
    (lambda values: values, True), (lambda values: values + 0, False), (lambda values: values.relu_(), False),
    (lambda values: values[:], False),
])  # fmt: skip
def test_only_modules_that_hand_on_what_they_give_are_run_in_turn(between, linear):
    network = Net(between)
    found, _ = trace(network, network.forward, torch.zeros(1, 2))
    assert [call.path for call in found.calls] == ["first", "second"]
    assert found.linear is linear


def test_a_module_that_changes_its_input_in_place_is_known():
    network = nn.Sequential(nn.Identity(), nn.ReLU(inplace=True), nn.Linear(2, 2))
    found, _ = trace(network, network.forward, torch.zeros(1, 2))
    assert [call.mutates for call in found.calls] == [False, True, False]
