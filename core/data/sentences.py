"""Sentences that are spoken on both sides of a split: a model may know them again instead of what it should learn."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from graftwork.core.data.manifest import Manifest

log = logging.getLogger(__name__)

LEAST_KEPT = 0.5
"""Training rows are given up for new sentences only while at least this share of them, and every class, is left."""


def apart_in_sentences(manifest: Manifest, inside: NDArray[np.int64], outside: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rows of `inside` whose sentence is in no row of `outside`, and says how many were left out.

    All of `inside`, with a warning, where everybody reads the same few sentences, so that too little would be left.
    """
    kept, enough = _of_other_sentences(manifest, inside, outside)
    if len(kept) == len(inside):
        return inside
    lost = len(inside) - len(kept)
    if enough:
        log.info("%d of %d training rows left out: their sentences are in the evaluated part", lost, len(inside))
        return kept
    log.warning("%d of %d training rows share their sentence with rows that are evaluated, too many to leave out: the "
                "numbers do not hold for new sentences", lost, len(inside))  # fmt: skip
    return inside


def shared_sentences(manifest: Manifest, inside: NDArray[np.int64], outside: NDArray[np.int64]) -> int:
    """How many rows of `inside` have a sentence of `outside` that `apart_in_sentences` cannot keep apart."""
    kept, enough = _of_other_sentences(manifest, inside, outside)
    return 0 if enough else len(inside) - len(kept)


def sentence_caution(shared: Sequence[int]) -> tuple[str, ...]:
    """A caution where training rows share sentences with evaluated ones; shared: how many, in the one training part or
    in that of every fold."""
    found = [count for count in shared if count]
    if not found:
        return ()
    where = "" if len(shared) == 1 else f"in {len(found)} of {len(shared)} folds, "
    return (f"{where}{'' if len(found) == 1 else 'up to '}{max(found)} training rows share their sentence with rows "
            "that are evaluated: the metrics do not hold for new sentences",)  # fmt: skip


def _of_other_sentences(
    manifest: Manifest, inside: NDArray[np.int64], outside: NDArray[np.int64]
) -> tuple[NDArray[np.int64], bool]:
    """The rows of `inside` whose sentence is in no row of `outside`, and whether they are enough to learn from."""
    if manifest.sentences is None or not len(inside) or not len(outside):
        return inside, True
    evaluated = {manifest.sentences[row] for row in outside}
    kept = np.array([row for row in inside if manifest.sentences[row] not in evaluated], dtype=np.int64)
    enough = len(kept) >= LEAST_KEPT * len(inside)
    if manifest.task.one_class:
        enough = enough and set(manifest.values[kept].tolist()) == set(manifest.values[inside].tolist())
    return kept, enough
