"""Commands under torchrun, for tests: begun, watched, and asked to end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]


def start(folder: Path, processes: int, *words: str) -> subprocess.Popen:
    """The command `python -m WORDS` by so many processes, in the folder, with a cache of its own."""
    settings = os.environ | {"OMP_NUM_THREADS": "1", "GRAFTWORK_CACHE": str(folder / "cache")}
    command = [*LAUNCH, str(processes), "-m", *words] if processes > 1 else [sys.executable, "-m", *words]
    return subprocess.Popen(command, cwd=folder, env=settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True)  # fmt: skip


def finish(process: subprocess.Popen, timeout_s: float = 120) -> tuple[int, str]:
    """Exit status, and all that was said."""
    out, err = process.communicate(timeout=timeout_s)
    return process.returncode, out + err


def workers(process: subprocess.Popen) -> list[psutil.Process]:
    """torchrun's processes, by rank."""
    found = [(int(child.environ()["RANK"]), child) for child in psutil.Process(process.pid).children()]
    return [child for _, child in sorted(found, key=lambda pair: pair[0])]


def wait_for(path: Path, process: subprocess.Popen, timeout_s: float = 120) -> None:
    """Until the file has been written since now."""
    end, before = time.monotonic() + timeout_s, path.stat().st_mtime_ns if path.exists() else None
    while not path.exists() or path.stat().st_mtime_ns == before:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end, f"{path} was not written"
        time.sleep(0.01)


def ask(process: subprocess.Popen, whom: str) -> None:
    """Sends a request to end. whom: "torchrun", "all" of its processes, or the number of one of them."""
    if whom == "torchrun":
        process.send_signal(signal.SIGTERM)
    elif whom == "all":
        for worker in workers(process):
            worker.send_signal(signal.SIGUSR1)
    else:
        workers(process)[int(whom)].send_signal(signal.SIGUSR1)
