"""Dice and surface distances against distances computed one by one."""

import numpy as np
import pytest
from scipy.ndimage import binary_erosion
from scipy.spatial.distance import cdist

from graftwork.core.tasks.masks import IGNORED
from graftwork.imaging.segmentation.surface_metrics import measure_masks


def ball(shape, centre, radius):
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    return (np.linalg.norm(grid - centre, axis=-1) <= radius).astype(np.int64)


def by_hand(truth, guess, spacing):
    edges = [np.argwhere(mask & ~binary_erosion(mask)) * spacing for mask in (truth > 0, guess > 0)]
    distances = cdist(*edges)
    there, back = distances.min(1), distances.min(0)
    return max(np.percentile(there, 95), np.percentile(back, 95)), np.concatenate([there, back]).mean()


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.5, 0.8, 1.2)])
def test_distances_are_those_between_the_voxels_of_both_surfaces(spacing):
    truth, guess = ball((20, 22, 24), (9, 10, 11), 5), ball((20, 22, 24), (11, 10, 12), 6)
    found = measure_masks(truth, guess, 2, spacing)[0]
    hd95, mean = by_hand(truth, guess, np.array(spacing))
    assert found[0] == pytest.approx(2 * (truth & guess).sum() / (truth.sum() + guess.sum()))
    assert found[1] == pytest.approx(hd95, rel=1e-5)
    assert found[2] == pytest.approx(mean, rel=1e-5)


def test_pictures_are_measured_too():
    truth, guess = ball((20, 22), (9, 10), 5), ball((20, 22), (9, 12), 5)
    found = measure_masks(truth, guess, 2, (0.5, 0.5))[0]
    hd95, mean = by_hand(truth, guess, np.array((0.5, 0.5)))
    assert found[1:3].tolist() == pytest.approx([hd95, mean], rel=1e-5)


def test_what_is_nowhere_has_no_measure_and_what_is_missed_has_a_dice_of_zero():
    truth = np.zeros((6, 6, 6), np.int64)
    truth[2:4, 2:4, 2:4] = 1
    guess = np.zeros_like(truth)
    guess[0, 0, 0] = 2
    found = measure_masks(truth, guess, 4, (1.0, 1.0, 1.0))
    assert found[:, 0].tolist()[:2] == [0.0, 0.0]
    assert np.isnan(found[2, :3]).all()
    assert np.isnan(found[:, 1:3]).all()


def test_equal_masks_are_perfect_and_have_no_distances_without_a_spacing():
    truth = ball((8, 9, 10), (4, 4, 4), 2)
    assert measure_masks(truth, truth, 2, (1.0, 2.0, 3.0))[0, :3].tolist() == [1.0, 0.0, 0.0]
    without = measure_masks(truth, truth, 2, None)[0]
    assert without[0] == 1.0
    assert np.isnan(without[1:]).all()


def test_what_is_ignored_is_background_of_both():
    truth, guess = ball((20, 22), (9, 10), 5), ball((20, 22), (9, 12), 5)
    known = np.arange(22) < 13
    told = np.where(known, truth, IGNORED)
    np.testing.assert_array_equal(
        measure_masks(told, guess, 2, (0.5, 0.5)), measure_masks(truth * known, guess * known, 2, (0.5, 0.5))
    )


def test_a_class_that_is_predicted_and_not_there_is_a_false_positive():
    nothing, something = np.zeros((4, 5), np.int64), np.ones((4, 5), np.int64)
    found = [measure_masks(truth, guess, 2, None)[0, 3] for truth, guess in (
        (nothing, something), (nothing, nothing), (something, nothing), (something, something))]  # fmt: skip
    np.testing.assert_array_equal(found, [1, 0, np.nan, np.nan])
