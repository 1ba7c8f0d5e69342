"""What processes of one run say to each other, and what is raised where one of them is gone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from textwrap import shorten
from typing import Any

import torch

from graftwork.core.errors import ProcessLostError

Agree = Callable[[Sequence[bool]], tuple[bool, ...]]
"""Called with as many answers by every process, it gives to all of them whether any process has said yes to each."""


@contextmanager
def communicating() -> Iterator[None]:
    """Within the block processes exchange tensors. Raises ProcessLostError where that fails, as it does at once where
    another process has ended (gloo), or after torch.distributed's time limit."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        said = shorten(str(error), 160, placeholder=" …") or type(error).__name__
        raise ProcessLostError(
            f"another process of this run has ended, or cannot be reached ({said}): what ended it stands in its own "
            "output; the same command goes on from the last checkpoint, with as many processes as it is given"
        ) from error


@lru_cache(maxsize=1)
def _group_on_cpu(world: Any) -> Any:
    """One for all that this set of processes has to say: each has threads and connections of its own."""
    import torch.distributed as dist

    return dist.new_group(backend="gloo")


def agreement(processes: int) -> Agree:
    """A way for so many processes to decide the same. All of them have to ask for it, and to call it equally often.

    Answers travel on the CPU: nobody waits for what a GPU has still to do."""
    if processes == 1:
        return tuple
    import torch.distributed as dist

    with communicating():
        group = None if dist.get_backend() == "gloo" else _group_on_cpu(dist.group.WORLD)

    def agree(answers: Sequence[bool]) -> tuple[bool, ...]:
        flags = torch.tensor(answers, dtype=torch.int32)
        with communicating():
            dist.all_reduce(flags, dist.ReduceOp.MAX, group=group)
        return tuple(bool(flag) for flag in flags)

    return agree
