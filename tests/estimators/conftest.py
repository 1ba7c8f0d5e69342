"""Tiny generated pictures and clips that show what their y says, and estimators on tiny random backbones."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from torch import nn

from graftwork import audio, core, imaging

SMALL = {
    "model_type": "wav2vec2", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 16, "conv_dim": [8, 8], "conv_kernel": [40, 10], "conv_stride": [40, 8],
    "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A domain with its estimators and files.

    options: that every estimator of it is made with. levels (rows,): 0, 1 or 2, which files show plainly. groups: three
    rows each.
    """

    domain: ModuleType
    options: dict[str, Any]
    paths: list[str]
    levels: "np.ndarray[Any, Any]"

    @property
    def groups(self) -> list[int]:
        return [number // 3 for number in range(len(self.paths))]

    def make(self, kind: str, **options: Any) -> Any:
        """The domain's estimator of a kind: Classifier, Regressor or Features."""
        name = ("Image" if self.domain is imaging else "Clip") + kind
        return getattr(self.domain, name)(**self.options | options)


def draw(path: Path, level: float, generator: np.random.Generator) -> str:
    """A picture with a slope, or a clip with a tone, that grows with the level."""
    if path.suffix == ".png":
        pixels = generator.integers(0, 60, (32, 32)) + level * np.arange(32) * 3
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    else:
        sound = level * np.sin(np.arange(4000) * 0.35) + generator.normal(0, 0.1, 4000)
        soundfile.write(path, 0.2 * sound, 16000)
    return str(path)


@pytest.fixture(params=["imaging", "audio"])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    """24 files, levels 0, 1, 2 in turn."""
    generator = np.random.default_rng(0)
    levels = np.arange(24) % 3
    ending = "png" if request.param == "imaging" else "wav"
    paths = [draw(tmp_path / f"{number}.{ending}", level, generator) for number, level in enumerate(levels)]
    recipe = core.Recipe(epochs=1, batch_size=8, device="cpu", cache=str(tmp_path / "cache"))
    options: dict[str, Any] = {"recipe": recipe}
    if request.param == "imaging":
        options |= {"backbone": "timm:test_resnet", "weights": "random", "image_size": 32}
        return Case(imaging, options, paths, levels)
    torch.manual_seed(0)
    options["backbone"] = audio.save_backbone(audio.new_backbone(SMALL), tmp_path / "backbone")
    return Case(audio, options, paths, levels)


class RowsRun:
    """How many rows of files have gone through the first layer of a network."""

    def __init__(self) -> None:
        # A single row is a blank, by which widths are known, or noise, by which folding is checked.
        self.count, self.least = 0, 2

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        first = isinstance(module, nn.Conv2d | nn.Conv1d) and module.in_channels in (1, 3)
        if first and len(args[0]) >= self.least:
            self.count += len(args[0])

    def clear_after(self) -> int:
        """The rows since the last call."""
        count, self.count = self.count, 0
        return count


@pytest.fixture
def rows_run() -> Iterator[RowsRun]:
    counter = RowsRun()
    handle = nn.modules.module.register_module_forward_hook(counter)
    yield counter
    handle.remove()
