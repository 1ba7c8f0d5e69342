"""Adapters that are small enough to leave for other programs in seconds."""

from dataclasses import replace

import nibabel
import numpy as np
import pytest
from PIL import Image

from graftwork.core import Manifest, Recipe, finetune
from graftwork.imaging import load_backbone, read_manifest

RECIPE = Recipe(epochs=2, batch_size=4, learning_rate=0.01, device="cpu", workers=0, augment="off", compile="off")


@pytest.fixture
def manifest(tmp_path, rng):
    paths = []
    (tmp_path / "scans").mkdir()
    for number in range(8):
        values = rng.uniform(0, 100, (40, 50)) + 100 * (number % 2)
        paths.append(str(tmp_path / "scans" / f"{number}.png"))
        Image.fromarray(values.astype(np.uint8)).save(paths[-1])
    return Manifest("own", tuple(paths), "single-label", "finding", ("plain", "marked"), np.arange(8) % 2)


def trained(manifest, strategy, features="last"):
    backbone, recipe = load_backbone("tiny:cnn2d", image_size=32), replace(RECIPE, features=features)
    return finetune(backbone, manifest, strategy=strategy, recipe=recipe).adapter


@pytest.fixture
def segmenter(tmp_path):
    """An adapter for masks, and the paths of scans larger than its patches."""
    rng = np.random.default_rng(0)
    (tmp_path / "volumes").mkdir()
    lines = ["path,mask"]
    for number in range(3):
        classes = (rng.uniform(size=(18, 16, 20)) > 0.7).astype(np.uint8)
        values = (classes + rng.normal(0, 0.2, classes.shape)).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(values, np.diag([-1, 1, 2, 1])), tmp_path / "volumes" / f"{number}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(classes, np.diag([-1, 1, 2, 1])), tmp_path / f"m{number}.nii.gz")
        lines.append(f"volumes/{number}.nii.gz,m{number}.nii.gz")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    backbone = load_backbone("slices:tiny:cnn2d", mask_values="0,1", patch_size="16")
    adapter = finetune(backbone, read_manifest(tmp_path / "t.csv", target="mask"), recipe=RECIPE).adapter
    return adapter, [str(tmp_path / "volumes" / f"{number}.nii.gz") for number in range(3)]
