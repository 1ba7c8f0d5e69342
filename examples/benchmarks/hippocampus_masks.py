"""Segmentation with few cases: Dice over the number of training cases, from pretrained and from random weights.

    python examples/benchmarks/hippocampus_masks.py hippocampus/manifest.csv [--imagenet WEIGHTS] [--out runs]

The table has columns path and mask. The same 36 cases, drawn once from a seed, are the test in every run; training
cases are the first N of the others in that order. Every run sees as many patches: few cases are not trained less.
Prints the metrics of each run on the test, and the seconds it took.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import subprocess
import sys
import time
from pathlib import Path

TEST = 36


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--imagenet", help="local weights of timm:mobilenetv2_100; by default they are downloaded")
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--cases", default="9,18,36,72,144", help="numbers of training cases, separated by commas")
    parser.add_argument("--patches", type=int, default=1728, help="that every run is trained on, over all its epochs")
    parser.add_argument("--starts", default="pretrained,random", help="pretrained (frozen), random (frozen), scratch")
    arguments = parser.parse_args()
    with arguments.manifest.open(newline="") as stream:
        rows = [(arguments.manifest.parent / row["path"], arguments.manifest.parent / row["mask"])
                for row in csv.DictReader(stream)]  # fmt: skip
    random.Random(0).shuffle(rows)
    imagenet = ["--weights", arguments.imagenet] if arguments.imagenet else []
    starts = {
        "pretrained": ["--strategy", "probe", *imagenet],
        "random": ["--strategy", "probe", "--weights", "random"],
        "scratch": ["--strategy", "scratch", *imagenet],
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    for count in map(int, arguments.cases.split(",")):
        table = arguments.out / f"cases-{count}.csv"
        with table.open("w", newline="") as stream:
            out = csv.writer(stream)
            out.writerow(["path", "mask", "split"])
            for number, (path, mask) in enumerate(rows[: TEST + count]):
                out.writerow([path.resolve(), mask.resolve(), "test" if number < TEST else "train"])
        for start in arguments.starts.split(","):
            epochs = str(max(1, arguments.patches // count))
            folder, began = arguments.out / f"{start}-{count}", time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "graftwork.imaging", "train", str(table), "--target", "mask", "--backbone",
                 "slices:timm:mobilenetv2_100", "--patch-size", "40,56,40", "--batch-size", "2", "--learning-rate",
                 "3e-3", "--val-fraction", "0", "--patience", "999", "--epochs", epochs,
                 "--out", str(folder), *starts[start]],
                check=True, stdout=subprocess.DEVNULL,
            )  # fmt: skip
            found = json.loads((folder / "metrics.json").read_text())["test"]["dice"]
            interval = f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"
            print(f"{start:>10}, {count:>3} cases: Dice {interval}, {time.perf_counter() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
