"""What a probe reads off the last stage, all stages, and those that cross-validation on its training rows chooses.

    python examples/benchmarks/layers.py DATA --weights mobilenetv2_100.safetensors --sets emodb fsdd-digit

DATA holds emodb, fsdd, librispeech10, brain_mri and pneumoniamnist, each with its manifest. Five folds, with speakers
apart where speakers are not what is learnt; for clips, mean and deviation of 20 MFCC under the same solver stand
beside. The frozen pass, which all rows of a table share, is timed apart from what is solved on its vectors.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from graftwork import audio, core, imaging
from graftwork.core.runs.probes import cross_validated_probe

SETS = {
    "emodb": ("emodb", "emotion", "speaker"),
    "fsdd-digit": ("fsdd", "digit", "speaker"),
    "fsdd-accent": ("fsdd", "accent", "speaker"),
    "librispeech10": ("librispeech10", "speaker", None),
    "brain_mri": ("brain_mri", "label", None),
    "pneumoniamnist": ("pneumoniamnist/pneumoniamnist.npz", None, None),
}
"""Folder, target and group of every set."""

FOLDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--weights", default=None, help="of timm:mobilenetv2_100")
    parser.add_argument("--clips", default="tiny:wav2vec2", help="the backbone for clips")
    parser.add_argument("--strategy", default="probe")
    parser.add_argument("--features", nargs="+", default=["last", "all", "auto"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--rows", type=int, default=500, help="of pneumoniamnist")
    parser.add_argument("--every", type=int, default=3, help="takes every so many clips of fsdd")
    chosen = parser.parse_args()
    logging.getLogger("graftwork.core.training.feature_choice").setLevel(logging.INFO)
    logging.basicConfig(format="    %(message)s", level=logging.WARNING)
    for name in chosen.sets:
        manifest = rows_of(chosen, name)
        for label, backbone in backbones_of(chosen, name):
            with tempfile.TemporaryDirectory() as cache:
                compare(f"{name}, {label}", backbone, manifest, chosen, cache)
        if "audio" in label:
            by_mfcc(name, backbones_of(chosen, name)[0][1], manifest, chosen.seeds)


def rows_of(chosen: argparse.Namespace, name: str) -> core.Manifest:
    """The manifest without its split; of pneumoniamnist the first training rows."""
    place, target, group = SETS[name]
    if target is None:
        manifest = core.read_manifest(chosen.data / place)
        return manifest.subset(np.flatnonzero(np.array(manifest.parts) == "train")[: chosen.rows])
    manifest = core.read_manifest(chosen.data / place / "manifest.csv", target=target, group=group, split=None)
    return manifest.subset(np.arange(0, len(manifest), chosen.every)) if place == "fsdd" else manifest


def backbones_of(chosen: argparse.Namespace, name: str) -> list[tuple[str, core.Backbone]]:
    """By what is pooled: clips have two."""
    if name in ("brain_mri", "pneumoniamnist"):
        size = 192 if name == "brain_mri" else 96
        return [("image", imaging.load_backbone("timm:mobilenetv2_100", weights=chosen.weights, image_size=size))]
    poolings = ("mean", "mean+std")
    return [(f"audio {pooling}", audio.load_backbone(chosen.clips, pooling=pooling)) for pooling in poolings]


def compare(
    title: str, backbone: core.Backbone, manifest: core.Manifest, chosen: argparse.Namespace, cache: str
) -> None:
    """One line for all that `features` names and every seed; other poolings of the last stage are read off it alone."""
    examples = core.read_examples(manifest, backbone.contract)
    for features in chosen.features if not title.endswith("std") else ["last"]:
        for seed in chosen.seeds:
            recipe = core.Recipe(features=features, seed=seed, cache=cache)
            began = time.perf_counter()
            ready = core.frozen_features(backbone, examples, chosen.strategy, recipe)
            between = time.perf_counter()
            found = core.cross_validate(backbone, ready, strategy=chosen.strategy, folds=FOLDS, recipe=recipe,
                                        random_split="off")  # fmt: skip
            ended = time.perf_counter()
            print(f"{title}: {features:5} seed {seed}: {told(found.evaluation)}; pass {between - began:.1f} s, solved "
                  f"{ended - between:.1f} s", flush=True)  # fmt: skip


def by_mfcc(name: str, backbone: core.Backbone, manifest: core.Manifest, seeds: list[int]) -> None:
    """The same solver on mean and deviation over time of 20 MFCC."""
    from torchaudio.transforms import MFCC

    measure = MFCC(backbone.contract.sample_rate_hz, n_mfcc=20,
                   melkwargs={"n_fft": 400, "hop_length": 160, "n_mels": 40})  # fmt: skip
    coefficients = [measure(backbone.contract.read(example)) for example in manifest.examples]
    vectors = torch.stack([torch.cat([one.mean(1), one.std(1)]) for one in coefficients]).numpy()
    for seed in seeds:
        folds = manifest.fold_numbers(FOLDS, seed)
        began = time.perf_counter()
        found = cross_validated_probe(vectors, manifest, folds, core.Recipe(seed=seed))
        seconds = time.perf_counter() - began
        print(f"{name}, MFCC mean+std seed {seed}: {told(found)}; solved {seconds:.1f} s", flush=True)


def told(evaluation: core.Evaluation) -> str:
    return f"AUROC {evaluation.metrics['auroc']}, accuracy {evaluation.metrics['accuracy']}"


if __name__ == "__main__":
    main()
