"""The SHA-256 that is published with a file: whether what was downloaded has it."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from graftwork.core.errors import DownloadError

_SHA256 = re.compile(r"[0-9a-f]{64}")
_BLOCK_BYTES = 1 << 20


def check_hub_digest(file: Path) -> None:
    """Raises DownloadError where a file out of the Hugging Face hub's cache has another SHA-256 than the hub says,
    which is what the cache calls large files by; it is then removed. Small files have no such name."""
    blob = file.resolve()
    if not _SHA256.fullmatch(blob.name):
        return
    total = hashlib.sha256()
    with open(blob, "rb") as content:
        while block := content.read(_BLOCK_BYTES):
            total.update(block)
    if total.hexdigest() != blob.name:
        blob.unlink()
        found = total.hexdigest()
        raise DownloadError(f"{file.name}: was damaged on its way: its SHA-256 is {found[:12]}…, the hub says "
                            f"{blob.name[:12]}…; give the same command again")  # fmt: skip
