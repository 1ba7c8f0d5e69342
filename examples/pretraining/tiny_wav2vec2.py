"""Pretrains `tiny:wav2vec2` on a folder of LibriSpeech clips: masked units, the spectrum, and who speaks.

    python examples/pretraining/tiny_wav2vec2.py librispeech251 --out tiny_wav2vec2

The clips are FLAC files named speaker-chapter-utterance. The result is a folder that `--backbone hf:FOLDER` takes, its
weights in half precision: 53 minutes on two shared cores for the 251 clips (52 minutes) of the shipped network.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
from pathlib import Path

from safetensors.torch import load_file, save_file

CONFIG = Path(__file__).with_suffix(".json")
RECIPE = ("--updates", "6000", "--batch-seconds", "24", "--crop-seconds", "3", "--learning-rate", "1e-3",
          "--units", "cepstra", "--spectrum-weight", "2.0", "--speaker", "speaker", "--speaker-weight", "0.5",
          "--channels", "on")  # fmt: skip


def write_table(folder: Path, path: Path) -> None:
    """A table of path and speaker from LibriSpeech's file names."""
    clips = sorted(folder.rglob("*.flac"))
    if not clips:
        raise SystemExit(f"{folder}: expected FLAC files named speaker-chapter-utterance, found none")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["path", "speaker"])
        rows.writerows([clip.resolve(), clip.stem.split("-")[0]] for clip in clips)


def halve(path: Path) -> None:
    """Weights in half precision, in place."""
    save_file({name: value.half() for name, value in load_file(path).items()}, path, metadata={"format": "pt"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--out", type=Path, default=Path("tiny_wav2vec2"))
    parser.add_argument("options", nargs="*", help="further options of `graftwork-audio pretrain`, after --")
    arguments = parser.parse_args()
    table = arguments.out.with_name(arguments.out.name + ".csv")
    write_table(arguments.clips, table)
    command = [sys.executable, "-m", "graftwork.audio", "pretrain", str(table), "--config", str(CONFIG),
               "--out", str(arguments.out), *RECIPE, *arguments.options]  # fmt: skip
    done = subprocess.run(command)
    if done.returncode:
        raise SystemExit(done.returncode)
    halve(arguments.out / "model.safetensors")


if __name__ == "__main__":
    main()
