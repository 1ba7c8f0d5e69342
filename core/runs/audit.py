"""What the rows of a run are, part by part, with what was found wrong with them: `data.json` of its folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from graftwork.core.data.examples import Unreadable
from graftwork.core.data.manifest import Manifest
from graftwork.core.data.near_duplicates import NearDuplicates
from graftwork.core.files import write_json

DATA = "data.json"

MOST_SETS = 100
"""Sets of near-duplicates that are written out; the others are counted."""


def write_audit(
    folder: Path, parts: Mapping[str, Manifest], *, split: str, left_out: Sequence[Unreadable] = (),
    alike: NearDuplicates | None = None, cautions: Sequence[str] = (),
) -> None:  # fmt: skip
    """Writes `data.json`. parts: the rows of each, by its name. split: in words, how rows came into them. alike: the
    near-duplicates, None where nobody has looked. cautions: sentences that the metrics must not be read without."""
    first = next(iter(parts.values()))
    write_json(folder / DATA, {
        "source": first.source,
        "target": first.target,
        "task": first.task.name,
        "split": split,
        "parts": {name: part_summary(rows) for name, rows in parts.items()},
        "left_out": [asdict(one) for one in left_out],
        "near_duplicates": None if alike is None else alike.to_json() | {"first": list(alike.sets[:MOST_SETS])},
        "cautions": list(cautions),
    })  # fmt: skip


def part_summary(rows: Manifest) -> dict[str, Any]:
    """Rows, groups (how many, and the smallest and largest), rows of every class, and the range of numbers."""
    sizes = sorted(Counter(rows.groups or ()).values())
    values = np.asarray(rows.values)
    return {
        "rows": len(rows),
        "groups": None if rows.groups is None else
        {"count": len(sizes), "smallest": sizes[0] if sizes else 0, "largest": sizes[-1] if sizes else 0},
        "classes": {name: int(own.sum()) for name, own in rows.task.members(values, rows.classes).items()},
        "range": rows.task.value_range(values) if len(rows) else None,
    }  # fmt: skip
