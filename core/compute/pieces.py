"""Batches that do not fit in the device's memory, in pieces that do: for what is computed without gradients."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import torch

from graftwork.core.errors import TrainingError
from graftwork.core.types import Features

log = logging.getLogger(__name__)

Result = TypeVar("Result")


def in_pieces(run: Callable[[Features], Result], batch: Features) -> list[Result]:
    """What `run` makes of the batch: of all of it, or, where that does not fit in the device's memory, of each half in
    turn, and so on. Raises TrainingError for a single example that does not fit."""
    try:
        return [run(batch)]
    except torch.OutOfMemoryError as error:
        if len(batch) == 1:
            raise TrainingError(
                "one example does not fit in the device's memory: make it smaller (--image-size, --patch-size, "
                "--max-seconds or --window-seconds), or use --device cpu"
            ) from error
    torch.cuda.empty_cache()
    middle = len(batch) // 2
    log.info("%d examples at once do not fit in the device's memory: in halves (as with --batch-size %d)", len(batch),
             middle)  # fmt: skip
    return [*in_pieces(run, batch.rows(range(middle))), *in_pieces(run, batch.rows(range(middle, len(batch))))]
