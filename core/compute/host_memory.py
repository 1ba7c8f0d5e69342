"""How much memory this process may still take on its machine; imports no network library."""

from __future__ import annotations

import math
from pathlib import Path, PurePosixPath

import psutil

GROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")
"""Where Linux shows control groups, and which ones this process is in (cgroups(7))."""


def available_bytes() -> int:
    """What is free on the machine, or less where a container or a cluster's job may take less. Processes of one run
    share it."""
    return int(min(float(psutil.virtual_memory().available), _left_in_groups()))


def _left_in_groups() -> float:
    """The least that is left under the limits of this process' control groups and of those above them; infinite where
    there are no limits."""
    try:
        lines = OWN_GROUPS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return math.inf
    left = math.inf
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, place = rest.partition(":")
        if controllers not in ("", "memory"):
            continue
        root = GROUPS if not controllers else GROUPS / "memory"
        names = ("memory.max", "memory.current", "inactive_file") if not controllers else (
            "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")  # fmt: skip
        # In a container the path may be that of the machine, of which only the container's own part is shown.
        own = PurePosixPath(place.lstrip("/"))
        for group in {root, *(root / one for one in (own, *own.parents))}:
            left = min(left, _left(group, *names))
    return left


def _left(group: Path, limit: str, used: str, reclaimable: str) -> float:
    """What a group may still take: files that are only remembered are given up for it."""
    try:
        most = float((group / limit).read_text())
        now = float((group / used).read_text())
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no such group, or "max"
        return math.inf
    return max(0.0, most - now + float(stat.get(reclaimable, 0)))
