"""Networks of the user's own as backbones."""

import pytest
import torch
from torch import nn

from graftwork.core.errors import BackboneError
from graftwork.core.types import Features
from graftwork.imaging import (
    ImageContract,
    backbone_from_module,
)


@torch.inference_mode()
def test_a_module_of_the_users_is_one_stage_or_the_ones_named():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.Conv2d(4, 6, 3)))
    contract = ImageContract(2, 1, (8, 8), "auto", (0.0,), (1.0,))
    whole = backbone_from_module(module, contract=contract)
    staged = backbone_from_module(module, [("a", "0"), ("b", module[1]), ("c", "2")], contract=contract)
    batch = torch.randn(2, *contract.blank().shape, generator=torch.Generator().manual_seed(0))
    expected = module(batch).mean(dim=(2, 3))
    torch.testing.assert_close(whole.run(Features(batch)).values, expected)
    torch.testing.assert_close(staged.run(Features(batch)).values, expected)
    assert [stage.name for stage in staged.stages] == ["a", "b", "c", "pool"]
    assert whole.feature_dim == 6
    with pytest.raises(BackboneError, match=r"'2\.0\.weight' belongs to none"):
        backbone_from_module(module, [("a", "0"), ("b", "1")], contract=contract)
    with pytest.raises(BackboneError, match="'head' is not a submodule"):
        backbone_from_module(module, [("a", "head")], contract=contract)
    with pytest.raises(BackboneError, match="given as 5, and the module gives 6"):
        backbone_from_module(module, contract=contract, feature_dim=5)
