"""Files that are read by several threads at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import PurePath
from typing import TypeAlias, TypeVar

import torch

from graftwork.core.compute.runtime import cores_here
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
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(cores_here(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(threads)  # for threads that begin later, which take what was set last


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
