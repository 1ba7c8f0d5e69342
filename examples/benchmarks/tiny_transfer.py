"""How `tiny:cnn2d` does beside the same network at random weights, and what both tiny networks cost on one core.

    python examples/benchmarks/tiny_transfer.py scans/manifest.csv few.npz

Scans: a probe in five folds, rows with the same content together. few.npz: MedMNIST's layout; 50 labels of its training
part, evaluated on its test part, three draws. Differences are paired, with 95 % intervals.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from graftwork import audio, core, imaging
from graftwork.core.compute.runtime import seed_everything
from graftwork.core.model.backbone import Backbone
from graftwork.core.training.finetuning import frozen_features
from graftwork.core.types import Features

FEW = 50


def load(weights: str | None, size: int) -> Backbone:
    seed_everything(0)
    return imaging.load_backbone("tiny:cnn2d", weights=weights, image_size=size)


def report(name: str, truth: core.Manifest, predictions: dict[str, np.ndarray]) -> None:
    for which, own in predictions.items():
        metrics = core.evaluate_predictions(truth.task, truth.classes, truth.values, own).metrics
        print(f"{name}, {which}: AUROC {metrics['auroc']}, accuracy {metrics['accuracy']}", flush=True)
    gain = core.compare_predictions(truth.task, truth.values, predictions["pretrained"], predictions["random"])
    print(f"{name}, pretrained beyond random: AUROC {gain['auroc']}, accuracy {gain['accuracy']}", flush=True)


def in_folds(source: str, size: int, count: int = 5) -> None:
    scans = imaging.read_manifest(source, split=None)
    numbers = scans.fold_numbers(count, seed=0)
    predictions = {}
    for which, weights in (("pretrained", None), ("random", "random")):
        backbone = load(weights, size)
        examples = core.read_examples(scans, backbone.contract)
        vectors = frozen_features(backbone, examples, "probe", core.Recipe())
        predictions[which] = np.zeros((len(scans), len(scans.classes)))
        for fold in range(count):
            run = core.finetune(backbone, vectors.subset(np.flatnonzero(numbers != fold)), strategy="probe")
            outside = np.flatnonzero(numbers == fold)
            predictions[which][outside] = core.predict_examples(run.adapter, vectors.subset(outside))
    report(f"{source}, {size} px, {count} folds", scans, predictions)


def with_few(source: str, size: int, draws: int = 3) -> None:
    train, _, test = imaging.read_manifest(source).split()
    for draw in range(draws):
        chosen = train.subset(np.sort(np.random.default_rng(draw).permutation(len(train))[:FEW]))
        predictions = {}
        for which, weights in (("pretrained", None), ("random", "random")):
            backbone = load(weights, size)
            run = core.finetune(backbone, chosen, strategy="probe")
            predictions[which] = core.predict_examples(run.adapter, core.read_examples(test, backbone.contract))
        report(f"{source}, {FEW} labels, draw {draw}", test, predictions)


def cost(backbone: Backbone, example: torch.Tensor, unit: float, what: str) -> None:
    features = backbone.contract.collate([example] * 8)
    with torch.inference_mode():
        backbone.run(features)
        began = time.perf_counter()
        for _ in range(5):
            backbone.run(Features(features.values, features.lengths))
    print(f"{backbone.id}: {(time.perf_counter() - began) / 40 / unit * 1000:.1f} ms {what}, one core", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scans")
    parser.add_argument("few")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for size in (64, 224):
        cost(imaging.load_backbone("tiny:cnn2d", image_size=size), torch.zeros(3, size, size), 1, f"a {size} px image")
    cost(audio.load_backbone("tiny:wav2vec2"), torch.randn(64000), 4, "a second of sound")
    in_folds(arguments.scans, 128)
    with_few(arguments.few, 64)


if __name__ == "__main__":
    main()
