"""Clips of tones whose units and speakers can be told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from graftwork.audio.pretraining.loop import Pretraining
from graftwork.core.data.examples import Examples, read_examples
from graftwork.core.data.manifest import Manifest
from graftwork.core.model.backbone import Backbone

HZ = [300, 900, 2700, 5000]
QUICK = Pretraining(updates=6, clusters=4, batch_seconds=2.0, crop_seconds=0.5, mask_frames=3, device="cpu")


@pytest.fixture
def clips(tmp_path: Path, base_backbone: Backbone) -> Examples:
    """Eight clips of 0.5 to 0.76 s of four tones in turn, by two speakers of different loudness."""
    generator = np.random.default_rng(0)
    paths, speakers = [], np.array([0, 1] * 4)
    for number, speaker in enumerate(speakers):
        tones = [np.sin(2 * np.pi * hz * np.arange(3200) / 16000) for hz in generator.permutation(HZ)]
        samples = np.concatenate(tones)[: 8000 + 600 * number] * (0.2 + 0.5 * speaker)
        paths.append(str(tmp_path / f"{number}.wav"))
        soundfile.write(paths[-1], samples + 0.01 * generator.standard_normal(len(samples)), 16000)
    return read_examples(
        Manifest("generated", tuple(paths), "single-label", "speaker", ("a", "b"), speakers), base_backbone.contract
    )


def same(one: Backbone, other: Backbone) -> bool:
    return one.digest() == other.digest()
