"""Does pretraining help recognition? Spoken digits as words, learnt from some speakers and evaluated on two others.

    python examples/benchmarks/digits_as_words.py fsdd/manifest.csv --backbone hf:FOLDER [--epochs 15] [--per-digit 10]

The manifest has columns path, speaker and digit. The last two speakers, in the order of their names, are the test; the
same network learns from its weights (`full`) and from random ones (`scratch`), with the same recipe and seed. The
interval of the difference is a paired bootstrap over clips, because two speakers are too few to resample.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np

from graftwork.audio import load_backbone, read_manifest
from graftwork.core import Recipe, finetune
from graftwork.core.data.examples import read_examples
from graftwork.core.data.manifest import Manifest
from graftwork.core.evaluation.evaluation import compare_predictions, evaluate_predictions
from graftwork.core.inference.predict import predict_examples
from graftwork.core.tasks.transcripts import encode, vocabulary

WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def words(path: str, per_digit: int) -> tuple[Manifest, Manifest]:
    """Training and test part: the first `per_digit` clips of every speaker and digit."""
    digits = read_manifest(path, target="digit", group="speaker", split=None)
    seen: dict[tuple[str, str], int] = {}
    kept = []
    for row, key in enumerate(zip(digits.groups or (), map(str, digits.targets), strict=True)):
        seen[key] = seen.get(key, 0) + 1
        if seen[key] <= per_digit:
            kept.append(row)
    digits = digits.subset(kept)
    texts = [WORDS[int(digit)] for digit in digits.targets]
    classes = vocabulary(texts)
    rows = replace(digits, task="text", target="text", classes=classes, values=encode(texts, classes))
    speakers = np.array(rows.groups)
    held_out = np.isin(speakers, sorted(set(speakers))[-2:])
    return rows.subset(~held_out), rows.subset(held_out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest")
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--per-digit", type=int, default=10)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    train, test = words(arguments.manifest, arguments.per_digit)
    backbone = load_backbone(arguments.backbone, pooling="none")
    recipe = Recipe(epochs=arguments.epochs, learning_rate=arguments.learning_rate, seed=arguments.seed,
                    patience=arguments.epochs)  # fmt: skip
    learnt_from, judged_on = (read_examples(part, backbone.contract) for part in (train, test))
    print(f"{len(train)} clips of {len(set(train.groups or ()))} speakers, evaluated on {len(test)} of "
          f"{len(set(test.groups or ()))} others")  # fmt: skip
    found = {}
    for strategy in ("scratch", "full"):
        # All tensors learn at the head's rate where they begin at random, at a tenth of it else.
        rate = recipe.learning_rate if strategy == "scratch" else 5 * recipe.learning_rate
        run = finetune(backbone, learnt_from, strategy=strategy, recipe=replace(recipe, learning_rate=rate))
        found[strategy] = predict_examples(run.adapter, judged_on)
        result = evaluate_predictions("text", test.classes, test.values, found[strategy])
        print(f"{strategy:<8} WER {result.metrics['wer']}  CER {result.metrics['cer']}  "
              f"train loss {run.history[-1]['train_loss']:.3f}", flush=True)  # fmt: skip
    difference = compare_predictions("text", test.values, found["full"], found["scratch"], classes=test.classes)
    print(f"full - scratch: WER {difference['wer']}")


if __name__ == "__main__":
    main()
