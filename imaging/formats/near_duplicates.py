"""Scans that are one picture: resized, saved anew, cropped to about nine tenths, mirrored, brighter or with less
contrast.

Scans of one kind look alike, so a short hash of what they show would take different patients for one. Candidates are
found by the low frequencies in which a scan differs from the others, and each is laid onto its partner and compared in
its details.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from graftwork.core.compute.cores import cores_here
from graftwork.core.data.similar_vectors import Floats, in_cells, similar_rows, unit, whitening
from graftwork.core.example import Example
from graftwork.imaging.formats.content import decoded_scans
from graftwork.imaging.formats.thumbnails import SIDE, Thumbnails

FREQUENCIES = 9
"""Of a cosine transform along each axis, the first so many."""
MARGINS = ((0.0, 0.0), (0.05, 0.05), (0.09, 0.01), (0.01, 0.09))
"""Shares of a side that may have been cut off at its ends; what lies between them is found by the alignment."""
SWAPPED = tuple(MARGINS.index((behind, before)) for before, behind in MARGINS)
PLACES = tuple((mirrored, across, down) for mirrored in (False, True) for across in range(len(MARGINS))
               for down in range(len(MARGINS)))  # fmt: skip
"""Whether a picture is mirrored, and then which margins are cut off across and down."""
MIRRORING = np.array([(-1.0) ** (place // FREQUENCIES) for place in range(1, FREQUENCIES**2)], dtype=np.float32)
"""What a cosine transform is multiplied by where its picture is mirrored; frequencies across are the slower axis."""
DIRECTIONS = 48
"""Of these vectors that are compared; the others hold little of what tells scans apart."""
LEAST_COSINE = 0.8
"""Of low frequencies: 99 of 100 crops and mirror images of chest X-rays and brain slices lie above it."""
PARTNERS = 3
COARSE, LEAST_COARSE = SIDE // 2, 0.6
LEAST_DETAIL = 0.96
"""Correlation of details that makes two scans one. Of 5856 chest X-rays of 28 pixels the most alike different ones have
0.955; see examples/benchmarks/near_duplicates.py."""
STEPS_COARSE, STEPS_FINE = 3, 3
BATCH = 1024
"""Pairs that are aligned at once."""


def near_duplicates(examples: Sequence[Example]) -> list[tuple[int, int]]:
    """Pairs of numbers, the smaller first, of scans that are nearly the same. A volume is compared in its middle slices
    across all three axes; what cannot be decoded, or is of one value only, is like nothing."""
    return similar_thumbnails([one.thumbnails for one in decoded_scans(examples)])


def similar_thumbnails(all_of_them: Sequence[Thumbnails | None]) -> list[tuple[int, int]]:
    """`near_duplicates` of thumbnails (planes, SIDE, SIDE), by their place in the sequence."""
    pairs: set[tuple[int, int]] = set()
    for planes in sorted({len(one) for one in all_of_them if one is not None}):
        rows = [row for row, one in enumerate(all_of_them) if one is not None and len(one) == planes]
        stacked = np.stack([one for one in all_of_them if one is not None and len(one) == planes])
        alike = [_similar_planes(stacked[:, plane]) for plane in range(planes)]
        pairs |= {(rows[one], rows[other]) for one, other in set.intersection(*alike)}
    return sorted(pairs)


def _similar_planes(pictures: NDArray[np.uint8]) -> set[tuple[int, int]]:
    """Pairs of pictures (rows, SIDE, SIDE) that are one."""
    plain = _low_frequencies(_across(pictures, 0), 0)
    mean, matrix = whitening(plain, DIRECTIONS)
    cells = in_cells(unit((plain - mean) @ matrix))

    def search(waves: Floats, across: int, down: int, mirrored: bool) -> NDArray[np.float64]:
        cut = _low_frequencies(waves, down) * (MIRRORING if mirrored else np.ones_like(MIRRORING))
        whole, inside, cosine = similar_rows(cells, unit((cut - mean) @ matrix), LEAST_COSINE)
        number = PLACES.index((mirrored, SWAPPED[across] if mirrored else across, down))
        return np.stack([inside, whole, np.full_like(inside, number), -cosine], axis=1)

    found: list[NDArray[np.float64]] = []
    asked = list(product(range(len(MARGINS)), (False, True)))
    with ThreadPoolExecutor(cores_here()) as pool, threadpool_limits(1, user_api="blas"):
        for across in range(len(MARGINS)):
            waves = _across(pictures, across)
            found += pool.map(lambda one, waves=waves, across=across: search(waves, across, *one), asked)
    pairs = _best_partners(np.concatenate(found))
    agree = [_agree(pictures[batch[:, 0]], pictures[batch[:, 1]], batch[:, 2])
             for batch in np.array_split(pairs, max(1, len(pairs) // BATCH))]  # fmt: skip
    same = pairs[np.concatenate(agree)]
    return {(min(one, other), max(one, other)) for one, other in same[:, :2].tolist()}


def _best_partners(found: NDArray[np.float64]) -> NDArray[np.int64]:
    """Of candidates (picture inside, whole picture, number of its place, less than others where better) the best place
    of every pair, and for every picture inside the best PARTNERS: (pairs, 3)."""
    best = found[np.lexsort(found[:, [3, 1, 0]].T)]
    first = np.ones(len(best), dtype=bool)
    first[1:] = (best[1:, :2] != best[:-1, :2]).any(1)
    best = best[first]
    best = best[np.lexsort(best[:, [3, 0]].T)]
    place = np.arange(len(best)) - np.searchsorted(best[:, 0], best[:, 0])
    return best[place < PARTNERS, :3].astype(np.int64)


def _across(pictures: NDArray[np.uint8], margin: int) -> Floats:
    """(rows, FREQUENCIES, SIDE): the cosine transform of every row of pixels of pictures (rows, SIDE, SIDE) between its
    margins."""
    waves = _waves(*MARGINS[margin]).T
    found = np.empty((len(pictures), FREQUENCIES, SIDE), dtype=np.float32)
    for start in range(0, len(pictures), BATCH):
        batch = pictures[start : start + BATCH].reshape(-1, SIDE).astype(np.float32) @ waves
        found[start : start + BATCH] = batch.reshape(-1, SIDE, FREQUENCIES).transpose(0, 2, 1)
    return found


def _low_frequencies(across: Floats, margin: int) -> Floats:
    """(rows, FREQUENCIES ** 2 - 1) at length 1: the cosine transform without its mean, from that of the rows of pixels
    and the margin above and below."""
    found = across.reshape(-1, SIDE) @ _waves(*MARGINS[margin]).T
    return unit(found.reshape(len(across), -1)[:, 1:])


def _waves(before: float, behind: float) -> Floats:
    """(FREQUENCIES, SIDE): DCT-II over what is left of a side."""
    middles = (np.arange(SIDE) + 0.5) / SIDE
    inside = (middles - before) / (1 - before - behind)
    waves = np.cos(np.pi * np.arange(FREQUENCIES)[:, None] * inside)
    edges = np.clip((np.arange(SIDE + 1) / SIDE - before) / (1 - before - behind), 0.0, 1.0)
    found: Floats = (waves * np.diff(edges)).astype(np.float32)
    return found


def _agree(inside: NDArray[np.uint8], whole: NDArray[np.uint8], numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether pictures (pairs, SIDE, SIDE) show what lies in the others at these places, or near them: (pairs,)."""
    if not len(numbers):
        return np.zeros(0, dtype=bool)
    mirrored = np.array([PLACES[number][0] for number in numbers])
    margins = np.array([(*MARGINS[PLACES[number][1]], *MARGINS[PLACES[number][2]]) for number in numbers])
    one, other = inside.astype(np.float32), whole.astype(np.float32)
    other[mirrored] = other[mirrored, :, ::-1]
    before, behind = margins[:, 0::2], margins[:, 1::2]
    boxes = np.concatenate([(before + 1 - behind) / 2, (1 - before - behind) / 2], axis=1).astype(np.float32)
    halves = [picture.reshape(-1, COARSE, 2, COARSE, 2).mean((2, 4)) for picture in (one, other)]
    laid, boxes = _aligned(halves[0], halves[1], boxes, STEPS_COARSE)
    likely = _correlation(_edges(halves[0]), _edges(laid)) >= LEAST_COARSE
    found = np.zeros(len(one), dtype=bool)
    if likely.any():
        laid, _ = _aligned(one[likely], other[likely], boxes[likely], STEPS_FINE)
        found[likely] = _correlation(_details(one[likely]), _details(laid)) >= LEAST_DETAIL
    return found


