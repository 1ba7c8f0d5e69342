"""Cosines and AS-norm against their formulas, and embeddings that do not depend on the batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from graftwork.audio.verification.verifier import (
    Embedder,
    cohort_statistics,
    cosine_scores,
    embed,
    normalise_scores,
    unit,
)
from graftwork.core.data.examples import Examples
from graftwork.core.data.manifest import Manifest
from graftwork.core.errors import SettingsError
from graftwork.core.model.backbone import Backbone
from graftwork.core.recipe import Recipe

RNG = np.random.default_rng(0)
VECTORS = unit(RNG.normal(size=(9, 5)).astype(np.float32))
COHORT = unit(RNG.normal(size=(20, 5)).astype(np.float32))
FIRST, SECOND = np.array([0, 3, 8]), np.array([1, 4, 8])


def test_scores_are_cosines() -> None:
    raw = RNG.normal(size=(9, 5)).astype(np.float32)
    centre = raw.mean(0)
    expected = torch.cosine_similarity(torch.from_numpy(raw[FIRST] - centre), torch.from_numpy(raw[SECOND] - centre))
    np.testing.assert_allclose(cosine_scores(unit(raw, centre), FIRST, SECOND), expected, atol=1e-6)


def test_as_norm_is_the_mean_of_two_z_scores_against_the_nearest_of_the_cohort() -> None:
    scores = cosine_scores(VECTORS, FIRST, SECOND)
    found = normalise_scores(scores, VECTORS, FIRST, SECOND, COHORT, top=6)
    for place, (a, b) in enumerate(zip(FIRST, SECOND, strict=True)):
        parts = []
        for side in (a, b):
            nearest = sorted((COHORT @ VECTORS[side]).tolist())[-6:]
            parts.append((scores[place] - np.mean(nearest)) / np.std(nearest))
        assert found[place] == pytest.approx(np.mean(parts), rel=1e-4)


def test_a_cohort_smaller_than_asked_for_is_used_whole() -> None:
    mean, _ = cohort_statistics(VECTORS, COHORT, top=1000)
    np.testing.assert_allclose(mean, (VECTORS @ COHORT.T).mean(1), rtol=1e-4)
    with pytest.raises(SettingsError, match="at least two clips, found 1"):
        normalise_scores(np.zeros(3), VECTORS, FIRST, SECOND, COHORT[:1])


def test_embeddings_are_those_of_each_clip_alone(backbone: Backbone) -> None:
    tensors = tuple(torch.randn(1600 + 700 * row) for row in range(6))
    seconds = tuple(len(tensor) / 16000 for tensor in tensors)
    manifest = Manifest("x", tuple("abcdef"), "single-label", "", ("",), np.zeros(6, dtype=np.int64))
    embedder = Embedder(backbone, lambda vectors: vectors, "hf:new", "0")
    found = embed(embedder, Examples(manifest, backbone.contract, tensors, seconds=seconds), Recipe(device="cpu"))
    for row, tensor in enumerate(tensors):
        with torch.no_grad():
            alone = backbone.run(backbone.contract.collate([tensor])).values[0]
        np.testing.assert_allclose(found[row], alone, rtol=1e-4, atol=1e-5)
