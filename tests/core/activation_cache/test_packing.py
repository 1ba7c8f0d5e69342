"""Features of maps with skips and masks as one row of numbers, and back."""

import torch

from graftwork.core.activation_cache.packing import packed, unpacked
from graftwork.core.types import Features


def test_packed_features_come_back_as_they_were():
    generator = torch.Generator().manual_seed(1)
    masks = torch.randint(0, 4, (3, 5, 6, 7), generator=generator)
    maps = [torch.randn(3, *shape, generator=generator) for shape in ((2, 5, 6, 7), (3, 2, 3, 3), (4, 1, 1, 1))]
    features = Features(maps[2], None, (maps[0], maps[1]), masks)
    back = unpacked(packed(features), ((2, 5, 6, 7), (3, 2, 3, 3), (4, 1, 1, 1)), (5, 6, 7))
    assert torch.equal(back.values, maps[2])
    assert all(torch.equal(one, other) for one, other in zip(back.skips, maps[:2], strict=True))
    assert torch.equal(back.masks, masks)
    alone = unpacked(
        packed(Features(maps[2], None, (maps[0], maps[1]))), ((2, 5, 6, 7), (3, 2, 3, 3), (4, 1, 1, 1)), ()
    )
    assert alone.masks is None
