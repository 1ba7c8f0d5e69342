"""Spoken digits of new speakers from ten labelled clips a digit: what does pretraining gain?

    python examples/benchmarks/few_digits.py digits/manifest.csv [--backbone tiny:wav2vec2]

The table has columns path, speaker and digit. The last two speakers, in order of name, are for the test; the labelled
clips are drawn from the others. The head is a logistic regression on standardised vectors, the same for all.
"""

from __future__ import annotations

import argparse

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from verification_baselines import log_mel

from graftwork import core
from graftwork.audio import load_backbone, read_manifest
from graftwork.audio.verification.verifier import Embedder, embed
from graftwork.core.compute.runtime import seed_everything


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest")
    parser.add_argument("--backbone", default="tiny:wav2vec2")
    parser.add_argument("--pooling", default="mean+std")
    parser.add_argument("--draws", type=int, default=5)
    arguments = parser.parse_args()
    clips = read_manifest(arguments.manifest, target="digit", group="speaker", task="single-label", split=None)
    assert clips.groups is not None
    new = np.isin(np.asarray(clips.groups), sorted(set(clips.groups))[-2:])
    trained = load_backbone(arguments.backbone, pooling=arguments.pooling)
    seed_everything(0)
    untrained = load_backbone(arguments.backbone, weights="random", pooling=arguments.pooling)
    examples = core.read_examples(clips, trained.contract)
    vectors = {"log-mel": log_mel(examples)}
    for name, backbone in (("random", untrained), ("trained", trained)):
        vectors[name] = embed(Embedder(backbone, lambda values: values, name, name), examples, core.Recipe())
    print(f"{new.sum()} clips of {len(set(np.asarray(clips.groups)[new]))} new speakers")
    for draw in range(arguments.draws):
        generator = np.random.default_rng(draw)
        rows = np.concatenate([generator.permutation(np.flatnonzero((clips.values == digit) & ~new))[:10]
                               for digit in range(len(clips.classes))])  # fmt: skip
        predicted = {}
        for name, values in vectors.items():
            head = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
            predicted[name] = head.fit(values[rows], clips.values[rows]).predict_proba(values[new])
        truth = clips.values[new]
        shares = "  ".join(f"{name} {(one.argmax(1) == truth).mean():.3f}" for name, one in predicted.items())
        print(f"draw {draw}: accuracy {shares}", flush=True)
        for name in ("random", "log-mel"):
            gain = core.compare_predictions("single-label", truth, predicted["trained"], predicted[name])
            print(f"  more than {name}: {gain['accuracy']}", flush=True)


if __name__ == "__main__":
    main()
