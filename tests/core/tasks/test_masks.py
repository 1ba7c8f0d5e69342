"""The loss over voxels, overlap of patches, and rows of packed features, against formulas by hand and MONAI."""

import numpy as np
import pytest
import torch
from monai.losses import DiceLoss
from torch.nn import functional as F

from graftwork.core.evaluation.evaluation import evaluate_predictions
from graftwork.core.tasks.masks import IGNORED, patch_dice, summed_mask_loss


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(3, 4, 5, 6, 7, generator=generator)
    return outputs, torch.randint(0, 4, (3, 5, 6, 7), generator=generator)


def test_the_loss_is_cross_entropy_and_the_dice_loss_of_monai_row_by_row(pair):
    outputs, masks = pair
    weights = torch.tensor([1.0, 0.5, 2.0])
    dice = DiceLoss(include_background=False, to_onehot_y=True, softmax=True, reduction="none")
    expected = 0.0
    for row in range(3):
        own = dice(outputs[row : row + 1], masks[row : row + 1, None]).mean()
        expected += weights[row] * (own + F.cross_entropy(outputs[row : row + 1], masks[row : row + 1]))
    torch.testing.assert_close(summed_mask_loss(outputs, masks, weights), expected, atol=1e-4, rtol=1e-4)


def test_ignored_voxels_count_neither_in_the_loss_nor_in_the_dice(pair):
    """What is left is as if the others had been cut out of the patch."""
    outputs, masks = (one[:1, ..., :4] for one in pair)
    wide, told = (one[:1].clone() for one in pair)
    told[..., 4:] = IGNORED
    ones = torch.ones(1)
    torch.testing.assert_close(summed_mask_loss(wide, told, ones), summed_mask_loss(outputs, masks, ones))
    torch.testing.assert_close(patch_dice(wide, told), patch_dice(outputs, masks))
    wide.requires_grad_()
    summed_mask_loss(wide, told, ones).backward()
    assert (wide.grad[..., 4:] == 0).all()
    assert torch.isfinite(summed_mask_loss(wide, torch.full_like(told, IGNORED), ones))


def test_the_dice_of_a_patch_counts_voxels():
    masks = torch.tensor([[[0, 1, 1], [0, 0, 1]]])
    guess = torch.tensor([[[0, 1, 1], [1, 0, 0]]])
    outputs = torch.eye(3)[guess].movedim(-1, 1)
    # Background: 2 shared of 3 and 3; class 1: 2 shared of 3 and 3; class 2 is nowhere.
    found = patch_dice(outputs, masks)
    assert torch.allclose(found, torch.tensor([[2 / 3, 2 / 3, torch.nan]]), equal_nan=True)


def test_measures_are_means_over_the_cases_that_define_them():
    scores = np.array([[[0.8, 2.0, 1.0], [np.nan, np.nan, np.nan]], [[0.6, np.nan, np.nan], [0.5, 4.0, 2.0]]])
    found = evaluate_predictions("mask", ("0", "1", "2"), np.zeros(2), scores).metrics
    assert found["dice_1"].value == pytest.approx(0.7)
    assert found["dice_2"].value == pytest.approx(0.5)
    assert found["dice"].value == pytest.approx(0.6)
    assert found["hd95_mm_1"].value == 2.0
    assert found["surface_distance_mm"].value == pytest.approx(1.5)


def test_intervals_of_masks_resample_cases():
    rng = np.random.default_rng(0)
    scores = rng.uniform(0.5, 1.0, (40, 1, 1))
    found = evaluate_predictions("mask", ("0", "1"), np.zeros(40), scores).metrics["dice"]
    means = scores[rng.integers(0, 40, (4000, 40)), 0, 0].mean(1)
    assert found.low == pytest.approx(np.quantile(means, 0.025), abs=0.01)
    assert found.high == pytest.approx(np.quantile(means, 0.975), abs=0.01)
