"""Speech: clips, and the wav2vec 2.0 family of backbones. Names are loaded when first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from graftwork.audio.augmentation import augment
    from graftwork.audio.backbones import list_backbones, load_backbone, new_backbone, save_backbone
    from graftwork.audio.classifier import ClipClassifier, ClipFeatures, ClipRegressor
    from graftwork.audio.contract import AudioContract
    from graftwork.audio.domain import DOMAIN
    from graftwork.audio.formats import SUFFIXES
    from graftwork.audio.manifest import load_adapter, read_manifest
    from graftwork.audio.pretraining import Pretraining, pretrain
    from graftwork.audio.recogniser import transcribe
    from graftwork.audio.scoring import evaluate_scores
    from graftwork.audio.trials import all_pairs, read_trials
    from graftwork.audio.verifier import embed, open_embedder
    from graftwork.audio.waveform import read_waveform

__all__ = [
    "DOMAIN",
    "SUFFIXES",
    "AudioContract",
    "ClipClassifier",
    "ClipFeatures",
    "ClipRegressor",
    "Pretraining",
    "all_pairs",
    "augment",
    "embed",
    "evaluate_scores",
    "list_backbones",
    "load_adapter",
    "load_backbone",
    "new_backbone",
    "open_embedder",
    "pretrain",
    "read_manifest",
    "read_trials",
    "read_waveform",
    "save_backbone",
    "transcribe",
]

_HOMES = {
    "ClipClassifier": "classifier",
    "ClipFeatures": "classifier",
    "ClipRegressor": "classifier",
    "Pretraining": "pretraining",
    "pretrain": "pretraining",
    "evaluate_scores": "scoring",
    "all_pairs": "trials",
    "read_trials": "trials",
    "open_embedder": "verifier",
    "embed": "verifier",
    "transcribe": "recogniser",
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
