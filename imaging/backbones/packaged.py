"""Small pretrained image networks that lie in the package: `tiny:cnn2d`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from torch import nn

from graftwork.core.errors import BackboneError, SettingsError
from graftwork.core.model.backbone import Backbone
from graftwork.imaging.backbones.timm_stages import timm_stages
from graftwork.imaging.backbones.weights import fit_weights, read_weights
from graftwork.imaging.preprocessing.contract import picture_contract

FOLDER = Path(__file__).with_name("tiny") / "cnn2d"

BLOCKS, CHANNELS = (2, 2, 2, 2), (24, 48, 96, 192)
"""Of the four stages of a ResNet of basic blocks."""

MEAN, STD = (0.4, 0.4, 0.4), (0.28, 0.28, 0.28)
"""Of the input in pretraining: values 0 to 1, less the mean, by the deviation."""

SIZE = 128
"""Pixels along a side, unless the user says otherwise."""

SMALLEST = 32
"""Pixels along a side: the network halves them five times."""


def build_cnn2d(channels: int) -> nn.Module:
    """The network (batch, channels, height, width) -> (batch, 192), random weights from torch's generator."""
    from timm.models.resnet import BasicBlock, ResNet

    network: nn.Module = ResNet(
        BasicBlock,
        BLOCKS,
        channels=CHANNELS,
        stem_type="deep",
        stem_width=CHANNELS[0] // 2,
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
    count = len(MEAN) if channels is None else channels
    side = SIZE if image_size is None else image_size
    contract = picture_contract((side, side), count, intensity, mean=MEAN, std=STD)
    network = build_cnn2d(count)
    if weights != "random":
        file = str(FOLDER / "model.safetensors") if weights is None else weights
        fit_weights(network, read_weights(file), source=f"tiny:{name}: {file}", ignored=(), inputs=("conv1.0.weight",))
    options = {"image_size": image_size, "channels": channels, "intensity": intensity}
    return Backbone(
        id=f"tiny:{name}",
        network=network,
        stages=timm_stages(network, contract.blank().shape)[0],
        contract=contract,
        feature_dim=CHANNELS[-1],
        options={option: value for option, value in options.items() if value is not None},
        weights=weights,
        build=partial(build_cnn2d, count),
    )
