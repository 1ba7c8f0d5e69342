"""MMS's adapters for single languages (Pratap et al. 2023): a small network behind each layer of wav2vec 2.0."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from graftwork.core.errors import BackboneError


class LanguageAdapter(nn.Module):
    """Added to a layer's output. Names are those of transformers' checkpoints."""

    def __init__(self, hidden: int, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden)
        self.linear_1 = nn.Linear(hidden, width)
        self.linear_2 = nn.Linear(width, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, frames, hidden) to the same."""
        found: Tensor = self.linear_2(torch.relu(self.linear_1(self.norm(x))))
        return found


def language_files(language: str) -> tuple[str, str]:
    """What the file of a language's adapters may be called."""
    return f"adapter.{language}.safetensors", f"adapter.{language}.bin"


def language_file(folder: Path, language: str | None, source: str) -> Path | None:
    """The file of a language's adapters; None where nobody names one and the weights hold the only ones there are.

    Raises BackboneError for a language that is not there, and where one of several has to be named.
    """
    known = sorted({file.name.split(".")[1] for file in folder.glob("adapter.*.*")})
    if language is None:
        if not known:
            return None
        raise BackboneError(f"{source}: has adapters for single languages: name one with --language (here: "
                            f"{', '.join(known)})")  # fmt: skip
    found = next((folder / name for name in language_files(language) if (folder / name).is_file()), None)
    if found is None:
        there = f"found {', '.join(known)}" if known else "found none"
        raise BackboneError(f"{source}: expected {' or '.join(language_files(language))} in {folder}, {there}; "
                            "languages are named by three letters, as eng")  # fmt: skip
    return found


def with_language(tensors: Mapping[str, Tensor], adapters: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Translated tensors of a network with those of a language's adapters in place of its own.

    Raises BackboneError where the adapters hold other tensors than the network's.
    """
    extra = sorted(adapters.keys() - tensors.keys())
    if extra or not adapters:
        raise BackboneError(f"{source}: adapters of another network, found {extra[0] if extra else 'no tensors'}")
    return {**tensors, **adapters}
