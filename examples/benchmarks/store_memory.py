"""Peak resident memory of training from a store that is larger than what may be held: 4 GB by default.

    python examples/benchmarks/store_memory.py --gigabytes 4

The network is a frozen convolution with large output under a small part that learns, so that nearly all that is moved
is the store. Prints the peak above what the process and the model took before it. Linux only.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from graftwork import core, imaging
from graftwork.core.compute.memory import recent_peak_memory_mb, reset_peak_memory
from graftwork.imaging.preprocessing.contract import ImageContract

CHANNELS, SIZE = 64, 96


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=4.0)
    parser.add_argument("--batch-size", type=int, default=16)
    chosen = parser.parse_args()
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, CHANNELS, 3, padding=1), nn.Conv2d(CHANNELS, 16, 5, stride=4), nn.ReLU())
    contract = ImageContract(2, 3, (SIZE, SIZE), "auto", (0.5,) * 3, (0.25,) * 3)
    backbone = imaging.backbone_from_module(module, [("wide", "0"), ("small", "1"), ("act", "2")], contract=contract)
    one = 4 * CHANNELS * SIZE * SIZE
    count = round(chosen.gigabytes * 1e9 / one)
    with tempfile.TemporaryDirectory() as folder:
        paths = tuple(str(write_image(Path(folder), number)) for number in range(count))
        manifest = core.Manifest("generated", paths, "single-label", "label", ("a", "b"), np.arange(count) % 2)
        # The images themselves stay on the disk: what is measured is the store.
        examples = core.read_examples(manifest, contract, memory_limit_bytes=0)
        recipe = core.Recipe(epochs=2, batch_size=chosen.batch_size, cache=f"{folder}/cache", cache_limit="1TB")
        core.finetune(backbone, examples.subset(range(32)), strategy="partial:1", recipe=recipe)  # loads every package
        for step in ("building the store and two epochs", "two epochs from the warm store"):
            before = reset()
            core.finetune(backbone, examples, strategy="partial:1", recipe=recipe)
            peak = recent_peak_memory_mb() - before
            print(f"{step}: {count} examples, {count * one / 1e9:.2f} GB, peak {peak:.0f} MB above {before:.0f} MB")


def reset() -> float:
    """Starts a new measurement; what is resident now, in MB."""
    reset_peak_memory()
    return recent_peak_memory_mb()


def write_image(folder: Path, number: int) -> Path:
    path = folder / f"{number}.png"
    pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


if __name__ == "__main__":
    main()
