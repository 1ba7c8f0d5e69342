"""How many cores and processes of a run there are on this machine."""

from __future__ import annotations

import os


def processes_here() -> int:
    """How many processes of this run share the machine, as torchrun says; 1 without it."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def cores_here() -> int:
    """This process' share of the cores that it may use: a cluster may give it fewer than the machine has."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, usable // processes_here())
