"""Medical images: 2D pictures, CT and MR volumes, and the backbones for them. Names are loaded when first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graftwork.imaging.augmentation import augment
    from graftwork.imaging.backbones import list_backbones, load_backbone
    from graftwork.imaging.classifier import ImageClassifier, ImageFeatures, ImageRegressor
    from graftwork.imaging.contract import ImageContract
    from graftwork.imaging.custom import backbone_from_module
    from graftwork.imaging.domain import DOMAIN
    from graftwork.imaging.manifest import load_adapter, read_manifest
    from graftwork.imaging.mask_contract import MaskContract
    from graftwork.imaging.saliency import Saliency, explain
    from graftwork.imaging.scan import SUFFIXES, Scan
    from graftwork.imaging.scan_files import read_scan

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
    "ImageContract": "contract",
    "MaskContract": "mask_contract",
    "Saliency": "saliency",
    "Scan": "scan",
    "augment": "augmentation",
    "backbone_from_module": "custom",
    "explain": "saliency",
    "list_backbones": "backbones",
    "load_backbone": "backbones",
    "read_scan": "scan_files",
}
"""Where each public name lives: torch alone takes seconds, and asking for help should not."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
