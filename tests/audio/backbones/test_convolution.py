"""Convolutions as matrix products are torch's own convolutions."""

import pytest
import torch
from torch import nn

from graftwork.audio.backbones.convolution import ROWS, GroupedConvolution, position_convolution, strided_products
from graftwork.core.types import Features
from tests.audio.conftest import with_lively_norms


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("given", "made", "kernel", "stride"), [(1, 8, 10, 5), (8, 8, 3, 2), (8, 6, 2, 2), (8, 6, 7, 3)]
)
@pytest.mark.parametrize("samples", [101, 102, 103])
def test_products_of_strided_windows_are_the_convolution(given, made, kernel, stride, samples, bias):
    conv = nn.Conv1d(given, made, kernel, stride, bias=bias).double()
    x = torch.randn(3, given, samples, dtype=torch.float64)
    torch.testing.assert_close(strided_products(conv, x.transpose(1, 2)).transpose(1, 2), conv(x))


@pytest.mark.parametrize("kernel", [16, 5])
@pytest.mark.parametrize("frames", [30, 2 * ROWS + 3], ids=["at once", "in pieces"])
def test_the_grouped_convolution_and_its_gradients_are_torchs(kernel, frames):
    conv = nn.Conv1d(12, 12, kernel, padding=kernel // 2, groups=3).double()
    x = torch.randn(1 if frames > 100 else 2, frames, 12, dtype=torch.float64, requires_grad=True)
    found, expected = GroupedConvolution.apply(x, conv.weight, conv.bias, 3), conv(x.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(expected)
    learnt = [x, conv.weight, conv.bias]
    torch.testing.assert_close(torch.autograd.grad((found * weights).sum(), learnt),
                               torch.autograd.grad((expected * weights).sum(), learnt))  # fmt: skip


def test_gradients_that_nobody_wants_are_not_computed(monkeypatch):
    conv = nn.Conv1d(6, 6, 4, padding=2, groups=2).requires_grad_(False)
    x, backward, wanted = torch.randn(1, 9, 6, requires_grad=True), torch.ops.aten.convolution_backward, []
    monkeypatch.setattr(torch.ops.aten, "convolution_backward",
                        lambda *given: wanted.append(list(given[-1])) or backward(*given))  # fmt: skip
    GroupedConvolution.apply(x, conv.weight, conv.bias, 2).sum().backward()
    assert wanted == [[True, False, False]]
    assert x.grad is not None


def test_on_a_cpu_the_network_computes_as_it_always_did(base_backbone):
    embedding = base_backbone.network.encoder.transformer.pos_conv_embed
    x = torch.randn(2, 20, embedding.embed_dim)
    assert torch.equal(position_convolution(embedding, x), embedding(x))


@pytest.mark.gpu
def test_a_gpu_computes_what_a_cpu_computes_at_every_length(config):
    backbone = with_lively_norms(config)
    on_gpu = backbone.with_network(backbone.copy().network.cuda())
    for lengths in ([4000, 3999, 1700], [6001], [5000, 5000]):
        clips = backbone.contract.collate([torch.randn(length) for length in lengths])
        for stop in range(1, len(backbone.stages) + 1):
            here = backbone.run(clips, stop=stop).values
            there = on_gpu.run(Features(clips.values.cuda(), clips.lengths), stop=stop).values
            torch.testing.assert_close(there.cpu(), here, atol=2e-3, rtol=2e-3)
