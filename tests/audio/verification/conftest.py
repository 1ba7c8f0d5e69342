"""Speakers who are told by a few samples: an embedder whose vectors are the clips themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor, nn

from graftwork.audio.verification.verifier import Embedder
from graftwork.core.errors import UnreadableError
from graftwork.core.example import Example
from graftwork.core.model.backbone import Backbone, Stage
from graftwork.core.types import Features

DIM = 8


@dataclass(frozen=True)
class SampleContract:
    """The first DIM samples of a file."""

    def read(self, example: Example) -> Tensor:
        try:
            samples, _ = soundfile.read(str(example), dtype="float32")
        except soundfile.LibsndfileError as error:
            raise UnreadableError(f"{example}: cannot be read") from error
        return torch.from_numpy(samples[:DIM])

    def collate(self, examples: Sequence[Tensor]) -> Features:
        return Features(torch.stack(list(examples)))

    def seconds(self, example: Tensor) -> None:
        return None

    def blank(self) -> Tensor:
        return torch.zeros(DIM)

    def to_json(self) -> dict[str, Any]:
        return {}


@pytest.fixture
def embedder() -> Embedder:
    pool = Stage("pool", lambda network, features: Features(features.values), ())
    return Embedder(
        Backbone("samples", nn.Identity(), (pool,), SampleContract(), DIM), lambda x: x, "samples", "0" * 64
    )


@pytest.fixture
def record(tmp_path: Path) -> Callable[..., str]:
    """Writes a clip of a speaker, by number; `noise` moves it away from the speaker's own direction."""

    def record(name: str, speaker: int, noise: float = 0.1, seed: int = 0) -> str:
        samples = 0.01 * np.random.default_rng(99).normal(size=400)
        samples[:DIM] = 0.5 * np.eye(DIM)[speaker] + 0.5 * noise * np.random.default_rng(seed).normal(size=DIM)
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, 16000, subtype="FLOAT")
        return str(path)

    return record


@pytest.fixture
def table(tmp_path: Path, record: Callable[..., str]) -> Path:
    """Five speakers of four clips each."""
    lines = ["path,speaker"]
    for row in range(20):
        record(f"{row}.wav", row // 4, seed=row)
        lines.append(f"{row}.wav,s{row // 4}")
    (tmp_path / "clips.csv").write_text("\n".join(lines))
    return tmp_path / "clips.csv"
