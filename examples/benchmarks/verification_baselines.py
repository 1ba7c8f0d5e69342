"""How well do statistics of the spectrum tell speakers apart, with and without their own recording channel?

    python examples/benchmarks/verification_baselines.py speakers/manifest.csv [--backbone hf:FOLDER] [--cohort FOLDER]

All pairs of the manifest's clips are scored by cosine, as recorded and with every clip passed through a random channel
of its own (a smooth equaliser of 6 dB, noise at 15 to 30 dB): means and deviations of 80 log-mel bands, and pooled
features of the backbone with its own and with random weights. The mean of all clips, or of the cohort, is taken away.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torchaudio.transforms import MelSpectrogram

from graftwork.audio import load_backbone, read_manifest
from graftwork.audio.preprocessing.augmentation import add_noise, equalise
from graftwork.audio.preprocessing.contract import normalise_clip
from graftwork.audio.sound.formats import SUFFIXES
from graftwork.audio.verification.evaluation import evaluate_scores
from graftwork.audio.verification.trials import Trials, all_pairs
from graftwork.audio.verification.verifier import Embedder, Vectors, cosine_scores, embed, normalise_scores, unit
from graftwork.core.compute.runtime import seed_everything
from graftwork.core.data.examples import Examples, read_examples
from graftwork.core.data.manifest import Manifest
from graftwork.core.recipe import Recipe


def log_mel(clips: Examples) -> Vectors:
    """Mean and deviation over time of 80 log-mel bands, (clips, 160)."""
    spectrum = MelSpectrogram(16000, n_fft=400, hop_length=160, n_mels=80)
    rows = []
    for row in range(len(clips)):
        bands = (spectrum(clips.tensor(row)) + 1e-6).log()
        rows.append(torch.cat([bands.mean(1), bands.std(1)]).numpy())
    return np.stack(rows)


def through_channels(clips: Examples, seed: int) -> Examples:
    """Every clip through a channel of its own."""
    changed = []
    for row in range(len(clips)):
        generator = np.random.default_rng((seed, row))
        clip = equalise(clips.tensor(row), generator)
        clip = add_noise(clip, generator.uniform(15.0, 30.0), generator)
        changed.append(normalise_clip(clip) if clips.contract.to_json()["normalise"] == "clip" else clip)
    return replace(clips, tensors=tuple(changed))


def report(name: str, vectors: Vectors, others: Vectors | None, trials: Trials) -> None:
    centre = vectors.mean(axis=0) if others is None else others.mean(axis=0)
    own = unit(vectors, centre)
    scores = cosine_scores(own, trials.first, trials.second)
    text = f"{name:<28} EER {evaluate_scores(scores, trials.targets, trials.sides()).eer}"
    if others is not None:
        normed = normalise_scores(scores, own, trials.first, trials.second, unit(others, centre))
        text += f"   AS-norm {evaluate_scores(normed, trials.targets, trials.sides()).eer}"
    print(text, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest")
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--cohort")
    parser.add_argument("--pooling", default="mean+std")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rows = read_manifest(arguments.manifest, target="speaker")
    trials = all_pairs(arguments.manifest, rows.paths, [str(name) for name in rows.targets])
    trained = load_backbone(arguments.backbone, pooling=arguments.pooling)
    seed_everything(arguments.seed)
    untrained = load_backbone(arguments.backbone, weights="random", pooling=arguments.pooling)
    clips, others = read_examples(rows, trained.contract), None
    if arguments.cohort is not None:
        files = sorted(str(path) for path in Path(arguments.cohort).rglob("*") if path.suffix.lower() in SUFFIXES)
        blank = Manifest("", tuple(files), "single-label", "", ("",), np.zeros(len(files), dtype=np.int64))
        others = read_examples(blank, trained.contract)
    for condition in ("as recorded", "random channels"):
        if condition == "random channels":
            clips = through_channels(clips, arguments.seed)
            others = None if others is None else through_channels(others, arguments.seed + 1)
        report(f"log-mel, {condition}", log_mel(clips), None if others is None else log_mel(others), trials)
        for name, backbone in (("random", untrained), ("trained", trained)):
            embedder = Embedder(backbone, lambda vectors: vectors, name, name)
            vectors, against = (None if part is None else embed(embedder, part, Recipe()) for part in (clips, others))
            if vectors is not None:
                report(f"{name}, {condition}", vectors, against, trials)


if __name__ == "__main__":
    main()
