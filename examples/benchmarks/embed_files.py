"""How long `embed` takes for a thousand files and for many more, in time, memory and files a second.

    python examples/benchmarks/embed_files.py --rows 1000,10000 --processes 1,2

The files are links to 64 generated pictures, embedded by the packaged network at 64 pixels. A row that costs the same
at every size, and memory that does not grow with the rows, is what is looked for. Each run is a process of its own.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from graftwork.core.cli.console import print_table


def make_files(folder: Path, rows: int) -> Path:
    """A table of so many links to 64 pictures."""
    rng = np.random.default_rng(0)
    for number in range(64):
        Image.fromarray(rng.integers(0, 255, (64, 64)).astype(np.uint8)).save(folder / f"whole{number}.png")
    lines = ["path"]
    for row in range(rows):
        below = folder / f"{row // 10_000:04d}"
        below.mkdir(exist_ok=True)
        os.link(folder / f"whole{row % 64}.png", below / f"{row:08d}.png")
        lines.append(f"{below.name}/{row:08d}.png")
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    return folder / "table.csv"


def timed(table: Path, out: Path, processes: int) -> tuple[float, float, float]:
    """Wall seconds, processor seconds and peak memory in MB of one command."""
    several = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    start = [] if processes == 1 else several
    words = [sys.executable, *start, "-m", "graftwork.imaging", "-q", "embed", str(table), "--backbone", "tiny:cnn2d",
             "--image-size", "64", "--out", str(out), "--device", "cpu"]  # fmt: skip
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    threads = str(max(1, (os.cpu_count() or 1) // processes))
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": threads})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - began, cpu, after.ru_maxrss / 1024


def main() -> None:
    """Prints a row for every size and number of processes; memory is the largest of any run so far."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="1000,10000")
    parser.add_argument("--processes", default="1,2")
    asked = parser.parse_args()
    found = []
    for rows in map(int, asked.rows.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            table = make_files(Path(folder), rows)
            for processes in map(int, asked.processes.split(",")):
                wall, cpu, memory = timed(table, Path(folder) / f"vectors-{processes}", processes)
                numbers = (
                    f"{wall:.1f}",
                    f"{cpu:.1f}",
                    f"{memory:.0f}",
                    f"{rows / wall:.0f}",
                    f"{1e3 * cpu / rows:.2f}",
                )
                found.append((str(rows), str(processes), *numbers))
    print_table(["rows", "processes", "seconds", "CPU s", "peak MB", "files/s", "CPU ms a row"], found)


if __name__ == "__main__":
    main()
