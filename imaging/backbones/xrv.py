"""TorchXRayVision's DenseNets of chest X-rays, `xrv:densenet121`: weights in a file, and the input they expect."""

from __future__ import annotations

from dataclasses import replace

from graftwork.core.errors import BackboneError
from graftwork.core.model.backbone import Backbone
from graftwork.imaging.backbones.timm import load_timm
from graftwork.imaging.preprocessing.contract import picture_contract

MEAN, STD = 0.5, 1 / 2048
"""Of values in [0, 1]: they become [-1024, 1024], as its `normalize` makes them."""

SIZE = 224
"""Pixels along a side, unless the user says otherwise."""


def load_xrv(
    name: str, *, weights: str | None, image_size: int | None, channels: int | None, intensity: str | None
) -> Backbone:
    """The DenseNet-121 of `torchxrayvision.models.DenseNet` (Cohen et al. 2022, arXiv 2111.00595), of one channel; its
    vector is what `features2` gives there. Raises BackboneError for another name, and without a file of weights: its
    own are pickled modules, which are not loaded here, as they could run code.
    """
    if name != "densenet121":
        raise BackboneError(f"xrv:{name} is unknown; known: xrv:densenet121")
    if weights is None:
        raise BackboneError(
            "xrv:densenet121: its published files are pickled modules, which could run code and are not loaded; where "
            "torchxrayvision is installed, save the tensors alone and give them with weights= (--weights FILE):\n  "
            'torch.save(torchxrayvision.models.DenseNet(weights="densenet121-res224-all").state_dict(), "all.pt")'
        )
    count = 1 if channels is None else channels
    side = SIZE if image_size is None else image_size
    network = load_timm(name, weights=weights, image_size=image_size, channels=count, intensity=intensity)
    options = {"image_size": image_size, "channels": channels, "intensity": intensity}
    return replace(
        network,
        id=f"xrv:{name}",
        contract=picture_contract((side, side), count, intensity, mean=(MEAN,), std=(STD,)),
        options={option: value for option, value in options.items() if value is not None},
    )
