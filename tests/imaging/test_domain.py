"""What the core is told of scans."""

import pytest

from graftwork.imaging.domain import DOMAIN


@pytest.mark.parametrize(("backbone", "name"), [
    ("hf:facebook/dinov2-small", "facebook/dinov2-small"), ("timm:hf-hub:owner/name@1", "owner/name"),
    ("timm:mobilenetv2_100", "timm/mobilenetv2_100.ra_in1k"), ("slices:timm:resnet18.a1_in1k", "timm/resnet18.a1_in1k"),
    ("timm:test_no_such_network", None), ("tiny:cnn2d", None), ("monai:resnet18-3d", None), ("hf:folder", None),
])  # fmt: skip
def test_the_hub_is_named_for_backbones_that_come_from_it(backbone, name):
    assert DOMAIN.hub_model(backbone) == name
