"""Runs that are ended again and again at random moments and begun again by the same command, against the same run left
alone. Signals are drawn from KILL, which nothing hears, and TERM and USR1, as clusters send them.

    python examples/benchmarks/killed_runs.py imaging scans.csv --kills 30 --strategies full,lora --options "--epochs 4"

For each strategy: trains once undisturbed, then ends and begins again until that was done so often and the last run has
finished, in processes that are forked with everything imported. Compares adapter, metrics and predictions byte by byte.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import shlex
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

PREEMPTED = 75
"""Exit status of a run that was asked to end."""

COMPARED = ("adapter.safetensors", "adapter.json", "metrics.json", "predictions.csv", "history.csv")


def start(domain: str, arguments: list[str], log: Path) -> int:
    """The process number of a command that runs in a fork of this process."""
    number = os.fork()
    if number:
        return number
    with log.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.argv = ["graftwork", *arguments]
    status = 0
    try:
        importlib.import_module(f"graftwork.{domain}.cli").main()
    except SystemExit as end:
        status = int(end.code or 0)
    finally:
        sys.stdout.flush()
        os._exit(status)


def wait(number: int, seconds: float) -> None:
    """Until so long has passed, or the process has ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and os.waitid(os.P_PID, number, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        time.sleep(0.01)


def finish(number: int) -> int:
    """Waits for a process; its exit status, or minus the number of the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])


def same(one: Path, other: Path) -> list[str]:
    """Names of the compared files that differ between two folders."""
    return [name for name in COMPARED if (one / name).exists() != (other / name).exists()
            or ((one / name).exists() and (one / name).read_bytes() != (other / name).read_bytes())]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("domain", choices=["imaging", "audio"])
    parser.add_argument("manifest")
    parser.add_argument("--strategies", default="probe,partial:1,lora,gradual,full")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--signals", default="KILL,TERM,USR1")
    parser.add_argument("--options", default="", help="further options of train")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    for module in ("graftwork.core.runs.train", f"graftwork.{asked.domain}.domain", "matplotlib.figure", "accelerate",
                   "sklearn.linear_model", "monai.transforms", "torchaudio"):  # fmt: skip
        importlib.import_module(module)
    generator, wrong = random.Random(asked.seed), 0
    for strategy in asked.strategies.split(","):
        with tempfile.TemporaryDirectory() as folder:
            place, log = Path(folder), Path(folder) / "log"
            command = ["train", asked.manifest, "--strategy", strategy, *shlex.split(asked.options)]
            began = time.monotonic()
            if finish(start(asked.domain, [*command, "--out", str(place / "whole")], log)):
                sys.exit(log.read_text())
            seconds, kills, runs, differing = time.monotonic() - began, 0, 0, set[str]()
            while kills < asked.kills:
                out = place / "killed"
                shutil.rmtree(out, ignore_errors=True)
                while True:
                    record = out / "run.json"
                    state = json.loads(record.read_text())["state"] if record.exists() else None
                    if state == "finished":  # it was killed between its last file and its end
                        break
                    number = start(asked.domain, [*command, "--out", str(out)], log)
                    if kills < asked.kills:
                        wait(number, generator.uniform(0, seconds))
                        os.kill(number, signal.Signals[f"SIG{generator.choice(asked.signals.split(','))}"])
                    ended = finish(number)
                    killed = ended == PREEMPTED or ended < 0  # in its first moments no signal is heard yet
                    kills += killed
                    if ended == 0:
                        break
                    if not killed:
                        sys.exit(log.read_text()[-3000:])
                runs += 1
                differing |= set(same(place / "whole", out))
            wrong += bool(differing)
            found = f"DIFFERENT: {', '.join(sorted(differing))}" if differing else "equal bytes"
            print(f"{strategy}: {kills} ends in {runs} runs of {seconds:.1f} s: {found}", flush=True)
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
