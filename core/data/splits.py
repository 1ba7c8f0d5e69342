"""Which rows go together and which part each goes to. Groups are never separated; every part resembles the whole."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from graftwork.core.errors import SettingsError


def join_units(*keys: Sequence[Hashable] | None) -> NDArray[np.int64]:
    """Unit number (rows,) such that rows that share a value in any of `keys` share a unit.

    Keys that are None are passed over; at least one must be given. Two scans of one patient are one unit,
    and so are two patients that share a file with the same content.
    """
    given = [key for key in keys if key is not None]
    parent = list(range(len(given[0])))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for key in given:
        first: dict[Hashable, int] = {}
        for row, value in enumerate(key):
            parent[root(row)] = root(first.setdefault(value, row))
    numbers: dict[int, int] = {}
    return np.array([numbers.setdefault(root(row), len(numbers)) for row in range(len(parent))], dtype=np.int64)


def allocate(
    kinds: NDArray[np.float64],
    units: NDArray[np.int64],
    fractions: Sequence[float],
    seed: int,
    least: Sequence[int] | None = None,
    advice: str = "give --val-fraction 0 or --test-fraction 0, or name the parts in a split column",
) -> NDArray[np.int64]:
    """Part number (rows,) for every row; part p gets about `fractions[p]` of the rows and of every stratum.

    kinds: (rows, strata) as a task's `strata` gives them. units: (rows,) rows that must stay together.
    Whole units are placed greedily, the largest first and in an order drawn from `seed`, each where it
    brings the parts closest to their share (the idea of Sechidis et al. 2011, iterative stratification,
    with units in place of rows). least: fewest units of every part, 1 each by default. advice: what the error says
    to do.
    Raises SettingsError if a part with a positive fraction would have fewer.
    """
    count = int(units.max()) + 1
    needed = np.where(np.asarray(fractions) > 0, 1 if least is None else np.asarray(least), 0)
    wanted = int(needed.sum())
    if count < wanted:
        raise SettingsError(
            f"{wanted} parts need at least {wanted} groups of rows that may be separated, found {count}: {advice}"
        )
    contents = np.zeros((count, kinds.shape[1] + 1))
    np.add.at(contents, units, np.column_stack([kinds, np.ones(len(units))]))
    totals = np.maximum(contents.sum(0), 1.0)
    goal = np.outer(np.asarray(fractions, dtype=np.float64), totals)
    filled = np.zeros_like(goal)
    shuffled = np.random.default_rng(seed).permutation(count)
    order = shuffled[np.argsort(-contents[shuffled, -1], kind="stable")]
    part_of = np.zeros(count, dtype=np.int64)
    open_parts = np.flatnonzero(np.asarray(fractions) > 0)
    for place, unit in enumerate(order):
        content = contents[unit]
        # The last units must go to parts that are still short of them, or a part would stay without rows.
        choices = np.flatnonzero(needed > 0) if needed.clip(0).sum() >= count - place else open_parts
        cost = ((content * (content + 2 * (filled[choices] - goal[choices]))) / totals).sum(1)
        part = choices[int(np.argmin(cost))]
        filled[part] += content
        needed[part] -= 1
        part_of[unit] = part
    return part_of[units]


def fold_numbers(kinds: NDArray[np.float64], units: NDArray[np.int64], folds: int, seed: int) -> NDArray[np.int64]:
    """Fold (rows,), 0 to `folds` - 1, of about equal size and make-up. Raises SettingsError for under two folds."""
    if folds < 2:
        raise SettingsError(f"folds: expected at least 2, found {folds}")
    return allocate(kinds, units, [1 / folds] * folds, seed, advice="use fewer folds")
