"""Voices as vectors: embeddings of clips, how alike two are, and what tells one source of vectors from another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graftwork.audio.backbones.loading import load_backbone
from graftwork.core.compute.global_state import undisturbed
from graftwork.core.compute.runtime import start_runtime
from graftwork.core.data.batches import pass_batches
from graftwork.core.data.content import content_digests
from graftwork.core.data.examples import Examples, load_batches
from graftwork.core.errors import SettingsError, TrainingError
from graftwork.core.example import File
from graftwork.core.inference.adapter import WEIGHTS, load_adapter
from graftwork.core.inference.adapter_record import RECORD
from graftwork.core.inference.hub import adapter_folder, on_hub
from graftwork.core.model.backbone import Backbone
from graftwork.core.model.heads import Head
from graftwork.core.progress import progress
from graftwork.core.recipe import Recipe

Vectors = NDArray[np.float32]

TOP = 200
"""Cohort scores that normalise a score, unless the cohort is smaller."""


@dataclass(frozen=True)
class Embedder:
    """Clips to vectors.

    backbone: what reads clips and runs them. vector: from the backbone's output (batch, feature_dim) to the embedding.
    name: the run or the backbone's id. digest: SHA-256 that differs for every other source of vectors.
    """

    backbone: Backbone
    vector: Callable[[Tensor], Tensor]
    name: str
    digest: str


def open_embedder(source: str, weights: str | None = None, pooling: str | None = None) -> Embedder:
    """The embedder of a run's folder, or of a backbone without any training.

    A run whose head was trained with a margin (`--head aam`) gives its embedding; another one the vector in front of
    its head. pooling: of a backbone, "mean+std" by default; a speaker encoder has an embedding of its own, and none.
    Raises AdapterError, BackboneError, SettingsError.
    """
    if on_hub(source) or (Path(source) / RECORD).is_file():
        if pooling is not None:
            raise SettingsError("--pooling is for a backbone without training; a run keeps its own")
        adapter = load_adapter(source, load_backbone, weights)
        head = adapter.graft.head
        embed = head.embed if isinstance(head, Head) and head.record.angular else _as_it_is
        return Embedder(
            adapter.backbone, embed, source, content_digests([File(str(adapter_folder(source) / WEIGHTS))])[0]
        )
    backbone = load_backbone(source, weights=weights, pooling=pooling)
    if backbone.new_parameters:
        raise SettingsError(f"{source}: its pooling has to be learnt; give the folder of a run")
    return Embedder(backbone, _as_it_is, source, f"{backbone.digest()}-{backbone.options.get('pooling', 'embedding')}")


def _as_it_is(vectors: Tensor) -> Tensor:
    return vectors


@undisturbed()
def embed(embedder: Embedder, clips: Examples, recipe: Recipe) -> Vectors:
    """Embeddings (clips, dim), not yet of unit length. Raises TrainingError for one that is not finite."""
    own = embedder.backbone
    found = np.empty((0, 0), dtype=np.float32)
    batches = pass_batches(clips, range(len(clips)), recipe)
    runtime = start_runtime(recipe)
    runtime.place(own.network)
    with progress("embedding", len(clips)) as advance:
        for batch, features in zip(batches, load_batches(clips, batches, workers=runtime.workers), strict=True):
            with torch.inference_mode(), runtime.autocast():
                pooled = own.run(runtime.send(features)).values
            with torch.inference_mode():
                vectors = embedder.vector(pooled.float().cpu()).numpy()
            if not len(found):
                found = np.empty((len(clips), vectors.shape[1]), dtype=np.float32)
            found[batch] = vectors
            advance(len(batch), "")
    runtime.release(own.network)
    if not np.isfinite(found).all():
        row = int(np.flatnonzero(~np.isfinite(found).all(axis=1))[0])
        raise TrainingError(f"{embedder.name}: the embedding of {clips.manifest.examples[row]} is not finite")
    return found


def unit(vectors: Vectors, centre: Vectors | None = None) -> Vectors:
    """Vectors (n, dim) of length 1, after `centre` (dim,), the mean of other voices, has been taken away."""
    moved = vectors if centre is None else vectors - centre
    scaled: Vectors = moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-12)
    return scaled


def cosine_scores(vectors: Vectors, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.float64]:
    """Cosines (trials,) between unit vectors (n, dim) by number, in blocks, so that memory stays small."""
    scores = np.empty(len(first))
    for start in range(0, len(first), 100_000):
        block = slice(start, start + 100_000)
        scores[block] = np.einsum("ij,ij->i", vectors[first[block]], vectors[second[block]])
    return scores


def normalise_scores(
    scores: NDArray[np.float64],
    vectors: Vectors,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    cohort: Vectors,
    top: int = TOP,
) -> NDArray[np.float64]:
    """AS-norm: the mean of two z-scores, each against the `top` cohort clips that are most alike to one side.

    Adaptive symmetric normalisation (Matejka et al. 2017, "Analysis of score normalization in multilingual speaker
    recognition", AS-norm1). vectors (n, dim) and cohort (c, dim) are unit vectors; the cohort's speakers must not be
    among those evaluated. Raises SettingsError for a cohort of fewer than two clips.
    """
    if len(cohort) < 2:
        raise SettingsError(f"AS-norm needs a cohort of at least two clips, found {len(cohort)}")
    mean, spread = cohort_statistics(vectors, cohort, top)
    normalised: NDArray[np.float64] = 0.5 * (
        (scores - mean[first]) / spread[first] + (scores - mean[second]) / spread[second]
    )
    return normalised


def cohort_statistics(vectors: Vectors, cohort: Vectors, top: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and deviation (n,) each of the `top` largest cosines of every vector with the cohort."""
    against = vectors @ cohort.T
    kept = min(top, against.shape[1])
    nearest = np.partition(against, against.shape[1] - kept, axis=1)[:, -kept:].astype(np.float64)
    return nearest.mean(1), np.maximum(nearest.std(1), 1e-6)
