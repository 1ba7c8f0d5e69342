"""How much memory this process has taken at most, on the CPU and on its GPU."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import torch

from graftwork.core.compute.allocator import give_back_freed_memory
from graftwork.core.compute.cores import processes_here
from graftwork.core.compute.host_memory import available_bytes


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20) if sys.platform == "darwin" else peak / 1024


def peak_device_memory_mb() -> float | None:
    """Largest memory of tensors on this process' GPU since `reset_peak_memory`, in MiB; None where it has used none."""
    peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    return peak / (1 << 20) if peak else None


def free_bytes(device: torch.device) -> int:
    """This process' share of what is free on the device now: those of a machine share its memory and its GPUs."""
    if device.type == "cuda":
        sharing = -(-processes_here() // torch.cuda.device_count())
        return torch.cuda.mem_get_info(device)[0] // sharing
    return available_bytes() // processes_here()


def reset_peak_memory() -> bool:
    """Lets `recent_peak_memory_mb` count from now on. False where the system cannot do that (only Linux can)."""
    give_back_freed_memory()
    if peak_device_memory_mb() is not None:
        torch.cuda.reset_peak_memory_stats()
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # proc(5): 5 resets the high-water mark
    except OSError:
        return False
    return True


def recent_peak_memory_mb() -> float:
    """Largest resident memory of this process since `reset_peak_memory`, in MiB; so far, where that returned False."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        return peak_memory_mb()
    marks = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(marks[0]) / 1024 if marks else peak_memory_mb()
