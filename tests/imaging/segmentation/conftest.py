"""Cases whose masks can be told from their images, and a contract that cuts them into patches."""

import nibabel
import numpy as np
import pytest

from graftwork.imaging import ImageContract, MaskContract


def contract(size=(8, 8, 8), **fields):
    dims = len(size)
    image = ImageContract(dims, 1, size, "window:0:1", (0.0,), (1.0,), fields.pop("spacing_mm", None))
    return MaskContract(image, (0, 1, 2), **fields)


@pytest.fixture
def case(tmp_path):
    """Writes an image of 0, 0.4 and 0.8 (width, height, depth), and the mask that each voxel tells by its value."""

    def write(shape, spacing=(1.0, 1.0, 1.0), seed=0, rare=False):
        rng = np.random.default_rng(seed)
        classes = np.zeros(shape, np.uint8) if rare else rng.integers(0, 3, shape, dtype=np.uint8)
        if rare:
            classes[0, 0, 0], classes[-1, -1, -1] = 1, 2
        affine = np.diag([*spacing, 1.0])
        nibabel.save(nibabel.Nifti1Image((classes * 0.4).astype(np.float32), affine), tmp_path / "i.nii.gz")
        nibabel.save(nibabel.Nifti1Image(classes, affine), tmp_path / "m.nii.gz")
        return f"{tmp_path / 'i.nii.gz'}#mask={tmp_path / 'm.nii.gz'}"

    return write
