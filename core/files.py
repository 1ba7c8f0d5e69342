"""Files appear whole or not at all: they are written beside their place and renamed into it."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftwork.core.errors import OutputError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder; renamed to `path` if the block ends well, removed if it does not.

    Raises OutputError where the file cannot be written.
    """
    beside = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stem, dot, endings = path.name.partition(".")  # libraries tell .nii.gz from .gz
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{stem}-", suffix=dot + endings)
        os.close(handle)
        beside = Path(name)
        yield beside
        os.chmod(beside, 0o666 & ~_umask())  # mkstemp makes private files; results are as open as the user's others
        os.replace(beside, path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error}); name another --out") from error
    finally:
        if beside is not None:
            beside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text."""
    with whole_file(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Writes JSON with sorted keys, so that equal values give equal bytes. Raises ValueError for NaN."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def plain_numbers(values: NDArray[np.float64]) -> Any:
    """Nested lists for JSON; what is not a number is None, which `np.asarray(…, dtype=np.float64)` turns back."""
    plain = values.astype(object)
    plain[~np.isfinite(values)] = None
    return plain.tolist()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
