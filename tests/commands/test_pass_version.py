"""What frozen stages give is kept on disk under `PASS_VERSION`: who changes it has to raise that."""

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from graftwork import audio, imaging
from graftwork.audio.preprocessing.augmentation import augment as change_clip
from graftwork.core.activation_cache.key import PASS_VERSION
from graftwork.core.model.folding import folded
from graftwork.imaging.preprocessing.augmentation import augment as change_image

SEED = 9
VALUES = {
    1: {
        ("picture", False): [85.556, 153.917],
        ("picture", True): [86.644, 151.4247],
        ("clip", False): [3.4733, 168.6618],
        ("clip", True): [4.2453, 170.6913],
    },
}
"""Of every version: sum and sum of squares of the output for one file as it is, and changed at random."""

ADVICE = (
    "a file gives other activations than PASS_VERSION %d gave: raise PASS_VERSION in core/activation_cache/key.py and "
    "state them"
)


def picture(folder):
    values = np.random.default_rng(SEED).integers(0, 255, (37, 53, 3), dtype=np.uint8)
    Image.fromarray(values).save(folder / "a.png")
    return imaging.load_backbone("tiny:cnn2d"), folder / "a.png", change_image


def clip(folder):
    values = np.random.default_rng(SEED).normal(0, 0.1, 7000).astype(np.float32)
    soundfile.write(folder / "a.wav", values, 22050, subtype="PCM_16")
    return audio.load_backbone("tiny:wav2vec2", pooling="mean"), folder / "a.wav", change_clip


@pytest.mark.parametrize("make", [picture, clip])
@pytest.mark.parametrize("changed", [False, True])
@torch.no_grad()
def test_a_version_of_the_pass_gives_the_same_activations(make, changed, tmp_path):
    backbone, path, change = make(tmp_path)
    example = backbone.contract.read(str(path))
    if changed:
        example = change(example, np.random.default_rng(SEED))
    found = folded(backbone, len(backbone.stages) - 1).run(backbone.contract.collate([example])).values.double()
    sums = [float(found.sum()), float(found.square().sum())]
    known = VALUES[PASS_VERSION][make.__name__, changed]
    # Processors and versions of libraries differ in the fifth digit; those have a part of the key to themselves.
    assert sums == pytest.approx(known, rel=1e-3, abs=1e-3), ADVICE % PASS_VERSION
