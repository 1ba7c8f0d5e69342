"""Updates that repeat themselves on a GPU: kernels with a deterministic form take it, and those without are named."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import torch

log = logging.getLogger(__name__)

WITHOUT = "does not have a deterministic implementation"


class Determinism:
    """Whether the updates of a run are computed by deterministic kernels alone; on a CPU they always are.

    strict: as long as no layer was found that has none. Attention takes its deterministic form only where torch may
    refuse everything else, so a run begins by letting it refuse.
    """

    def __init__(self, *, strict: bool) -> None:
        self.strict = strict

    @contextmanager
    def update(self) -> Iterator[None]:
        """Inside, torch raises where a layer has no deterministic kernel, while there is hope that all have one."""
        if not self.strict:
            yield
            return
        torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(True, warn_only=True)

    def given_up(self, error: RuntimeError) -> bool:
        """Whether the error says that a layer has no deterministic kernel: it is named, and updates go on without."""
        if not self.strict or WITHOUT not in str(error):
            return False
        self.strict = False
        log.warning("%s has no deterministic form on a GPU: repeated runs of this network agree in their first digits "
                    "only", str(error).split(maxsplit=1)[0])  # fmt: skip
        return True
