"""Medical images: 2D images, CT and MR volumes, and the backbones for them. Names are loaded when first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graftwork.imaging.backbones.custom import backbone_from_module
    from graftwork.imaging.backbones.loading import list_backbones, load_backbone
    from graftwork.imaging.classifier import ImageClassifier, ImageFeatures, ImageRegressor
    from graftwork.imaging.domain import DOMAIN
    from graftwork.imaging.explanation.saliency import Saliency, explain
    from graftwork.imaging.formats.scan_files import read_scan
    from graftwork.imaging.manifest import load_adapter, read_manifest
    from graftwork.imaging.preprocessing.augmentation import augment
    from graftwork.imaging.preprocessing.contract import ImageContract
    from graftwork.imaging.scan import SUFFIXES, Scan
    from graftwork.imaging.segmentation.mask_contract import MaskContract

__all__ = [
    "DOMAIN",
    "SUFFIXES",
    "ImageClassifier",
    "ImageContract",
    "ImageFeatures",
    "ImageRegressor",
    "MaskContract",
    "Saliency",
    "Scan",
    "augment",
    "backbone_from_module",
    "explain",
    "list_backbones",
    "load_adapter",
    "load_backbone",
    "read_manifest",
    "read_scan",
]

_HOMES = {
    "ImageClassifier": "classifier",
    "ImageFeatures": "classifier",
    "ImageRegressor": "classifier",
    "DOMAIN": "domain",
    "load_adapter": "manifest",
    "read_manifest": "manifest",
    "SUFFIXES": "scan",
    "ImageContract": "preprocessing.contract",
    "MaskContract": "segmentation.mask_contract",
    "Saliency": "explanation.saliency",
    "Scan": "scan",
    "augment": "preprocessing.augmentation",
    "backbone_from_module": "backbones.custom",
    "explain": "explanation.saliency",
    "list_backbones": "backbones.loading",
    "load_backbone": "backbones.loading",
    "read_scan": "formats.scan_files",
}
"""Where each public name lives: torch alone takes seconds, and asking for help should not."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
