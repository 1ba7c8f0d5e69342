"""Units of speech found without labels: k-means over MFCC or over a layer's output, one unit for every frame."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graftwork.audio.pretraining.masked_crops import Grid, cepstra_of, grid_of
from graftwork.core.compute.runtime import Runtime
from graftwork.core.data.batches import pass_batches
from graftwork.core.data.examples import Examples, load_batches
from graftwork.core.data.reading_threads import reading_threads
from graftwork.core.errors import OutputError, SettingsError
from graftwork.core.files import DamagedFileError
from graftwork.core.model.backbone import Backbone
from graftwork.core.progress import progress
from graftwork.core.recipe import Recipe
from graftwork.core.tensor_files import read_tensors, write_tensors

log = logging.getLogger(__name__)

Frames = NDArray[np.float32]

SPECTRAL = ("mfcc", "cepstra")
"""What units are found in before a network has learnt anything: MFCC with their differences, or MFCC alone, which a
frame without its neighbours can tell."""

SAMPLED = 200_000
"""Frames that the centres are found from."""


def mfcc_frames(samples: Tensor, grid: Grid) -> Frames:
    """13 MFCC with their first and second differences, (frames, 39), of a clip (samples,).

    The features are those of HuBERT's first iteration (Hsu et al. 2021, section IV.B), there with windows of 25 ms
    every 10 ms.
    """
    import torchaudio

    cepstra = cepstra_of(samples, grid).T
    first = torchaudio.functional.compute_deltas(cepstra)
    stacked: Frames = torch.cat([cepstra, first, torchaudio.functional.compute_deltas(first)]).T.numpy()
    return stacked


def find_units(clips: Sequence[Frames], count: int, seed: int) -> list[NDArray[np.int64]]:
    """Unit (frames,), 0 to `count` - 1, of every frame of every clip (frames, features).

    The centres are those of scikit-learn's MiniBatchKMeans on standardised features of at most 200 000 frames, drawn
    from `seed`. Raises SettingsError for fewer frames than units.
    """
    from sklearn.cluster import MiniBatchKMeans

    total = sum(map(len, clips))
    if total < count:
        raise SettingsError(f"--clusters {count}: the clips have {total} frames; give more clips or fewer clusters")
    everything = np.concatenate(clips)
    chosen = np.random.default_rng(seed).permutation(total)[:SAMPLED]
    centre, spread = everything[chosen].mean(0), everything[chosen].std(0) + 1e-6
    model: Any = MiniBatchKMeans(count, batch_size=max(10_000, count), n_init=3, random_state=seed)
    model.fit((everything[chosen] - centre) / spread)
    return [model.predict((frames - centre) / spread).astype(np.int64) for frames in clips]


def unit_shares(units: Iterable[NDArray[np.int64]], count: int) -> NDArray[np.float64]:
    """Share of all frames (count,) that each unit has."""
    totals = np.sum([np.bincount(one, minlength=count) for one in units], axis=0)
    shares: NDArray[np.float64] = totals / totals.sum()
    return shares


def units_of_round(
    place: Path, source: str, backbone: Backbone, clips: Examples, count: int, seed: int, runtime: Runtime
) -> list[NDArray[np.int64]]:
    """The units of every clip, found in "mfcc", "cepstra" or the stage `source`, and kept in the folder `place`.

    A resumed round takes the ones it began with.
    """
    path = place / "units.safetensors"
    if path.exists():
        try:
            kept, _ = read_tensors(path)
        except DamagedFileError as error:
            raise OutputError(f"{path}: cannot be read ({error}); delete this round's folder and resume") from error
        return [kept[str(row)].numpy() for row in range(len(clips))]
    log.info("%d units from %s", count, source)
    frames = _spectral(backbone, clips, source) if source in SPECTRAL else _layer(backbone, clips, source, runtime)
    units = find_units(frames, count, seed)
    if runtime.rank == 0:
        write_tensors(path, {str(row): torch.from_numpy(one) for row, one in enumerate(units)}, {"units": source})
    return units


def _spectral(backbone: Backbone, clips: Examples, source: str) -> list[Frames]:
    grid = grid_of(backbone)

    def one(row: int) -> Frames:
        samples = clips.tensor(row)
        return mfcc_frames(samples, grid) if source == "mfcc" else cepstra_of(samples, grid).numpy()

    with progress("MFCC", len(clips)) as advance, reading_threads() as pool_of_threads:
        found = []
        for frames in pool_of_threads.map(one, range(len(clips))):
            found.append(frames)
            advance(1, "")
    return found


def _layer(backbone: Backbone, clips: Examples, name: str, runtime: Runtime) -> list[Frames]:
    stop = [stage.name for stage in backbone.stages].index(name) + 1
    backbone.network.eval()
    batches = pass_batches(clips, range(len(clips)), Recipe())
    found: dict[int, Frames] = {}
    with progress(f"{backbone.id} up to {name}", len(clips)) as advance, torch.inference_mode(), runtime.autocast():
        for batch, features in zip(batches, load_batches(clips, batches), strict=True):
            result = backbone.run(runtime.send(features), 0, stop)
            lengths = [result.values.shape[1]] * len(batch) if result.lengths is None else result.lengths.tolist()
            for row, values, length in zip(batch.tolist(), result.values.float().cpu(), lengths, strict=True):
                found[row] = values[:length].numpy()
            advance(len(batch), "")
    return [found[row] for row in range(len(clips))]
