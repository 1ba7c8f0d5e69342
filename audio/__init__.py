"""Speech: clips, and the wav2vec 2.0 family of backbones. Names are loaded when first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from graftwork.audio.backbones.loading import list_backbones, load_backbone, new_backbone, save_backbone
    from graftwork.audio.classifier import ClipClassifier, ClipFeatures, ClipRegressor
    from graftwork.audio.domain import DOMAIN
    from graftwork.audio.manifest import load_adapter, read_manifest
    from graftwork.audio.preprocessing.augmentation import augment
    from graftwork.audio.preprocessing.contract import AudioContract
    from graftwork.audio.pretraining.loop import Pretraining, pretrain
    from graftwork.audio.recognition.recogniser import transcribe
    from graftwork.audio.sound.formats import SUFFIXES
    from graftwork.audio.sound.waveform import read_waveform
    from graftwork.audio.verification.det import draw_det
    from graftwork.audio.verification.enroll import enroll
    from graftwork.audio.verification.evaluation import evaluate_scores
    from graftwork.audio.verification.identify import identify
    from graftwork.audio.verification.scoring import DetectionCost
    from graftwork.audio.verification.trial_evaluation import trials
    from graftwork.audio.verification.trials import all_pairs, read_trials
    from graftwork.audio.verification.verifier import embed, open_embedder
    from graftwork.audio.verification.verify import verify

__all__ = [
    "DOMAIN",
    "SUFFIXES",
    "AudioContract",
    "ClipClassifier",
    "ClipFeatures",
    "ClipRegressor",
    "DetectionCost",
    "Pretraining",
    "all_pairs",
    "augment",
    "draw_det",
    "embed",
    "enroll",
    "evaluate_scores",
    "identify",
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
    "trials",
    "verify",
]

_HOMES = {
    "ClipClassifier": "classifier",
    "ClipFeatures": "classifier",
    "ClipRegressor": "classifier",
    "Pretraining": "pretraining.loop",
    "pretrain": "pretraining.loop",
    "enroll": "verification.enroll",
    "identify": "verification.identify",
    "trials": "verification.trial_evaluation",
    "verify": "verification.verify",
    "DetectionCost": "verification.scoring",
    "evaluate_scores": "verification.evaluation",
    "all_pairs": "verification.trials",
    "read_trials": "verification.trials",
    "open_embedder": "verification.verifier",
    "draw_det": "verification.det",
    "embed": "verification.verifier",
    "transcribe": "recognition.recogniser",
    "DOMAIN": "domain",
    "load_adapter": "manifest",
    "read_manifest": "manifest",
    "SUFFIXES": "sound.formats",
    "AudioContract": "preprocessing.contract",
    "augment": "preprocessing.augmentation",
    "list_backbones": "backbones.loading",
    "load_backbone": "backbones.loading",
    "new_backbone": "backbones.loading",
    "read_waveform": "sound.waveform",
    "save_backbone": "backbones.loading",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
