"""MONAI's U-Nets taken apart: the stages give what the networks give, and keep nothing behind."""

import pytest
import torch

from graftwork.core.errors import SettingsError
from graftwork.core.model.backbone import MAPS
from graftwork.core.model.freezing_proof import whole_digest
from graftwork.core.types import Features
from graftwork.imaging import load_backbone


@pytest.mark.parametrize(("name", "size"), [
    ("unet-2d", 48), ("unet-3d", 32), ("segresnet-2d", 24), ("segresnet-3d", 16), ("segresnetds-2d", 32),
    ("swinunetr-2d", 64), pytest.param("swinunetr-3d", 64, marks=pytest.mark.long(reason="a large volume")),
])  # fmt: skip
def test_stages_in_turn_are_the_network_without_its_last_layer(name, size):
    torch.manual_seed(0)
    backbone = load_backbone(f"monai:{name}", weights="random", image_size=size)
    image = torch.randn(1, 1, *[size] * int(name[-2]))
    with torch.no_grad():
        found = backbone.run(Features(image))
        expected = backbone.network(image)
    assert backbone.stages[-1].name == MAPS
    assert found.skips == ()
    assert found.values.shape[1] == backbone.feature_dim
    torch.testing.assert_close(found.values, expected, atol=1e-5, rtol=1e-5)


def test_the_encoder_of_swinunetr_gives_one_vector():
    torch.manual_seed(0)
    backbone = load_backbone("monai:swinvit-3d", weights="random", image_size=32)
    image = torch.randn(2, 1, 32, 32, 32)
    with torch.no_grad():
        found = backbone.run(Features(image)).values
        deepest = backbone.network(image, normalize=False)[-1]
    torch.testing.assert_close(found, deepest.flatten(2).mean(2), atol=1e-5, rtol=1e-5)


def test_the_encoder_of_segresnetds_gives_one_vector():
    torch.manual_seed(0)
    backbone = load_backbone("monai:segresencoder-2d", weights="random", image_size=32)
    image = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        found = backbone.run(Features(image)).values
        deepest = backbone.network(image)[-1]
    torch.testing.assert_close(found, deepest.flatten(2).mean(2), atol=1e-5, rtol=1e-5)
    with pytest.raises(SettingsError, match="not a multiple of 16"):
        load_backbone("monai:segresencoder-2d", weights="random", image_size=40)


def test_a_swin_u_net_names_the_sizes_it_takes():
    with pytest.raises(SettingsError, match="not a multiple of 32"):
        load_backbone("monai:swinunetr-3d", weights="random", image_size=48)


def test_scratch_draws_other_weights_of_the_same_shape():
    torch.manual_seed(0)
    backbone = load_backbone("monai:segresnet-3d", weights="random", mask_values="0,1", image_size=16)
    again = backbone.build()
    shapes = [{name: value.shape for name, value in one.state_dict().items()} for one in (backbone.network, again)]
    assert shapes[0] == shapes[1]
    digests = [whole_digest({name: str(value.sum()) for name, value in one.state_dict().items()})
               for one in (backbone.network, again)]  # fmt: skip
    assert digests[0] != digests[1]
