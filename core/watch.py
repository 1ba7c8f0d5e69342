"""Examples looked at while they are read: what a training saw, and which new ones are unlike it. Domains say how."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, Protocol

from graftwork.core.backbone import InputContract

Outside = Literal["flag", "refuse"]
"""What becomes of an example that is unlike those of the training: it is noted, or an error."""


class Watch(InputContract, Protocol):
    """An input contract that remembers what it has read.

    outside: by path, in what way an example is unlike those of the training.
    """

    outside: dict[str, str]

    def seen(self, paths: Iterable[str]) -> dict[str, Any]:
        """What these examples are like together, as plain values; {} where there are too few to speak of them all."""
