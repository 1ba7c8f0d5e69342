"""Stages of timm networks: which networks stay one, and what is said of them."""

import logging

import pytest
import timm
import torch
from torch import nn

from graftwork.core.model.lora import insert_lora, merge_lora
from graftwork.core.model.strategies import STRATEGIES
from graftwork.core.types import Features
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


@pytest.mark.parametrize("name", ["eva02_tiny_patch14_224", "beit_base_patch16_224", "swinv2_cr_tiny_ns_224",
                                  "swinv2_tiny_window8_256", "vit_small_patch16_dinov3"])  # fmt: skip
def test_lora_reaches_attention_that_reads_the_weight_of_its_projection(name):
    torch.manual_seed(0)
    backbone = load_backbone(f"timm:{name}", weights="random")
    with torch.no_grad():
        for parameter in backbone.network.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.3)  # fresh scales of residual branches are near zero and would hide them
    image = Features(torch.randn(1, *backbone.contract.blank().shape))
    before = backbone.run(image).values.detach()
    adapted, inserted = insert_lora(backbone, "auto", 2, 4.0)
    torch.testing.assert_close(adapted.run(image).values, before)
    parameters = dict(adapted.network.named_parameters())
    adapted.run(image).values.square().sum().backward()
    up = [parameters[name] for name in inserted if "lora_B" in name]
    assert up
    assert all(parameter.grad.abs().sum() > 0 for parameter in up)
    with torch.no_grad():
        for parameter in up:
            parameter.add_(torch.randn_like(parameter) * 0.1)
        changed = adapted.run(image).values
        assert not torch.allclose(changed, before, atol=1e-3)
        torch.testing.assert_close(merge_lora(adapted).run(image).values, changed, atol=1e-4, rtol=1e-4)
