"""Rows on both sides of a source's own split that are the same, nearly the same, or of one patient."""

from __future__ import annotations

from dataclasses import dataclass

from graftwork.core.data.manifest import Manifest
from graftwork.core.errors import ManifestError, Problem

SHOWN = 5


@dataclass(frozen=True)
class Leaks:
    """groups: names of groups, and identical, alike: pairs of rows of the same and of nearly the same content, that are
    in several parts of the split column."""

    groups: tuple[str, ...] = ()
    identical: tuple[tuple[int, int], ...] = ()
    alike: tuple[tuple[int, int], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.groups or self.identical or self.alike)

    def to_json(self) -> dict[str, int]:
        """How many of each."""
        return {"groups": len(self.groups), "same_content_pairs": len(self.identical),
                "near_duplicate_pairs": len(self.alike)}  # fmt: skip

    def __str__(self) -> str:
        counts = {"group{} in several": len(self.groups), "pair{} of rows with the same content": len(self.identical),
                  "pair{} with nearly the same": len(self.alike)}  # fmt: skip
        found = ", ".join(
            f"{count} {what.format('' if count == 1 else 's')}" for what, count in counts.items() if count
        )
        return f"parts are not apart ({found}): numbers flatter, and do not hold for new rows"


def find_leaks(manifest: Manifest) -> Leaks:
    """What the parts of a manifest put on several sides; nothing where it has none. Near-duplicates count as far as the
    manifest knows them."""
    if manifest.parts is None:
        return Leaks()
    groups: dict[str, set[str]] = {}
    for name, part in zip(manifest.groups or (), manifest.parts, strict=manifest.groups is not None):
        groups.setdefault(name, set()).add(part)
    identical = manifest.shared_content()
    alike = set(manifest.in_different_parts(manifest.copies or ())) - set(identical)
    return Leaks(tuple(name for name, parts in groups.items() if len(parts) > 1), tuple(identical),
                 tuple(sorted(alike)))  # fmt: skip


def refuse_leaks(manifest: Manifest, leaks: Leaks) -> None:
    """Raises ManifestError that names what leaks, and what to do, where anything does."""
    if not leaks:
        return
    problems = [Problem(f"group {name!r} is in several parts") for name in leaks.groups[:SHOWN]]
    for pairs, what in ((leaks.identical, "the same"), (leaks.alike, "nearly the same")):
        problems += [_pair_problem(manifest, one, other, what) for one, other in pairs[:SHOWN]]
    problems.append(Problem(f"{leaks}; mend the column, ignore it with --folds, or go on with --allow-leaks, and the "
                            "result says so"))  # fmt: skip
    raise ManifestError(manifest.source, problems)


def _pair_problem(manifest: Manifest, one: int, other: int, what: str) -> Problem:
    names, parts = manifest.paths, manifest.parts or ()
    row = manifest.rows[one] if manifest.rows else None
    return Problem(f"{names[one]} ({parts[one]}) holds {what} as {names[other]} ({parts[other]})", row)
