"""How much memory clips take in a network of the wav2vec 2.0 family, by its shape."""

from __future__ import annotations

from graftwork.audio.backbones.architecture import Architecture
from graftwork.audio.sound.memory import MemoryNeed

_FLOAT_BYTES = 4
_COPIES_OF_CONVOLUTION = 3
"""A convolution's input, output and what the activation makes of it are there at once; the first one is the largest."""
_COPIES_OF_SCORES = 2
"""WavLM's bias of every pair of frames, and the scores with it; other attention keeps none on the whole."""


def memory_need(architecture: Architecture) -> MemoryNeed:
    """What clips take in a network of this shape."""
    channels, _, stride = architecture.cnn_layers[0]
    stride_of_all = 1
    for _, _, own in architecture.cnn_layers:
        stride_of_all *= own
    pairs = _COPIES_OF_SCORES * architecture.heads if architecture.family == "wavlm" else 0
    return MemoryNeed(_COPIES_OF_CONVOLUTION * channels / stride * _FLOAT_BYTES, pairs * _FLOAT_BYTES, stride_of_all)
