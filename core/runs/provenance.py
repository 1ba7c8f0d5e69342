"""How a run came to be, for its record: the command, versions, a digest of the data. Seconds and memory, in which equal
runs differ, are a file of their own."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shlex
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any

from graftwork.core.compute.memory import peak_device_memory_mb, peak_memory_mb
from graftwork.core.files import write_json
from graftwork.core.versions import version_of

COSTS = "costs.json"

WITHOUT_VALUE = ("--resume", "--restart", "--json", "--debug", "--log-names")
WITH_VALUE = ("--out", "--device", "--cache", "--cache-limit", "--workers", "--checkpoint-minutes", "--log-to")
"""Flags that say where something is written or computed, not what: equal commands are written alike."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_DEVELOPMENT = "extra == 'dev'"


def provenance(verb: str, command: Sequence[str] | None, fingerprints: dict[str, str]) -> dict[str, Any]:
    """Fields of a run's record: verb; command, None where a function was called; made_with, versions by package;
    manifest_digest, SHA-256 of the `fingerprints` of a manifest. The same for equal commands on one machine."""
    return {"verb": verb, "command": None if command is None else said_command(command), "made_with": versions(),
            "manifest_digest": manifest_digest(fingerprints)}  # fmt: skip


def said_command(arguments: Sequence[str]) -> str:
    """A command as one may type it again, without what says where it is written or computed, the home folder as ~."""
    kept, rest = [], list(arguments)
    while rest:
        own = rest.pop(0)
        if own in WITH_VALUE:
            del rest[:1]
        elif own not in WITHOUT_VALUE and own.partition("=")[0] not in WITH_VALUE:
            kept.append(without_home(own))
    return " ".join(one if re.fullmatch(r"~/[\w./-]+", one) else shlex.quote(one) for one in kept)


def without_home(text: str) -> str:
    """A text, such as a path, in which the user's home folder is ~: it often is the user's name."""
    home = os.path.expanduser("~").rstrip(os.sep)
    return text if len(home) < 2 else re.sub(re.escape(home) + r"(?=/|\\|$)", "~", text)


def versions() -> dict[str, str]:
    """Python, and graftwork with what it is made of as far as that is installed."""
    try:
        needed = requires("graftwork") or []
    except PackageNotFoundError:  # run from its folder
        needed = ["torch", "numpy", "scikit-learn"]
    names = {found.group() for one in needed if _DEVELOPMENT not in one.replace('"', "'")
             if (found := _NAME.match(one))}  # fmt: skip
    known = {name: version_of(name) for name in sorted(names - {"graftwork"})}
    return {"graftwork": version_of("graftwork"), "python": platform.python_version()} | {
        name: version for name, version in known.items() if version != "unknown"
    }


def manifest_digest(fingerprints: dict[str, str]) -> str:
    """One SHA-256 of all that a manifest holds: contents of files, targets, groups, split."""
    return hashlib.sha256(json.dumps(fingerprints, sort_keys=True).encode()).hexdigest()


def write_costs(folder: Path, started: float) -> None:
    """Writes `costs.json`: seconds since `started` (of `time.monotonic`), the peak memory of the process and of its
    device, and what it ran on."""
    device_mb = peak_device_memory_mb()
    write_json(folder / COSTS, {
        "seconds": round(time.monotonic() - started, 2),
        "peak_memory_mb": round(peak_memory_mb()),
        "peak_device_memory_mb": None if device_mb is None else round(device_mb),
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    })  # fmt: skip
