"""Features on their way through a network."""

import torch

from graftwork.core.types import Features


def test_features_move_with_skips_and_masks():
    features = Features(torch.zeros(3, 4, 5), None, (torch.zeros(3, 1, 5),), torch.zeros(3, 5, dtype=torch.int64)).to(
        "meta"
    )
    assert features.skips[0].device.type == features.masks.device.type == "meta"
