"""What a manifest holds, before anything is trained: counts, balance, groups, and files with the same content."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftwork.core.data.leaks import Leaks, find_leaks
from graftwork.core.data.manifest import PARTS, Manifest
from graftwork.core.data.near_duplicates import NearDuplicates
from graftwork.core.evaluation.evaluation import counted
from graftwork.core.runs.opened_files import OpenedFiles

FEW_GROUPS = 5
"""Of patients of one diagnosis each there is nothing to say; so few of a diagnosis are these patients, too."""
SHOWN = 10
"""Sets of files that are written out; the others are counted."""


@dataclass(frozen=True)
class Overview:
    """What `check` has counted in a manifest.

    classes: rows of every class, positive rows of every label, or rows whose mask holds a value, in all and by part.
    groups: how many, and the smallest and largest. single_group_classes: classes that one group alone has;
    few_group_classes: those that two or a few have, where no group has rows of several classes.
    same_content: sets of rows whose files hold the same; conflicts: those sets whose targets differ; conflicting: their
    files, each with its target. near_duplicates: sets of rows that hold nearly the same, None where nobody has looked.
    leaks: what lies in different parts of the split column. opened: what the files are, None where none was opened."""

    manifest: Manifest
    classes: dict[str, dict[str, int]]
    range: tuple[float, float, float] | None
    groups: dict[str, int] | None
    classes_per_group: float | None
    single_group_classes: tuple[str, ...]
    few_group_classes: tuple[str, ...]
    same_content: int
    conflicts: int
    conflicting: tuple[dict[str, str], ...]
    near_duplicates: NearDuplicates | None
    leaks: Leaks
    opened: OpenedFiles | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "manifest"}
        fields["near_duplicates"] = None if self.near_duplicates is None else self.near_duplicates.to_json()
        fields["leaks"] = self.leaks.to_json()
        fields["opened"] = None if self.opened is None else self.opened.to_json()
        return {"source": self.manifest.source, "rows": len(self.manifest),
                "rows_without_label": self.manifest.dropped_rows, "task": self.manifest.task.name,
                "target": self.manifest.target} | fields  # fmt: skip

    def __str__(self) -> str:
        manifest = self.manifest
        lines = [f"{manifest.source}: {len(manifest)} rows, {manifest.task} target {manifest.target!r}"]
        if manifest.dropped_rows:
            lines.append(f"  {counted(manifest.dropped_rows, 'row')} without a label left out")
        lines += [f"  {line}" for line in manifest.task.summary(manifest.values, manifest.classes)]
        width = max(map(len, self.classes), default=0)
        for name, counts in self.classes.items():
            parts = "  ".join(f"{part} {counts[part]}" for part in PARTS if part in counts)
            share = counts["all"] / len(manifest)
            lines.append(
                f"  {name:<{width}}  {counts['all']:>6}  {share:6.1%}  {'█' * round(30 * share):<30}  {parts}".rstrip()
            )
        if self.groups is not None:
            least, most = self.groups["smallest"], self.groups["largest"]
            lines.append(f"{counted(self.groups['count'], 'group')} of {'' if least == most else f'{least} to '}"
                         f"{counted(most, 'row')}")  # fmt: skip
            if self.single_group_classes:
                named = ", ".join(map(repr, self.single_group_classes))
                lines.append(f"  only one group has {named}: no split keeps groups apart and has such a class on both "
                             "sides; it takes rows of further groups")  # fmt: skip
            if self.few_group_classes:
                named = ", ".join(map(repr, self.few_group_classes))
                lines.append(f"  each group has one class only, and fewer than {FEW_GROUPS} have {named}: what is "
                             "learnt of it may be these groups, and folds that keep them apart vary much")  # fmt: skip
        if self.same_content:
            lines.append(
                f"{self.same_content} sets of rows hold the same file content: drawn splits keep them together"
            )
        if self.conflicts:
            lines.append(f"  {self.conflicts} of these sets have different targets:")
            lines += [f"    {', '.join(f'{path}: {target}' for path, target in one.items())}"
                      for one in self.conflicting[:SHOWN]]  # fmt: skip
            if self.conflicts > SHOWN:
                lines.append(f"    … and {self.conflicts - SHOWN} more (--json names all)")
        if self.near_duplicates is not None and self.near_duplicates.sets:
            lines.append(str(self.near_duplicates))
        if self.opened is not None:
            lines.append(str(self.opened))
        if self.leaks:
            lines.append(f"{self.leaks}; train stops here without --allow-leaks or --folds")
        return "\n".join(lines)


def check(
    manifest: Manifest,
    held: Sequence[tuple[int, ...]] | None = None,
    alike: NearDuplicates | None = None,
    opened: OpenedFiles | None = None,
) -> Overview:
    """An overview of a manifest: rows of every class, groups, files with the same content and what leaks between parts.

    Every file is read once, for its content. held: for masks, the values that every row's holds. alike: the
    near-duplicates that were found, None where nobody has looked; opened: what `open_files` gave, likewise. Raises
    UnreadableError for a file that is not there.
    """
    digests = manifest.contents()
    same: dict[str, list[int]] = {}
    for row, value in enumerate(digests):
        same.setdefault(value, []).append(row)
    sets = [rows for rows in same.values() if len(rows) > 1]
    values = np.asarray(manifest.values)
    files, targets = [str(example) for example in manifest.inputs], manifest.targets
    conflicting = tuple({files[row]: str(targets[row]) for row in rows} for rows in sets
                      if any(not _same(values[row], values[rows[0]]) for row in rows))  # fmt: skip
    groups = per_group = None
    alone: tuple[str, ...] = ()
    few: tuple[str, ...] = ()
    if manifest.groups is not None:
        counts = Counter(manifest.groups)
        groups = {"count": len(counts), "smallest": min(counts.values()), "largest": max(counts.values())}
        pairs = {(group, str(value)) for group, value in zip(manifest.groups, values.tolist(), strict=True)}
        per_group = None if held is not None else len(pairs) / len(counts)
        if manifest.task.one_class and len(counts) > 1:
            of_class = Counter(value for _, value in pairs)
            alone = tuple(name for place, name in enumerate(manifest.classes) if of_class[str(place)] == 1)
            if per_group == 1 and len(counts) < len(manifest):
                few = tuple(name for place, name in enumerate(manifest.classes)
                            if 1 < of_class[str(place)] < FEW_GROUPS)  # fmt: skip
    return Overview(
        manifest,
        _counts(manifest, _memberships(manifest, held)),
        manifest.task.value_range(values),
        groups,
        per_group,
        alone,
        few,
        len(sets),
        len(conflicting),
        conflicting,
        alike,
        find_leaks(manifest),
        opened,
    )


def _same(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Whether two targets are equal; labels that are not known are."""
    return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


def _memberships(manifest: Manifest, held: Sequence[tuple[int, ...]] | None) -> dict[str, NDArray[np.bool_]]:
    """Which rows (rows,) belong to every class; none for text and numbers."""
    if held is not None:
        return {str(value): np.array([value in own for own in held]) for value in sorted(set().union(*held))}
    return manifest.task.members(np.asarray(manifest.values), manifest.classes)


def _counts(manifest: Manifest, memberships: dict[str, NDArray[np.bool_]]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for name, members in memberships.items():
        counts = {"all": int(members.sum())}
        if manifest.parts is not None:
            own = np.array(manifest.parts)
            counts |= {part: int((members & (own == part)).sum()) for part in PARTS if (own == part).any()}
        found[name] = counts
    return found
