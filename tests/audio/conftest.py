"""Tiny networks with the published models' geometry (400 samples, hop 320), and clips under a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from graftwork.audio import new_backbone
from graftwork.core.model.backbone import Backbone

TINY: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 16,
    # 16 channels a group: with fewer, and a kernel of even length, bfloat16 on CPUs with AMX gives wrong numbers (torch
    # 2.14 and its oneDNN, measured against float32; no published network has so few).
    "num_conv_pos_embedding_groups": 2,
}
BASE = {**TINY, "feat_extract_norm": "group", "do_stable_layer_norm": False, "conv_bias": False}
LARGE = {**TINY, "feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}

CONFIGS = {
    "wav2vec2 group norm": {**BASE, "model_type": "wav2vec2"},
    "wav2vec2 layer norm": {**LARGE, "model_type": "wav2vec2"},
    "hubert group norm": {**BASE, "model_type": "hubert"},
    "hubert layer norm": {**LARGE, "model_type": "hubert"},
    "wavlm group norm": {**BASE, "model_type": "wavlm"},
    "wavlm layer norm": {**LARGE, "model_type": "wavlm"},
}


# Networks this small lose ten times their time to threads that wait for each other on a busy machine.
torch.set_num_threads(1)


@pytest.fixture(params=CONFIGS)
def config(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Each family and normalisation in turn."""
    return CONFIGS[request.param]


@pytest.fixture
def backbone(config: dict[str, Any]) -> Backbone:
    return with_lively_norms(config)


@pytest.fixture
def base_backbone() -> Backbone:
    return with_lively_norms(CONFIGS["wav2vec2 group norm"])


def with_lively_norms(config: dict[str, Any], **options: Any) -> Backbone:
    """A network with random weights, also in the norms and biases, where a mistake would else not show."""
    torch.manual_seed(0)
    made = new_backbone(config, **options)
    with torch.no_grad():
        for name, parameter in made.network.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.1)
            elif "norm" in name and parameter.ndim == 1:
                parameter.normal_(mean=1.0, std=0.2)
            elif "gru_rel_pos" in name or "rel_attn" in name:
                parameter.normal_(mean=0.5, std=0.5)
            elif ".layers." in name:
                parameter.normal_(std=0.2)
    return made


@pytest.fixture
def clips() -> list[torch.Tensor]:
    """Full, 75, 50 and 25 % of half a second at 16 kHz."""
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(length, generator=generator) for length in (8000, 6000, 4000, 2000)]


@pytest.fixture
def write_sound(tmp_path: Path) -> Callable[..., Path]:
    """Writes samples (frames,) or (frames, channels) with soundfile and returns the path."""
    import soundfile

    def write(name: str, samples: np.ndarray, rate_hz: int = 16000, **options: Any) -> Path:
        path = tmp_path / name
        soundfile.write(path, samples, rate_hz, **options)
        return path

    return write


def tone(seconds: float, rate_hz: int = 16000, hz: float = 440.0) -> np.ndarray:
    """A sine of amplitude one half, float32."""
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    return (0.5 * np.sin(2 * np.pi * hz * time)).astype(np.float32)


def relative_difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float(((found - expected).norm() / expected.norm()).detach())
