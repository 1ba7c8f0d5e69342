"""scikit-learn's estimators of scans: paths in; labels, numbers or features out."""

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

from graftwork.core.recipe import Recipe
from graftwork.core.runs import estimator, estimator_state
from graftwork.imaging.backbones.loading import load_backbone
from graftwork.imaging.domain import DOMAIN

if TYPE_CHECKING:
    from graftwork.imaging.backbones.slicewise import SlicePooling


class ImageClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """Classifies images and volumes by a graft on a pretrained backbone.

    backbone, weights, image_size, channels, intensity, spacing_mm, slice_pooling: as `graftwork.imaging.load_backbone`
    takes them. strategy: what may change. order: grades from the lowest to the highest, where y has grades; None where
    its classes have no order. recipe: how to train, None for the defaults; its seed makes results repeatable, and each
    of its fields is a parameter too, as `recipe__epochs`. val_fraction: share of the rows that chooses the best epoch,
    for strategies that train in epochs.

    y is one column (rows,) of labels, or several (rows, labels) of 0 and 1. After `fit`: `classes_` (sorted labels; 0
    and 1 for each of several) and `adapter_` (a core Adapter, which can be saved). A pickle holds
    what was learnt; the backbone is loaded again.

    >>> scans = imaging.read_manifest("scans.csv")
    >>> model = imaging.ImageClassifier("tiny:cnn2d", image_size=32)
    >>> list(model.fit(scans.paths, scans.targets, groups=scans.groups).predict(scans.paths[:2]))
    ['healthy', 'tumour']
    """

    domain, load_backbone = DOMAIN, staticmethod(load_backbone)

    def __init__(
        self,
        backbone: str = "timm:mobilenetv2_100",
        *,
        strategy: str = "probe",
        weights: str | None = None,
        image_size: int | None = None,
        channels: int | None = None,
        intensity: str | None = None,
        spacing_mm: float | None = None,
        slice_pooling: SlicePooling | None = None,
        order: Sequence[Any] | None = None,
        recipe: Recipe | None = None,
        val_fraction: float = 0.2,
    ) -> None:
        self.backbone = backbone
        self.strategy = strategy
        self.weights = weights
        self.image_size = image_size
        self.channels = channels
        self.intensity = intensity
        self.spacing_mm = spacing_mm
        self.slice_pooling = slice_pooling
        self.order = order
        self.recipe = recipe
        self.val_fraction = val_fraction

    @classmethod
    def from_adapter(cls, folder: str | Path, weights: str | None = None) -> ImageClassifier:
        """The fitted estimator whose adapter lies in that folder; weights: where the backbone's local weights are now.

        Raises AdapterError as `graftwork.imaging.load_adapter` does, and for an adapter that predicts no classes.
        """
        return estimator_state.open_classifier(cls, folder, weights)

    fit = estimator.fit_classifier
    predict = estimator.predict_classes
    predict_proba = estimator.predict_proba
    get_params, set_params = estimator_state.get_params, estimator_state.set_params
    __getstate__, __setstate__ = estimator_state.getstate, estimator_state.setstate

    def __sklearn_tags__(self) -> Any:
        return estimator.takes_paths(super().__sklearn_tags__(), multi_label=True)


class ImageRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Predicts a number from images and volumes by a graft on a pretrained backbone.

    Parameters as of `ImageClassifier`. y is one column of finite numbers (rows,). After `fit`: `adapter_`.
    """

    domain, load_backbone = DOMAIN, staticmethod(load_backbone)

    def __init__(
        self,
        backbone: str = "timm:mobilenetv2_100",
        *,
        strategy: str = "probe",
        weights: str | None = None,
        image_size: int | None = None,
        channels: int | None = None,
        intensity: str | None = None,
        spacing_mm: float | None = None,
        slice_pooling: SlicePooling | None = None,
        recipe: Recipe | None = None,
        val_fraction: float = 0.2,
    ) -> None:
        self.backbone = backbone
        self.strategy = strategy
        self.weights = weights
        self.image_size = image_size
        self.channels = channels
        self.intensity = intensity
        self.spacing_mm = spacing_mm
        self.slice_pooling = slice_pooling
        self.recipe = recipe
        self.val_fraction = val_fraction

    @classmethod
    def from_adapter(cls, folder: str | Path, weights: str | None = None) -> ImageRegressor:
        """The fitted estimator whose adapter lies in that folder; weights: where the backbone's local weights are now.

        Raises AdapterError as `graftwork.imaging.load_adapter` does, and for an adapter that predicts no number.
        """
        return estimator_state.open_regressor(cls, folder, weights)

    fit = estimator.fit_regressor
    predict = estimator.predict_numbers
    get_params, set_params = estimator_state.get_params, estimator_state.set_params
    __getstate__, __setstate__ = estimator_state.getstate, estimator_state.setstate

    def __sklearn_tags__(self) -> Any:
        return estimator.takes_paths(super().__sklearn_tags__())


class ImageFeatures(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Turns images and volumes into the features of a frozen backbone, for a pipeline of your own.

    stage: the stage whose output is taken, pooled over space as `stages` does it; None for the last, which is what the
    strategy `probe` learns from. recipe: its device, precision, batch size and cache are used, and what was computed
    once is in the cache. The others as of `ImageClassifier`. After `fit`, which only loads the backbone:
    `backbone_`, `stage_`.
    """

    domain, load_backbone = DOMAIN, staticmethod(load_backbone)

    def __init__(
        self,
        backbone: str = "timm:mobilenetv2_100",
        *,
        stage: str | None = None,
        weights: str | None = None,
        image_size: int | None = None,
        channels: int | None = None,
        intensity: str | None = None,
        spacing_mm: float | None = None,
        slice_pooling: SlicePooling | None = None,
        recipe: Recipe | None = None,
    ) -> None:
        self.backbone = backbone
        self.stage = stage
        self.weights = weights
        self.image_size = image_size
        self.channels = channels
        self.intensity = intensity
        self.spacing_mm = spacing_mm
        self.slice_pooling = slice_pooling
        self.recipe = recipe

    fit = estimator.fit_features
    transform = estimator.transform
    get_params, set_params = estimator_state.get_params, estimator_state.set_params
    __getstate__, __setstate__ = estimator_state.getstate, estimator_state.setstate

    def __sklearn_tags__(self) -> Any:
        return estimator.takes_paths(super().__sklearn_tags__())
