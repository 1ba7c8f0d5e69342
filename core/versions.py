"""Versions of installed packages, for records and keys."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache
def version_of(package: str) -> str:
    """The version of an installed package, "unknown" where it is not installed, or is run from its folder."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
