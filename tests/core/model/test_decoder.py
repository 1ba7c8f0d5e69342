"""The decoder: what it makes of maps, and the shapes it is built from."""

import pytest
import torch

from graftwork.core.model.decoder import Decoder, map_shapes
from graftwork.core.types import Features
from graftwork.imaging import load_backbone


@pytest.mark.parametrize("dims", [2, 3])
def test_logits_are_as_large_as_the_finest_maps_whatever_the_levels_divide(dims):
    torch.manual_seed(0)
    sizes = [(9, 14, 11), (5, 7, 6), (2, 3, 3)]
    levels = [torch.randn(2, channels, *size[:dims]) for channels, size in zip((1, 8, 24), sizes, strict=True)]
    decoder = Decoder([1, 8, 24], dims, 4)
    assert decoder(Features(levels[2], None, tuple(levels[:2]))).shape == (2, 4, *sizes[0][:dims])


def test_every_level_and_every_tensor_matters():
    torch.manual_seed(0)
    levels = [torch.randn(1, channels, size, size, requires_grad=True) for channels, size in ((1, 16), (8, 8), (24, 4))]
    decoder = Decoder([1, 8, 24], 2, 3)
    decoder(Features(levels[2], None, tuple(levels[:2]))).square().mean().backward()
    assert all(level.grad.abs().max() > 0 for level in levels)
    assert all(tensor.grad.abs().max() > 0 for tensor in decoder.parameters())


def test_examples_of_a_batch_do_not_touch_each_other():
    torch.manual_seed(0)
    levels = [torch.randn(3, channels, size, size) for channels, size in ((1, 16), (8, 8))]
    decoder = Decoder([1, 8], 2, 3).train()
    together = decoder(Features(levels[1], None, (levels[0],)))
    alone = decoder(Features(levels[1][1:2], None, (levels[0][1:2],)))
    torch.testing.assert_close(together[1:2], alone)


@pytest.mark.parametrize(("convolutions", "filters"), [(1, 2), (2, 4), (3, 6)])
def test_every_level_but_the_deepest_has_as_many_convolutions_as_asked_for(convolutions, filters):
    decoder = Decoder([1, 8, 24], 2, 3, convolutions)
    assert sum(tensor.shape[-1] == 3 for tensor in decoder.parameters() if tensor.dim() == 4) == filters
    names = {name for name, _ in Decoder([1, 8, 24], 2, 3).named_parameters()}
    assert "mix.0.0.weight" in names  # as adapters of the first versions have them


def test_one_level_is_one_convolution_over_its_maps():
    decoder = Decoder([8], 3, 2)
    assert [tuple(tensor.shape) for tensor in decoder.parameters()] == [(2, 8, 1, 1, 1), (2,)]


@pytest.mark.parametrize("id", ["i3d:tiny:cnn2d", "slices:tiny:cnn2d"])
def test_shapes_are_those_of_a_real_run(id):
    backbone = load_backbone(id, mask_values="0,1", patch_size="24,32,16")
    for stop in (1, 3, len(backbone.stages)):
        with torch.no_grad():
            found = backbone.run(Features(torch.randn(1, 3, 24, 32, 16)), 0, stop)
        real = [tuple(maps.shape[1:]) for maps in (*found.skips, found.values)]
        assert list(map_shapes(backbone, stop)) == real
