"""A speech network with its stages up to frames, before it is decided how these become one vector a clip."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from graftwork.audio.preprocessing.contract import AudioContract
from graftwork.core.model.backbone import Stage


@dataclass(frozen=True, eq=False)
class Encoder:
    """network: for evaluation. stages: from waveforms (batch, time) to frames (batch, frames, hidden). frames: from the
    samples of a clip to the number of its frames. build: the same network with fresh random weights. contract: how its
    input is read. layers: how many of the last stages are layers of the Transformer. head: what the checkpoint has
    beside the network and was trained on classes or speakers. config: of the checkpoint."""

    network: nn.Module
    stages: tuple[Stage, ...]
    hidden: int
    frames: Callable[[int], int]
    build: Callable[[], nn.Module]
    contract: AudioContract
    layers: int
    head: Mapping[str, Tensor] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
