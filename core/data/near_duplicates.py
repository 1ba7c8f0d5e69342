"""Rows that hold nearly the same, as images that were saved anew: found by the domain, kept on one side by splits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftwork.core.data.content import content_digests
from graftwork.core.data.manifest import Manifest
from graftwork.core.domain import Domain
from graftwork.core.example import Example, without_mask
from graftwork.core.types import NearDuplicatesMode

SHOWN = 3


@dataclass(frozen=True)
class NearDuplicates:
    """how: whether splits keep them together. sets: examples of every set, as people write them, in the order of the
    rows; those that hold the very same count too. same: sets of the very same. rows: in all sets."""

    how: NearDuplicatesMode
    sets: tuple[tuple[str, ...], ...]
    same: int
    rows: int

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"how": self.how, "sets": len(self.sets), "rows": self.rows, "same_content": self.same,
                "first": [list(one) for one in self.sets[:SHOWN]]}  # fmt: skip

    def __str__(self) -> str:
        if not self.sets:
            return "no two files hold nearly the same"
        first = "; ".join(" and ".join(one[:2]) for one in self.sets[:SHOWN])
        kept = "kept on one side of every split" if self.how == "together" else "not kept together"
        return (f"{len(self.sets)} sets of {self.rows} rows hold nearly the same ({self.same} of them the very same), "
                f"{kept}: {first}")  # fmt: skip


def with_near_duplicates(
    domain: Domain, manifest: Manifest, how: NearDuplicatesMode
) -> tuple[Manifest, NearDuplicates | None]:
    """The manifest with its near-duplicates, which splits then keep together, unless `how` is "report"; and what was
    found. None where nothing was looked for: `how` is "ignore", or the domain has no eye for it.

    Windows of recordings count as these. Raises UnreadableError for a file whose bytes cannot be read.
    """
    if how == "ignore" or domain.near_duplicates is None:
        return manifest, None
    wholes: Sequence[Example] = manifest.recordings or manifest.inputs
    wholes = [without_mask(whole) for whole in wholes]
    examples = list(dict.fromkeys(wholes))
    digests = (manifest.digests or content_digests)(examples)
    first = dict(zip(reversed(digests), reversed(examples), strict=True))
    different = list(dict.fromkeys(first[digest] for digest in digests))
    number = {digest: place for place, digest in enumerate(dict.fromkeys(digests))}
    own = [number[digest] for digest in digests]
    units = joined(len(different), domain.near_duplicates(different))
    numbers = [int(units[place]) for place in own]
    sets: dict[int, list[int]] = {}
    for place, unit in enumerate(numbers):
        sets.setdefault(unit, []).append(place)
    shared = [places for places in sets.values() if len(places) > 1]
    unit_of = dict(zip(examples, numbers, strict=True))
    copies = tuple(unit_of[whole] for whole in wholes)
    in_sets = {numbers[places[0]] for places in shared}
    found = NearDuplicates(
        how,
        tuple(tuple(str(examples[place]) for place in places) for places in shared),
        sum(count > 1 for count in Counter(own).values()),
        sum(copy in in_sets for copy in copies),
    )
    return (replace(manifest, copies=copies) if how == "together" else manifest), found


def joined(count: int, pairs: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """The number of each one's set (count,): pairs share a set, and so do all that pairs connect."""
    if not pairs:
        return np.arange(count, dtype=np.int64)
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ends = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(count, count))
    found: NDArray[np.int64] = connected_components(graph, directed=False)[1].astype(np.int64)
    return found
