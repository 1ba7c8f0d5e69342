"""The image network that lies in the package: these weights, at many sizes, and of use on pictures it never saw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from graftwork import core, imaging
from graftwork.core.compute.runtime import seed_everything
from graftwork.core.data.examples import read_examples
from graftwork.core.errors import BackboneError, SettingsError
from graftwork.core.inference.predict import evaluate_part
from graftwork.core.training.finetuning import frozen_features
from graftwork.core.types import Features
from graftwork.imaging.backbones.packaged import FOLDER

DIGEST = "23e57b2cb4d42d0f091eba3bf99ae759f523f050974a26ec19a8d9a857475dfc"


def test_the_weights_are_the_ones_the_card_speaks_of() -> None:
    backbone = imaging.load_backbone("tiny:cnn2d")
    assert backbone.digest() == DIGEST
    row = next(row for row in imaging.list_backbones() if row.id == "tiny:cnn2d")
    assert (row.here, row.parameters) == ("yes", sum(value.numel() for value in backbone.network.parameters()))


def test_the_package_holds_halved_weights_a_card_and_the_log() -> None:
    with safe_open(FOLDER / "model.safetensors", "pt") as file:
        kinds = {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
    assert kinds == {"F16", "I64"}  # BatchNorm counts its batches in whole numbers
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 4e6
    assert "Generated pictures only" in (FOLDER / "README.md").read_text(encoding="utf-8")
    assert (FOLDER / "history.csv").read_text(encoding="utf-8").startswith("epoch,side,train_loss")


@pytest.mark.parametrize("size", [32, 65, 224])
def test_it_takes_small_and_large_pictures_of_any_channels(size: int) -> None:
    backbone = imaging.load_backbone("tiny:cnn2d", image_size=size, channels=1)
    assert [stage.name for stage in backbone.stages] == ["stem", "layer1", "layer2", "layer3", "layer4", "pool"]
    vectors = backbone.run(Features(torch.zeros(2, 1, size, size)))
    assert vectors.values.shape == (2, backbone.feature_dim) == (2, 192)


def test_grey_is_the_same_by_one_channel_and_by_three() -> None:
    """The first filters of three equal channels are summed for one."""
    three, one = imaging.load_backbone("tiny:cnn2d"), imaging.load_backbone("tiny:cnn2d", channels=1)
    picture = torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    vectors = [backbone.run(Features(picture.expand(-1, count, -1, -1))).values
               for backbone, count in ((three, 3), (one, 1))]  # fmt: skip
    assert (vectors[0] - vectors[1]).abs().max() < 0.01 * vectors[0].std()


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(BackboneError, match="tiny:vit is unknown; in the package: tiny:cnn2d"):
        imaging.load_backbone("tiny:vit")
    with pytest.raises(SettingsError, match="at least 32 pixels along each side, found 31"):
        imaging.load_backbone("tiny:cnn2d", image_size=31)


def test_a_z_score_is_not_scaled_again() -> None:
    contract = imaging.load_backbone("tiny:cnn2d", intensity="zscore").contract.to_json()
    assert (contract["mean"], contract["std"]) == ([0.0] * 3, [1.0] * 3)


def test_it_does_better_than_random_weights_on_real_scans(real_data: Path) -> None:
    scans = imaging.read_manifest(real_data / "brain_mri" / "manifest.csv", split=None)
    folds = scans.fold_numbers(5, seed=0)
    scores = {}
    for weights in (None, "random"):
        seed_everything(0)
        backbone = imaging.load_backbone("tiny:cnn2d", weights=weights, image_size=64)
        vectors = frozen_features(backbone, read_examples(scans, backbone.contract), "probe", core.Recipe())
        predictions = np.zeros((len(scans), 2))
        for fold in range(5):
            run = core.finetune(backbone, vectors.subset(np.flatnonzero(folds != fold)), strategy="probe")
            outside = np.flatnonzero(folds == fold)
            predictions[outside] = core.predict_examples(run.adapter, vectors.subset(outside))
        scores[weights] = evaluate_part("folds", scans, predictions).evaluation.metrics["auroc"].value
    assert scores[None] > scores["random"]
    assert scores[None] > 0.8
