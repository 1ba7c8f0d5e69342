"""Imaging as the shared commands see it. Importing this loads no network library."""

from __future__ import annotations

from inspect import Parameter
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from graftwork.core.domain import BackboneEntry, Domain
from graftwork.imaging.export_commands import export_command
from graftwork.imaging.saliency_commands import explain_command
from graftwork.imaging.scan import SUFFIXES

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from graftwork.core.backbone import Backbone, InputContract
    from graftwork.core.watch import Watch
    from graftwork.imaging.contract import ImageContract


def _load_backbone(id: str, *, weights: str | None = None, **options: Any) -> Backbone:
    from graftwork.imaging.backbones import load_backbone

    return load_backbone(id, weights=weights, **options)


def _list_backbones(text: str) -> list[BackboneEntry]:
    from graftwork.imaging.backbones import list_backbones

    return list_backbones(text)


def _augment(example: Tensor, generator: np.random.Generator) -> Tensor:
    from graftwork.imaging.augmentation import augment

    return augment(example, generator)


def _watch(contract: InputContract, seen: dict[str, dict[str, Any]], refuse: bool) -> Watch:
    from graftwork.imaging.seen import ScanWatch

    return ScanWatch(cast("ImageContract", contract), seen, refuse)


IMAGE_SIZE = Annotated[
    int | None,
    typer.Option(
        "--image-size",
        help="Pixels (voxels in 3D) along each side that scans are resized to; by default what the backbone was "
        "trained on. Smaller is faster; vision transformers need a multiple of their patch size.",
    ),
]
CHANNELS = Annotated[
    int | None,
    typer.Option(
        "--channels",
        help="Input channels; by default what the backbone was trained on. Grey scans are repeated for 3 channels; "
        "for other numbers the pretrained first filters are summed or repeated.",
    ),
]
SPACING = Annotated[
    float | None,
    typer.Option(
        "--spacing-mm",
        help="Millimetres between voxels that scans are resampled to, then cut or padded about their centre; by "
        "default they are stretched to the image size, which hides how large things are.",
    ),
]
INTENSITY = Annotated[
    str | None,
    typer.Option(
        "--intensity",
        help="How values are scaled: auto (8/16-bit pictures by their full range, NIfTI, DICOM and float TIFF by "
        "quantiles), range, quantile, quantile:LOW:HIGH in per cent, window:LOW:HIGH (CT, in HU), zscore. "
        "Default: auto; zscore for medicalnet.",
    ),
]

DOMAIN = Domain(
    name="imaging",
    example="scan",
    suffixes=SUFFIXES,
    default_backbone="timm:mobilenetv2_100",
    load_backbone=_load_backbone,
    list_backbones=_list_backbones,
    augment=_augment,
    parameters=(
        Parameter("image_size", Parameter.KEYWORD_ONLY, default=None, annotation=IMAGE_SIZE),
        Parameter("channels", Parameter.KEYWORD_ONLY, default=None, annotation=CHANNELS),
        Parameter("intensity", Parameter.KEYWORD_ONLY, default=None, annotation=INTENSITY),
        Parameter("spacing_mm", Parameter.KEYWORD_ONLY, default=None, annotation=SPACING),
    ),
    watch=_watch,
    verbs=(explain_command, export_command),
)
