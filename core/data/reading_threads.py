"""Files that are read by several threads at once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import PurePath
from typing import TypeAlias, TypeVar

from graftwork.core.compute.cores import cores_here
from graftwork.core.example import Example

Result = TypeVar("Result")

Spread: TypeAlias = Callable[[Callable[[Example], Result], Sequence[Example]], Iterable[Result]]
"""How a function is applied to several examples: `map`, or that of threads."""


def in_threads(function: Callable[[Example], Result], examples: Sequence[Example]) -> Iterator[Result]:
    """What the function gives for every example, in order, by as many threads as the process has cores."""
    with reading_threads() as pool:
        yield from each(function, examples, pool.map, set())


@contextmanager
def reading_threads() -> Iterator[ThreadPoolExecutor]:
    """As many threads as the process has cores. Each computes alone, where torch would begin a team for every one."""
    threads = _torch_threads()
    try:
        with ThreadPoolExecutor(cores_here(), initializer=_compute_alone) as pool:
            yield pool
    finally:
        if threads is not None:
            _set_torch_threads(threads)  # for threads that begin later, which take what was set last


def _compute_alone() -> None:
    if _torch_threads() is not None:
        _set_torch_threads(1)


def _torch_threads() -> int | None:
    """None where torch is not loaded, as in `check` of pictures, which does not wait for it."""
    if "torch" not in sys.modules:
        return None
    import torch

    return torch.get_num_threads()


def _set_torch_threads(count: int) -> None:
    import torch

    torch.set_num_threads(count)


def each(
    function: Callable[[Example], Result], examples: Sequence[Example], spread: Spread[Result], known: set[object]
) -> Iterator[Result]:
    """What the function gives for every example, in order.

    Of every kind of file that is not among the `known` ones, which are added, the first is read by the caller's own
    thread, before others are spread: the packages that read a kind are imported when it is first met, and parts of a
    package that several threads import at the same time can fail (CPython gives up a lock on a module in place of
    waiting forever, and an unfinished module is seen).
    """
    alone: dict[int, Result] = {}
    for place, example in enumerate(examples):
        kind = type(example), PurePath(str(example)).suffix.lower()
        if kind not in known:
            known.add(kind)
            alone[place] = function(example)
    rest = iter(spread(function, [example for place, example in enumerate(examples) if place not in alone]))
    for place in range(len(examples)):
        yield alone[place] if place in alone else next(rest)
