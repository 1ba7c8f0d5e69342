"""Reading, resampling and keeping volumes: this library and MONAI's LoadImage, Spacing and PersistentDataset.

    python examples/benchmarks/reading_volumes.py hippocampus/manifest.csv [--spacing-mm 1.5] [--repeats 3]

Both give float32 (1, 64, 64, 64): RAS, resampled, z-scored, cut or padded about the centre. One process each, in turn;
"cold" reads and transforms the files, "warm" takes what was kept: MONAI's from its cache folder, ours as the
activations of the first stage of `i3d:tiny:cnn2d` would be, through the same store.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from monai.data import PersistentDataset
from monai.transforms import (
    Compose,
    EnsureChannelFirst,
    LoadImage,
    NormalizeIntensity,
    Orientation,
    ResizeWithPadOrCrop,
    Spacing,
    ToTensor,
)

from graftwork import core
from graftwork.core.activation_cache.activations import run_frozen_stages
from graftwork.core.compute.runtime import start_runtime
from graftwork.core.model.backbone import Backbone, Stage
from graftwork.core.types import Features
from graftwork.imaging import ImageContract

SIZE = 64


def same(network: torch.nn.Module, features: Features) -> Features:
    return features


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--spacing-mm", type=float, default=1.5)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with arguments.manifest.open(newline="") as stream:
        paths = [str((arguments.manifest.parent / row["path"]).resolve()) for row in csv.DictReader(stream)]
    rows = core.Manifest("benchmark", tuple(paths), "regression", "none", (), np.zeros(len(paths)))
    contract = ImageContract(3, 1, (SIZE,) * 3, "zscore", (0.0,), (1.0,), spacing_mm=arguments.spacing_mm)
    # Stored by the same code as every frozen stage: what is kept here is the volume itself.
    backbone = Backbone(
        "benchmark:volume", torch.nn.Identity(), (Stage("volume", same), Stage("none", same)), contract, 1
    )
    steps = Compose([
        LoadImage(image_only=True), EnsureChannelFirst(), Orientation("RAS"), Spacing([arguments.spacing_mm] * 3),
        NormalizeIntensity(), ResizeWithPadOrCrop(SIZE), ToTensor(track_meta=False),
    ])  # fmt: skip
    for repeat in range(arguments.repeats):
        with tempfile.TemporaryDirectory() as folder:
            recipe = core.Recipe(cache=f"{folder}/ours", workers=0, device="cpu")

            def ours(recipe: core.Recipe = recipe) -> object:
                examples = core.Examples(rows, contract, None)
                found = run_frozen_stages(backbone, examples, 1, start_runtime(recipe), recipe)
                assert found is not None
                return [found.tensor(row).sum() for row in range(len(found))]

            def theirs(folder: str = folder) -> object:
                kept = PersistentDataset(paths, steps, cache_dir=f"{folder}/theirs")
                return [kept[row].sum() for row in range(len(kept))]

            cold = [seconds(theirs), seconds(ours)]
            warm = [seconds(theirs), seconds(ours)]
        print(f"run {repeat + 1}: cold MONAI {cold[0]:.2f} s, ours {cold[1]:.2f} s, ratio {cold[0] / cold[1]:.2f}; "
              f"warm {warm[0]:.2f} s, {warm[1]:.2f} s, ratio {warm[0] / warm[1]:.2f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
