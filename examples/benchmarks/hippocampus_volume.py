"""The volume of the hippocampus in mm3 from the image alone: how well 2D networks do in 3D.

    python examples/benchmarks/hippocampus_volume.py hippocampus/manifest.csv [--imagenet WEIGHTS] [--out runs]

The table has columns path, mask and group. Volumes are counted in the masks, which no network sees; scans are
resampled to 1 mm. Prints what `graftwork-imaging train` prints for each network: R2 and its interval, by 5 folds.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
from pathlib import Path

import numpy as np

from graftwork.imaging import read_scan

LORA = ("--lora-targets", "block6,block7,conv_head", "--epochs", "15", "--val-fraction", "0.15")
"""Low-rank change of the upper stages: what lies below is computed once for all epochs."""


def write_volumes(manifest: Path, table: Path) -> None:
    """A table of path, group and volume_mm3, by the voxels of each mask."""
    with manifest.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    with table.open("w", newline="") as stream:
        out = csv.writer(stream)
        out.writerow(["path", "group", "volume_mm3"])
        for row in rows:
            mask = read_scan(str(manifest.parent / row["mask"]))
            assert mask.spacing_mm is not None
            volume = float((mask.values > 0.5).sum() * np.prod(mask.spacing_mm))
            out.writerow([(manifest.parent / row["path"]).resolve(), row["group"], f"{volume:.1f}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--imagenet", help="local weights of timm:mobilenetv2_100; by default they are downloaded")
    parser.add_argument("--image-size", default="64")
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--only", default="", help="part of the runs' names, to leave out the others")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    table = arguments.out / "volumes.csv"
    write_volumes(arguments.manifest, table)
    imagenet = ["--weights", arguments.imagenet] if arguments.imagenet else []
    runs = {
        "i3d-probe": ["--backbone", "i3d:timm:mobilenetv2_100", *imagenet],
        "acs-probe": ["--backbone", "acs:timm:mobilenetv2_100", *imagenet],
        "slices-probe": ["--backbone", "slices:timm:mobilenetv2_100", *imagenet],
        "random-probe": ["--backbone", "i3d:timm:mobilenetv2_100", "--weights", "random"],
        "tiny-probe": ["--backbone", "i3d:tiny:cnn2d"],
        "i3d-lora": ["--backbone", "i3d:timm:mobilenetv2_100", *imagenet, "--strategy", "lora", *LORA],
    }
    for name, options in runs.items():
        if arguments.only in name:
            print(f"== {name}: {' '.join(options)}", flush=True)
            subprocess.run([sys.executable, "-m", "graftwork.imaging", "train", str(table), "--target", "volume_mm3",
                            "--task", "regression", "--spacing-mm", "1", "--image-size", arguments.image_size,
                            "--folds", "5", "--out", str(arguments.out / name), *options], check=True)  # fmt: skip


if __name__ == "__main__":
    main()
