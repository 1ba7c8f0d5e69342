"""Speech: clips, and the wav2vec 2.0 family of backbones. Names are loaded when first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from graftwork.audio.augmentation import augment
    from graftwork.audio.backbones import list_backbones, load_backbone, new_backbone, save_backbone
    from graftwork.audio.classifier import ClipClassifier
    from graftwork.audio.contract import AudioContract
    from graftwork.audio.domain import DOMAIN
    from graftwork.audio.formats import SUFFIXES
    from graftwork.audio.manifest import load_adapter, read_manifest
    from graftwork.audio.waveform import read_waveform

__all__ = [
    "DOMAIN",
    "SUFFIXES",
    "AudioContract",
    "ClipClassifier",
    "augment",
    "list_backbones",
    "load_adapter",
    "load_backbone",
    "new_backbone",
    "read_manifest",
    "read_waveform",
    "save_backbone",
]

_HOMES = {
    "ClipClassifier": "classifier",
    "DOMAIN": "domain",
    "load_adapter": "manifest",
    "read_manifest": "manifest",
    "SUFFIXES": "formats",
    "AudioContract": "contract",
    "augment": "augmentation",
    "list_backbones": "backbones",
    "load_backbone": "backbones",
    "new_backbone": "backbones",
    "read_waveform": "waveform",
    "save_backbone": "backbones",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
