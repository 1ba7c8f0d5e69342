"""A whole head through MeshNet, in overlapping patches and at once: memory, time, and where the two differ.

    python examples/benchmarks/meshnet_whole_head.py t1.nii.gz meshnet15_brain.safetensors [--patch 128] [--whole]

The network is one of the user's own: 19 dilated convolutions of 15 channels under the name `model`, then three classes.
Each way runs in a process of its own, whose largest resident memory is printed. `--whole` also runs the volume at once.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from graftwork.core.compute.memory import peak_memory_mb
from graftwork.imaging import ImageContract, MaskContract, read_scan
from graftwork.imaging.segmentation.segmenter import PatchSegmenter

DILATIONS = (1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 12, 8, 7, 6, 5, 4, 3, 2, 1)
WIDTH, CLASSES = 15, 3


class MeshNet(nn.Module):
    """Fedorov et al. 2017, arXiv 1612.00940."""

    def __init__(self) -> None:
        super().__init__()
        blocks = [
            nn.Sequential(nn.Conv3d(WIDTH if place else 1, WIDTH, 3, padding=dilation, dilation=dilation),
                          nn.BatchNorm3d(WIDTH), nn.ELU(inplace=True))
            for place, dilation in enumerate(DILATIONS)
        ]  # fmt: skip
        self.model = nn.Sequential(*blocks, nn.Conv3d(WIDTH, CLASSES, 1))

    def forward(self, volumes: Tensor) -> Tensor:
        result: Tensor = self.model(volumes)
        return result


def segment(scan: str, weights: str, patch: int, overlap: float, out: str) -> None:
    network = MeshNet().eval()
    network.load_state_dict(load_file(weights))
    image = ImageContract(3, 1, (patch,) * 3, "quantile:1:99", (0.0,), (1.0,))
    contract = MaskContract(image, tuple(range(CLASSES)), overlap)
    volume = read_scan(scan)
    started = time.perf_counter()
    with torch.inference_mode():
        classes = PatchSegmenter(contract).predict(volume, lambda patches: network(patches).clone())
    np.save(out, classes.astype(np.uint8))
    print(f"patch {patch}, overlap {overlap:g}: {time.perf_counter() - started:.0f} s, largest resident memory "
          f"{peak_memory_mb():.0f} MB", flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scan")
    parser.add_argument("weights")
    parser.add_argument("--patch", type=int, default=128)
    parser.add_argument("--overlap", type=float, default=0.5)
    parser.add_argument("--whole", action="store_true", help="also the volume at once, and where the masks differ")
    parser.add_argument("--out", help="one run only, into this .npy file")
    arguments = parser.parse_args()
    if arguments.out:
        segment(arguments.scan, arguments.weights, arguments.patch, arguments.overlap, arguments.out)
        return
    longest = max(read_scan(arguments.scan).spatial_shape)
    with tempfile.TemporaryDirectory() as folder:
        patches = [arguments.patch, *([longest] if arguments.whole else [])]
        for patch in patches:
            options = ["--patch", str(patch), "--overlap", str(arguments.overlap), "--out", f"{folder}/{patch}.npy"]
            subprocess.run([sys.executable, __file__, arguments.scan, arguments.weights, *options], check=True)
        if arguments.whole:
            tiled, whole = (np.load(Path(folder) / f"{patch}.npy") for patch in patches)
            print(f"equal voxels {(tiled == whole).mean():.5f}")
            for number in range(1, CLASSES):
                both = (tiled == number).sum() + (whole == number).sum()
                print(f"Dice of class {number}: {2 * ((tiled == number) & (whole == number)).sum() / max(both, 1):.4f}")


if __name__ == "__main__":
    main()
