"""Time of `compare` against the sum of separate runs of `train`, each from an empty cache.

    python examples/benchmarks/compared_strategies.py scans.csv --options "--folds 5 --epochs 5 --image-size 96"

Every command is a process of its own, its start included. Prints the table that `compare` gives, and seconds. Compare
ratios within one run, not seconds.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest")
    parser.add_argument("--strategies", default="knn,probe,partial:1,lora,full")
    parser.add_argument("--options", default="--folds 5", help="of both commands, as one argument")
    parser.add_argument("--domain", choices=("imaging", "audio"), default="imaging")
    chosen = parser.parse_args()
    options = [chosen.manifest, *shlex.split(chosen.options)]
    names = chosen.strategies.split(",")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        together = seconds(chosen.domain, "compare", [*options, "--strategies", chosen.strategies], place / "compared")
        within = {part["strategy"]: part["seconds"]
                  for part in map(read_part, sorted((place / "compared" / "parts").glob("*.json")))}  # fmt: skip
        apart = {}
        for name in names:
            apart[name] = seconds(chosen.domain, "train", [*options, "--strategy", name], place / "apart" / name)
            inside = f"{within[name]:.1f} s" if name in within else "left out"
            print(f"{name}: alone {apart[name]:.1f} s, within the comparison {inside}", flush=True)
    total = sum(apart.values())
    print(f"compare {together:.1f} s, separate runs {total:.1f} s: {total / together:.2f} x")


def read_part(path: Path) -> dict[str, object]:
    part: dict[str, object] = json.loads(path.read_text(encoding="utf-8"))
    return part


def seconds(domain: str, verb: str, options: list[str], out: Path) -> float:
    """Of one command with an empty cache; what `compare` prints is shown."""
    command = [sys.executable, "-m", f"graftwork.{domain}", verb, *options, "--out", str(out)]
    with tempfile.TemporaryDirectory() as cache:
        began = time.perf_counter()
        done = subprocess.run([*command, "--cache", cache], check=True, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL)  # fmt: skip
        took = time.perf_counter() - began
    if verb == "compare":
        print(done.stdout, flush=True)
    return took


if __name__ == "__main__":
    main()
