"""A scikit-learn classifier of scans: paths in, labels out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from graftwork.core.compute.global_state import undisturbed
from graftwork.core.compute.runtime import seed_everything
from graftwork.core.recipe import Recipe
from graftwork.core.runs.estimator import fit_adapter, predict_paths
from graftwork.imaging.backbones.loading import load_backbone
from graftwork.imaging.formats.content import decoded_digests
from graftwork.imaging.preprocessing.augmentation import augment


class ImageClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """Classifies pictures and volumes by a graft on a pretrained backbone.

    backbone, weights, image_size, channels, intensity: as `graftwork.imaging.load_backbone` takes them.
    strategy: what may change. recipe: how to train, None for the defaults; its seed makes results repeatable.
    val_fraction: share of the rows that chooses the best epoch, for strategies that train in epochs.

    After `fit`: `classes_` (sorted labels), `adapter_` (a core Adapter, which can be saved).
    """

    def __init__(
        self,
        backbone: str = "timm:mobilenetv2_100",
        *,
        strategy: str = "probe",
        weights: str | None = None,
        image_size: int | None = None,
        channels: int | None = None,
        intensity: str | None = None,
        recipe: Recipe | None = None,
        val_fraction: float = 0.2,
    ) -> None:
        self.backbone = backbone
        self.strategy = strategy
        self.weights = weights
        self.image_size = image_size
        self.channels = channels
        self.intensity = intensity
        self.recipe = recipe
        self.val_fraction = val_fraction

    @undisturbed()
    def fit(self, X: Any, y: Any, groups: Sequence[Any] | None = None) -> ImageClassifier:
        """Trains on paths X (rows,) and labels y (rows,); groups (rows,) name the patient, which is never split.

        Raises ValueError for unusable labels, and the errors of `graftwork.core.finetune`.
        """
        recipe = self.recipe or Recipe()
        seed_everything(recipe.seed)  # weights may be asked for at random
        loaded = load_backbone(
            self.backbone,
            weights=self.weights,
            image_size=self.image_size,
            channels=self.channels,
            intensity=self.intensity,
        )
        self.adapter_, self.classes_ = fit_adapter(
            loaded,
            X,
            y,
            groups,
            strategy=self.strategy,
            recipe=recipe,
            val_fraction=self.val_fraction,
            augment=augment,
            digests=decoded_digests,
        )
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Probabilities (rows, classes) for paths X (rows,), columns in the order of `classes_`."""
        check_is_fitted(self)
        return predict_paths(self.adapter_, X, self.recipe or Recipe())

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable label of every path."""
        check_is_fitted(self)
        chosen: NDArray[Any] = self.classes_[self.predict_proba(X).argmax(1)]
        return chosen

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        return tags
