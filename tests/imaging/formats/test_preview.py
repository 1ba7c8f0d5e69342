"""Small pictures of scans: their shape, their grey values, and which way is up."""

import io

import nibabel
import numpy as np
import pytest
from PIL import Image

from graftwork.core.errors import UnreadableError
from graftwork.imaging.formats.preview import SIDE, preview


def opened(content):
    return np.asarray(Image.open(io.BytesIO(content)))


def test_a_picture_keeps_its_shape_and_the_range_of_its_type(tmp_path):
    values = np.full((300, 600), 51, np.uint8)
    values[:, 300:] = 204
    Image.fromarray(values).save(tmp_path / "a.png")
    found = opened(preview(str(tmp_path / "a.png")))
    assert found.shape == (SIDE // 2, SIDE)
    assert (found[40, 10], found[40, -10]) == (51, 204)


def test_colours_stay(tmp_path):
    Image.new("RGB", (50, 50), (200, 10, 60)).save(tmp_path / "a.png")
    assert opened(preview(str(tmp_path / "a.png")))[90, 90].tolist() == [200, 10, 60]


def test_a_volume_is_three_slices_at_their_true_proportions(tmp_path):
    values = np.random.default_rng(0).normal(1000, 50, (20, 40, 10)).astype(np.float32)  # right, front, up
    values[:, :, 8:] = 5000
    nibabel.save(nibabel.Nifti1Image(values, np.diag([1.0, 1.0, 4.0, 1.0])), tmp_path / "v.nii.gz")
    found = opened(preview(str(tmp_path / "v.nii.gz")))
    # Axial 20 x 40, coronal 20 x 40 and sagittal 40 x 40 mm, each as high as its longer side allows.
    assert found.shape == (SIDE, SIDE // 2 + SIDE // 2 + SIDE)
    coronal = found[:, SIDE // 2 : SIDE]
    assert coronal[5].mean() > 200  # the head is up
    assert coronal[-5].mean() < 100


def test_what_cannot_be_read_is_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(UnreadableError, match=r"a\.png"):
        preview(str(tmp_path / "a.png"))