def _aligned(one: Floats, other: Floats, boxes: Floats, steps: int) -> tuple[Floats, Floats]:
    """The part of every other picture that lies on one (both (pairs, side, side)), and where it is.

    boxes (pairs, 4): its middle across and down, and half its extent across and down, in sides. Gauss-Newton steps over
    these, brightness and contrast (Lucas and Kanade 1981), each at most a twentieth of a side.
    """
    side = one.shape[-1]
    grid = (2 * (np.arange(side, dtype=np.float32) + 0.5) / side - 1).astype(np.float32)
    target = one.reshape(len(one), -1, 1)
    laid = _cut(other, boxes, grid)
    for _ in range(steps):
        down, across = np.gradient(laid, axis=(1, 2))
        across = across * (side / (2 * boxes[:, 2]))[:, None, None]
        down = down * (side / (2 * boxes[:, 3]))[:, None, None]
        columns = np.stack([laid, np.ones_like(laid), across, down, across * grid, down * grid[:, None]], axis=1)
        columns = columns.reshape(len(one), 6, -1)
        squares = columns @ columns.transpose(0, 2, 1)
        ridge = 1e-6 * np.trace(squares, axis1=1, axis2=2)[:, None, None] * np.eye(6, dtype=np.float32)
        solved = np.linalg.solve((squares + ridge).astype(np.float64), columns @ target)[..., 0]
        contrast = np.where(np.abs(solved[:, :1]) > 0.1, solved[:, :1], np.inf)
        boxes = boxes + np.clip(solved[:, 2:] / contrast, -0.05, 0.05).astype(np.float32)
        boxes[:, 2:] = np.clip(boxes[:, 2:], 0.4, 0.525)
        laid = _cut(other, boxes, grid)
    return laid, boxes


