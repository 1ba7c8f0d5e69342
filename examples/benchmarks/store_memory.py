"""Peak resident memory of training from a store that is larger than what may be held: 4 GB by default.

    python examples/benchmarks/store_memory.py --gigabytes 4

Generated images pass the stem and two blocks of a MobileNetV2; their outputs are stored and trained from for one epoch.
Prints the peak of each step above what the process and the model took before it. Linux only.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from graftwork import core, imaging
from graftwork.core.runtime import recent_peak_memory_mb, reset_peak_memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=4.0)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--strategy", default="partial:7")
    parser.add_argument("--batch-size", type=int, default=32)
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.manual_seed(0)
    backbone = imaging.load_backbone("timm:mobilenetv2_100", weights="random", image_size=chosen.image_size)
    one = stored_bytes(backbone, chosen.strategy)
    count = round(chosen.gigabytes * 1e9 / one)
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(write_image(Path(folder), number)) for number in range(count)]
        labels = np.arange(count) % 2
        manifest = core.Manifest("generated", tuple(paths), "single-label", "label", ("a", "b"), labels)
        # The images themselves stay on the disk: what is measured is the store.
        examples = core.read_examples(manifest, backbone.contract, memory_limit_bytes=0)
        recipe = core.Recipe(epochs=1, batch_size=chosen.batch_size, cache=f"{folder}/cache", cache_limit="1TB")
        before = reset()
        for step in ("building the store and one epoch", "one epoch from the warm store"):
            core.finetune(backbone, examples, strategy=chosen.strategy, recipe=recipe)
            peak = recent_peak_memory_mb() - before
            print(f"{step}: {count} examples, {count * one / 1e9:.2f} GB, peak {peak:.0f} MB above {before:.0f} MB")
            reset()


def reset() -> float:
    """Starts a new measurement; what is resident now."""
    reset_peak_memory()
    return recent_peak_memory_mb()


def stored_bytes(backbone: core.Backbone, strategy: str) -> int:
    from graftwork.core.heads import Head

    plan = core.make_plan(core.parse_strategy(strategy), backbone, Head(backbone.feature_dim, 2))
    with torch.inference_mode():
        output = backbone.run(backbone.contract.collate([backbone.contract.blank()]), 0, plan.frontier)
    return output.values.nbytes


def write_image(folder: Path, number: int) -> Path:
    path = folder / f"{number}.png"
    pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


if __name__ == "__main__":
    main()
