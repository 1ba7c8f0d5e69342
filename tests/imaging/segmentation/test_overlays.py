"""Masks drawn over their scans."""

import numpy as np

from graftwork.imaging.scan import Scan
from graftwork.imaging.segmentation.overlays import shown_range


def test_a_lesion_is_not_drawn_white_all_over_and_pictures_in_their_full_range():
    values = np.zeros((1, 20, 20), np.float32)
    values[0, 3, 3:6] = (100, 150, 200)  # less than 1 % of the scan
    marked = values[0] > 0
    low, high = shown_range(Scan(values, "a.nii"), values[0], marked)
    assert low == 0
    assert 190 < high <= 200
    assert shown_range(Scan(values, "a.png", full_range=(0, 255)), values[0], marked) == (0, 255)
