"""Versions of installed packages, for records and keys, and what to do about a file of another version."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any


@cache
def version_of(package: str) -> str:
    """The version of an installed package, "unknown" where it is not installed, or is run from its folder."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def advice_on_schema(found: Any, known: int, otherwise: str) -> str:
    """What to do about a file whose layout has this number, where this version reads those up to `known`: to upgrade
    where it is newer, else as `otherwise` says."""
    newer = isinstance(found, int) and not isinstance(found, bool) and found > known
    return "a newer graftwork wrote it: upgrade graftwork" if newer else otherwise
