"""Device and CPU at work at the same time: batches made ahead, results fetched while the next are computed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

Item = TypeVar("Item")
Made = TypeVar("Made")

AHEAD = 4
"""Batches that threads make ahead of the one the device works on. Two threads kept an H100 busy with images of 224
pixels that lie in memory; more batches only take memory."""


def made_ahead(make: Callable[[Item], Made], items: Iterable[Item], threads: int) -> Iterator[Made]:
    """What `make` gives for every item, in order, a few made ahead by threads. Raises what `make` raises."""
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Made]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(make, item))
                if len(waiting) > AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def to_host(tensor: Tensor) -> Callable[[], Tensor]:
    """Begins to copy a tensor to the CPU; called, the result waits for the copy and gives it. Whatever the device is
    given meanwhile it computes without waiting; a tensor on the CPU is given as it is."""
    if tensor.device.type != "cuda":
        return lambda: tensor.cpu()
    copied = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)
    done = torch.cuda.Event()  # type: ignore[no-untyped-call]
    done.record(torch.cuda.current_stream(tensor.device))

    def wait() -> Tensor:
        done.synchronize()
        return copied

    return wait


def each_after_the_next(begun: Iterable[Item], device: torch.device) -> Iterator[Item]:
    """The items in order; on a GPU each is handed on once the next has been begun, so that the device is not idle while
    the CPU looks at it."""
    before: deque[Item] = deque()
    for item in begun:
        before.append(item)
        if len(before) > (device.type == "cuda"):
            yield before.popleft()
    yield from before
