"""Small pretrained image networks that lie in the package: `tiny:cnn2d`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from graftwork.core.backbone import Backbone
from graftwork.core.errors import BackboneError, SettingsError
from graftwork.imaging.channels import adapt_statistics
from graftwork.imaging.contract import ImageContract
from graftwork.imaging.timm_stages import timm_stages
from graftwork.imaging.weights import fit_weights, read_weights

FOLDER = Path(__file__).with_name("tiny") / "cnn2d"

CONFIG: dict[str, Any] = {
    "architecture": "ResNet of basic blocks",
    "layers": [2, 2, 2, 2],
    "channels": [24, 48, 96, 192],
    "input_size": 128,
    "mean": [0.4, 0.4, 0.4],
    "std": [0.28, 0.28, 0.28],
}
"""The network's shape, and the input it was pretrained on: values 0 to 1, less the mean, by the deviation."""

SMALLEST = 32
"""Pixels along a side: the network halves them five times."""


def build_cnn2d(channels: int) -> nn.Module:
    """The network (batch, channels, height, width) -> (batch, 192), random weights from torch's generator."""
    from timm.models.resnet import BasicBlock, ResNet

    network: nn.Module = ResNet(
        BasicBlock,
        CONFIG["layers"],
        channels=CONFIG["channels"],
        stem_type="deep",
        stem_width=CONFIG["channels"][0] // 2,
        in_chans=channels,
        num_classes=0,
    )
    return network.eval()


def load_tiny(
    name: str, *, weights: str | None, image_size: int | None, channels: int | None, intensity: str | None
) -> Backbone:
    """The network of this name with the package's own weights, a file's, or random ones.

    image_size: pixels along each side, at least 32; 128 by default. Raises BackboneError for an unknown name or
    weights that do not fit, SettingsError for sizes that cannot be.
    """
    if name != "cnn2d":
        raise BackboneError(f"tiny:{name} is unknown; in the package: tiny:cnn2d")
    if image_size is not None and image_size < SMALLEST:
        raise SettingsError(f"tiny:{name}: images need at least {SMALLEST} pixels along each side, found {image_size}")
    count = 3 if channels is None else channels
    mean, std = CONFIG["mean"], CONFIG["std"]
    if intensity is not None and intensity.strip().lower() == "zscore":
        mean, std = (0.0,) * 3, (1.0,) * 3  # a z-score is the network's scale already
    size = image_size or CONFIG["input_size"]
    contract = ImageContract(
        spatial_dims=2,
        channels=count,
        size=(size, size),
        intensity=intensity or "auto",
        mean=adapt_statistics(mean, max(count, 1)),
        std=adapt_statistics(std, max(count, 1)),
    )
    network = build_cnn2d(count)
    if weights != "random":
        file = str(FOLDER / "model.safetensors") if weights is None else weights
        fit_weights(network, read_weights(file), source=f"tiny:{name}: {file}", ignored=(), inputs=("conv1.0.weight",))
    options = {"image_size": image_size, "channels": channels, "intensity": intensity}
    return Backbone(
        id=f"tiny:{name}",
        network=network.eval(),
        stages=timm_stages(network),
        contract=contract,
        feature_dim=CONFIG["channels"][-1],
        options={option: value for option, value in options.items() if value is not None},
        weights=weights,
        build=partial(build_cnn2d, count),
    )
