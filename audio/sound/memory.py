"""How much memory a clip takes in a network, so that one that does not fit is named before memory is gone."""

from __future__ import annotations

from dataclasses import dataclass

from graftwork.core.compute.host_memory import available_bytes
from graftwork.core.errors import ContractError

_ASKED_FROM = 10_000_000
"""Bytes below which nobody is asked how much is free."""


@dataclass(frozen=True)
class MemoryNeed:
    """bytes_per_sample: of the convolutions. bytes_per_pair: of frames, of attention. samples_per_frame: stride."""

    bytes_per_sample: float
    bytes_per_pair: float
    samples_per_frame: int

    def of(self, samples: int) -> float:
        """Bytes that one clip takes at least, without what learning keeps."""
        frames = samples / self.samples_per_frame
        return max(self.bytes_per_sample * samples, self.bytes_per_pair * frames**2)


def refuse_too_long(path: object, seconds: float, needed_bytes: float) -> None:
    """Raises ContractError, with what to do, for a clip that needs more memory than the machine has."""
    if needed_bytes < _ASKED_FROM:
        return
    free = available_bytes()
    if needed_bytes > free:
        free = max(free, _memory_of_devices())
    if needed_bytes > free:
        raise ContractError(
            f"{path}: has {seconds:.0f} s, which need {needed_bytes / 1e9:.1f} GB of memory at once, and "
            f"{free / 1e9:.1f} GB are free: crop clips with --max-seconds, or cut them with --window-seconds"
        )


def _memory_of_devices() -> int:
    import torch

    if not torch.cuda.is_available():
        return 0
    return max(torch.cuda.get_device_properties(place).total_memory for place in range(torch.cuda.device_count()))
