"""Tensors by name in one safetensors file, with a digest by which damage is told."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from graftwork.core.errors import OutputError
from graftwork.core.files import CHECKSUM, DamagedFileError, atomic_write, refuse_special

ABOUT = "about"


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], about: Any = None, access: Literal["shared", "private"] = "shared"
) -> str:
    """Writes the tensors, copied to the CPU, and beside them anything that JSON holds; returns their digest (SHA-256
    over names, types, shapes and values). Raises OutputError."""
    plain = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    text, found = json.dumps(about), digest(plain)
    with atomic_write(path, access) as temporary:
        try:
            save_file(plain, temporary, metadata={ABOUT: text, CHECKSUM: _both(text, found)} if about else None)
        except SafetensorError as error:  # its own name for a full disk
            raise OutputError(f"{path}: cannot be written ({error}); make room or name another --out") from error
    return found


def read_tensors(path: Path, expected: str | None = None) -> tuple[dict[str, Tensor], Any]:
    """What `write_tensors` wrote.

    expected: the digest of the tensors, where somebody has kept it elsewhere. Raises OSError where there is no such
    file, DamagedFileError for one that is not as it was written.
    """
    refuse_special(path)
    try:
        with safe_open(path, framework="pt") as file:
            kept = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
    except SafetensorError as error:
        raise DamagedFileError(str(error)) from error
    text = kept.get(ABOUT, "null")
    if expected is None and CHECKSUM not in kept:
        return tensors, _parsed(text)
    found = digest(tensors)
    if (expected is not None and expected != found) or kept.get(CHECKSUM, _both(text, found)) != _both(text, found):
        raise DamagedFileError(f"its content was changed after it was written, or damaged: its {CHECKSUM} differs")
    return tensors, _parsed(text)


def _both(about: str, tensors: str) -> str:
    return hashlib.sha256(f"{tensors} {about}".encode()).hexdigest()


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise DamagedFileError(str(error)) from error


def digest(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes, in the order of the names."""
    from torch import uint8

    total = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        total.update(f"{name}|{value.dtype}|{tuple(value.shape)}|".encode())
        total.update(value.flatten().view(uint8).numpy().data)
    return total.hexdigest()