def _cut(pictures: Floats, boxes: Floats, grid: Floats) -> Floats:
    """What lies in the boxes, between pixels their mean: (pairs, side, side)."""
    side = len(grid)
    pixels = np.arange(side, dtype=np.float32)
    weights = []
    for axis in (0, 1):
        places = (boxes[:, axis, None] + boxes[:, 2 + axis, None] * grid) * side - 0.5
        places = np.clip(places, 0, side - 1)
        weights.append(np.maximum(0, 1 - np.abs(places[:, :, None] - pixels)))
    found: Floats = weights[1] @ pictures @ weights[0].transpose(0, 2, 1)
    return found


def _details(pictures: Floats) -> Floats:
    """Pictures (pairs, side, side) without their shades, every region at about the same contrast: the outline that all
    scans of a kind share, as the edge of a fundus, counts no more than the rest."""
    edges, around = _edges(pictures), _blur(pictures.shape[-1], 4.0)
    energy = _smoothed(edges * edges, around)
    found: Floats = edges / np.sqrt(energy + 0.09 * (edges * edges).mean((1, 2), keepdims=True) + 1e-12)
    return found


def _edges(pictures: Floats) -> Floats:
    """Differences of Gaussians, (pairs, side, side)."""
    fine, coarse = (_blur(pictures.shape[-1], sigma) for sigma in (0.7, 3.0))
    return _smoothed(pictures, fine) - _smoothed(pictures, coarse)


def _smoothed(pictures: Floats, weights: Floats) -> Floats:
    """Pictures (pairs, side, side) blurred down and across; as two products of large matrices, not many small ones."""
    side = len(weights)
    for _ in range(2):
        pictures = np.matmul(pictures.reshape(-1, side), weights.T).reshape(-1, side, side).transpose(0, 2, 1)
    return pictures


def _blur(side: int, sigma: float) -> Floats:
    """(side, side): a Gaussian of so many pixels of SIDE, or as many as they are here."""
    places = np.arange(side) * SIDE / side
    weights = np.exp(-0.5 * ((places[:, None] - places) / sigma) ** 2)
    found: Floats = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    return found


def _correlation(one: Floats, other: Floats) -> Floats:
    """Pearson's correlation of every pair (pairs, …)."""
    first, second = (values.reshape(len(values), -1) for values in (one, other))
    products = unit(first - first.mean(1, keepdims=True)) * unit(second - second.mean(1, keepdims=True))
    found: Floats = products.sum(1)
    return found
