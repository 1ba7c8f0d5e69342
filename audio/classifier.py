"""scikit-learn's estimators of clips: paths in; labels, numbers or features out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    RegressorMixin,
    TransformerMixin,
)

from graftwork.audio.backbones.loading import load_backbone
from graftwork.audio.domain import DOMAIN
from graftwork.core.recipe import Recipe
from graftwork.core.runs import estimator, estimator_state

if TYPE_CHECKING:
    from graftwork.audio.preprocessing.contract import OnOff


class ClipClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """Classifies clips by accent, speaker or any other label by a graft on a pretrained backbone.

    backbone, weights, max_seconds, pooling, window_seconds, window_overlap, trim_silence, language: as
    `graftwork.audio.load_backbone` takes them; of recordings in windows, predictions are the mean of the windows'.
    strategy: what may change. order: grades from the lowest to the highest, where y has grades; None where its classes
    have no order. recipe: how to train, None for the defaults; its seed makes results repeatable, and each of its
    fields is a parameter too, as `recipe__epochs`. val_fraction: share of the rows that chooses the best epoch, for
    strategies that train in epochs.

    y is one column (rows,) of labels, or several (rows, labels) of 0 and 1. After `fit`: `classes_` (sorted labels; 0
    and 1 for each of several) and `adapter_` (a core Adapter, which can be saved). A pickle holds
    what was learnt; the backbone is loaded again.

    >>> clips = audio.read_manifest("clips.csv", target="accent", group="speaker")
    >>> model = audio.ClipClassifier("tiny:wav2vec2")
    >>> model.fit(clips.paths, clips.targets, groups=clips.groups).predict_proba(clips.paths).shape
    (16, 2)
    """

    domain, load_backbone = DOMAIN, staticmethod(load_backbone)

    def __init__(
        self,
        backbone: str = "torchaudio:WAV2VEC2_BASE",
        *,
        strategy: str = "probe",
        weights: str | None = None,
        max_seconds: float | None = None,
        pooling: str | None = None,
        window_seconds: float | None = None,
        window_overlap: float | None = None,
        trim_silence: OnOff | None = None,
        language: str | None = None,
        order: Sequence[Any] | None = None,
        recipe: Recipe | None = None,
        val_fraction: float = 0.2,
    ) -> None:
        self.backbone = backbone
        self.strategy = strategy
        self.weights = weights
        self.max_seconds = max_seconds
        self.pooling = pooling
        self.window_seconds = window_seconds
        self.window_overlap = window_overlap
        self.trim_silence = trim_silence
        self.language = language
        self.order = order
        self.recipe = recipe
        self.val_fraction = val_fraction

    @classmethod
    def from_adapter(cls, folder: str | Path, weights: str | None = None) -> ClipClassifier:
        """The fitted estimator whose adapter lies in that folder; weights: where the backbone's local weights are now.

        Raises AdapterError as `graftwork.audio.load_adapter` does, and for an adapter that predicts no classes.
        """
        return estimator_state.open_classifier(cls, folder, weights)

    fit = estimator.fit_classifier
    predict = estimator.predict_classes
    predict_proba = estimator.predict_proba
    get_params, set_params = estimator_state.get_params, estimator_state.set_params
    __getstate__, __setstate__ = estimator_state.getstate, estimator_state.setstate

    def __sklearn_tags__(self) -> Any:
        return estimator.takes_paths(super().__sklearn_tags__(), multi_label=True)


class ClipRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Predicts a number of clips by a graft on a pretrained backbone.

    Parameters as of `ClipClassifier`. y is one column of finite numbers (rows,). After `fit`: `adapter_`.
    """

    domain, load_backbone = DOMAIN, staticmethod(load_backbone)

    def __init__(
        self,
        backbone: str = "torchaudio:WAV2VEC2_BASE",
        *,
        strategy: str = "probe",
        weights: str | None = None,
        max_seconds: float | None = None,
        pooling: str | None = None,
        window_seconds: float | None = None,
        window_overlap: float | None = None,
        trim_silence: OnOff | None = None,
        language: str | None = None,
        recipe: Recipe | None = None,
        val_fraction: float = 0.2,
    ) -> None:
        self.backbone = backbone
        self.strategy = strategy
        self.weights = weights
        self.max_seconds = max_seconds
        self.pooling = pooling
        self.window_seconds = window_seconds
        self.window_overlap = window_overlap
        self.trim_silence = trim_silence
        self.language = language
        self.recipe = recipe
        self.val_fraction = val_fraction

    @classmethod
    def from_adapter(cls, folder: str | Path, weights: str | None = None) -> ClipRegressor:
        """The fitted estimator whose adapter lies in that folder; weights: where the backbone's local weights are now.

        Raises AdapterError as `graftwork.audio.load_adapter` does, and for an adapter that predicts no number.
        """
        return estimator_state.open_regressor(cls, folder, weights)

    fit = estimator.fit_regressor
    predict = estimator.predict_numbers
    get_params, set_params = estimator_state.get_params, estimator_state.set_params
    __getstate__, __setstate__ = estimator_state.getstate, estimator_state.setstate

    def __sklearn_tags__(self) -> Any:
        return estimator.takes_paths(super().__sklearn_tags__())


class ClipFeatures(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Turns clips into the features of a frozen backbone, for a pipeline of your own.

    stage: the stage whose output is taken, pooled over time as `stages` does it; None for the last, which is what the
    strategy `probe` learns from. recipe: its device, precision, batch size and cache are used, and what was computed
    once is in the cache. The others as of `ClipClassifier`. After `fit`, which only loads the backbone: `backbone_`,
    `stage_`.
    """

    domain, load_backbone = DOMAIN, staticmethod(load_backbone)

    def __init__(
        self,
        backbone: str = "torchaudio:WAV2VEC2_BASE",
        *,
        stage: str | None = None,
        weights: str | None = None,
        max_seconds: float | None = None,
        pooling: str | None = None,
        window_seconds: float | None = None,
        window_overlap: float | None = None,
        trim_silence: OnOff | None = None,
        language: str | None = None,
        recipe: Recipe | None = None,
    ) -> None:
        self.backbone = backbone
        self.stage = stage
        self.weights = weights
        self.max_seconds = max_seconds
        self.pooling = pooling
        self.window_seconds = window_seconds
        self.window_overlap = window_overlap
        self.trim_silence = trim_silence
        self.language = language
        self.recipe = recipe

    fit = estimator.fit_features
    transform = estimator.transform
    get_params, set_params = estimator_state.get_params, estimator_state.set_params
    __getstate__, __setstate__ = estimator_state.getstate, estimator_state.setstate

    def __sklearn_tags__(self) -> Any:
        return estimator.takes_paths(super().__sklearn_tags__())
