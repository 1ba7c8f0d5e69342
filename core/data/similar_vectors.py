"""Vectors that point almost the same way, found without comparing all of them with each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]
Rows: TypeAlias = NDArray[np.int64]

CELL_ROWS = 300
"""Vectors of a cell; up to twice as many are one cell, and all of them are compared."""
PROBES = 3
"""Cells that are searched for every vector."""
SAMPLE_PER_CELL, ROUNDS = 60, 6
"""Vectors by which the middle of a cell is found, and how often it is moved."""
BLOCK = 4096
"""Vectors that are compared with a cell at once."""


@dataclass(frozen=True, eq=False)
class Cells:
    """Vectors in cells of near ones: an inverted file (Sivic and Zisserman 2003; Jégou et al. 2011, with whole vectors
    in the lists). Searching n vectors in n takes about n ** 1.5 products.

    vectors: (rows, dim) float32 of length 1, cell by cell; rows: (rows,) their numbers as they were given. starts:
    (cells + 1,) where each cell begins. middles: (cells, dim).
    """

    vectors: Floats
    rows: Rows
    starts: Rows
    middles: Floats


def in_cells(vectors: Floats, seed: int = 0) -> Cells:
    """Vectors (rows, dim) of length 1 in cells, by k-means over the angles of a sample."""
    count = max(1, round(len(vectors) / CELL_ROWS)) if len(vectors) > 2 * CELL_ROWS else 1
    rng = np.random.default_rng(seed)
    sample = vectors[rng.permutation(len(vectors))[: SAMPLE_PER_CELL * count]]
    middles = sample[:count].copy()
    for _ in range(ROUNDS if count > 1 else 0):
        own = _nearest(sample, middles, 1)[:, 0]
        sums = np.zeros_like(middles)
        np.add.at(sums, own, sample)
        there = np.linalg.norm(sums, axis=1) > 0
        middles[there] = unit(sums[there])
    own = _nearest(vectors, middles, 1)[:, 0]
    order = np.argsort(own, kind="stable")
    starts = np.searchsorted(own[order], np.arange(count + 1))
    return Cells(vectors[order], order, starts, middles)


def similar_rows(cells: Cells, asked: Floats, least: float, most: int = 2) -> tuple[Rows, Rows, Floats]:
    """For every asked vector (rows, dim) of length 1, up to `most` of the vectors in `cells` of another number whose
    cosine with it is at least `least`, the nearest first: numbers asked, numbers found, cosines, all (pairs,)."""
    probed = _nearest(asked, cells.middles, PROBES)
    asking_cell = np.argsort(probed.ravel(), kind="stable")
    ends = np.searchsorted(probed.ravel()[asking_cell], np.arange(len(cells.middles) + 1))
    found: list[tuple[Rows, Rows, Floats]] = []
    for cell in range(len(cells.middles)):
        inside = slice(cells.starts[cell], cells.starts[cell + 1])
        questions = asking_cell[ends[cell] : ends[cell + 1]] // probed.shape[1]
        for start in range(0, len(questions), BLOCK):
            rows = questions[start : start + BLOCK]
            cosines = asked[rows] @ cells.vectors[inside].T
            one, other = np.divmod(np.flatnonzero(cosines >= least), cosines.shape[1])  # 6 times sooner than nonzero
            numbers = cells.rows[inside][other]
            differ = rows[one] != numbers
            found.append((rows[one][differ], numbers[differ], cosines[one, other][differ]))
    asking, answer, cosine = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.lexsort((-cosine, asking))
    asking, answer, cosine = asking[order], answer[order], cosine[order]
    place = np.arange(len(asking)) - np.searchsorted(asking, asking)
    kept = place < most
    return asking[kept], answer[kept], cosine[kept]


def unit(vectors: NDArray[Any]) -> Floats:
    """Vectors (…, dim) at length 1, float32; zeros stay zeros."""
    found: Floats = (vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)).astype(np.float32)
    return found


def whitening(vectors: Floats, width: int, prior_rows: float = 20.0, floor: float = 0.1) -> tuple[Floats, Floats]:
    """Mean (dim,) and matrix (dim, width) for which (vectors - mean) @ matrix has equal variance in all directions,
    those of the largest: what all rows of a kind share counts no more than what tells them apart.

    prior_rows: so many rows of no direction count beside the vectors (rows, dim), so that two rows alone keep what they
    share. floor: share of the mean variance that is added to every direction's.
    """
    rows, given = vectors.shape
    mean = vectors.sum(0) / (rows + prior_rows)
    centred = (vectors - mean).astype(np.float64)
    covariance = (centred.T @ centred + prior_rows * np.eye(given) / given) / (rows + prior_rows)
    variances, directions = np.linalg.eigh(covariance)
    matrix = (directions / np.sqrt(variances + floor * variances.mean()))[:, -width:]
    return mean.astype(np.float32), matrix.astype(np.float32)


def _nearest(vectors: Floats, middles: Floats, count: int) -> Rows:
    """(rows, count): the middles that are nearest, the nearest first; fewer columns where there are fewer middles."""
    products = vectors @ middles.T
    found = []
    for _ in range(min(count, len(middles))):
        found.append(products.argmax(1))
        products[np.arange(len(vectors)), found[-1]] = -np.inf
    return np.stack(found, axis=1)
