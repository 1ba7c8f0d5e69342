"""Where fine-tuning should begin a linear head: at the solved probe (Kumar et al. 2022, LP-FT), or at random.

    python examples/benchmarks/head_start.py scans.csv --weights mobilenetv2_100.safetensors --image-size 96
    python examples/benchmarks/head_start.py digits.csv --target digit --labels 300

For every seed the same rows, order and random changes with both starts; no early stopping. Prints the validation AUROC
after epochs, the epoch that it chooses, the seconds to its end (solving the head included, on vectors that the cache
has), and the AUROC of the test part, which chooses nothing; means over the seeds, and differences of the starts in
pairs, with the least and the largest. Compare seconds within one run.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from graftwork import audio, core, imaging
from graftwork.audio.preprocessing.augmentation import augment as augment_sound
from graftwork.core.cli.console import print_table
from graftwork.core.evaluation.evaluation import point_metrics
from graftwork.imaging.preprocessing.augmentation import augment as augment_image

STARTS = ("probe", "random")


@dataclass(frozen=True)
class Result:
    """One run. validation: AUROC after each epoch. best_epoch: from 1, 0 for the probe. seconds: to the end of the best
    epoch."""

    labels: int
    strategy: str
    start: str
    seed: int
    validation: tuple[float, ...]
    best_epoch: int
    seconds: float
    test: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest")
    parser.add_argument("--target", default=None)
    parser.add_argument("--domain", choices=("imaging", "audio"), default="imaging")
    parser.add_argument("--backbone", default=None, help="timm:mobilenetv2_100, or tiny:wav2vec2 for audio")
    parser.add_argument("--weights", default=None)
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--labels", type=int, nargs="+", default=[0], help="training rows to draw; 0 for all")
    parser.add_argument("--validation-rows", type=int, default=200, help="at most")
    parser.add_argument("--strategies", nargs="*", default=["full", "lora", "partial:2"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--json", default=None, help="file for every run's figures; by default they follow the table")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    read, load, augment = tools(chosen)
    manifest, backbone = read(chosen.manifest, target=chosen.target), load()
    results = []
    with tempfile.TemporaryDirectory() as cache:
        for labels in chosen.labels:
            for seed in range(chosen.seeds):
                parts = drawn(manifest, labels, chosen.validation_rows, seed)
                train, val, test = (core.read_examples(part, backbone.contract) for part in parts)
                recipe = core.Recipe(epochs=chosen.epochs, patience=chosen.epochs, seed=seed, device="cpu", workers=0,
                                     cache=cache)  # fmt: skip
                results.append(the_probe(backbone, (train, val, test), recipe))  # neither start pays for its vectors
                print(json.dumps(asdict(results[-1])), flush=True)
                for strategy in chosen.strategies:
                    for start in STARTS:
                        own = replace(recipe, head_start=start)
                        results.append(one_run(backbone, (train, val, test), strategy, own, augment))
                        print(json.dumps(asdict(results[-1])), flush=True)
    print_table(*table(results, chosen.epochs))
    if chosen.json is not None:
        with open(chosen.json, "w", encoding="utf-8") as out:
            json.dump([asdict(result) for result in results], out, indent=1)


def tools(chosen: argparse.Namespace) -> tuple[Callable[..., core.Manifest], Callable[[], core.Backbone], Any]:
    """How the domain reads a manifest, loads the backbone and changes an example."""
    if chosen.domain == "audio":
        id = chosen.backbone or "tiny:wav2vec2"
        return audio.read_manifest, lambda: audio.load_backbone(id, weights=chosen.weights), augment_sound
    id, size = chosen.backbone or "timm:mobilenetv2_100", chosen.image_size
    return (imaging.read_manifest, lambda: imaging.load_backbone(id, weights=chosen.weights, image_size=size),
            augment_image)  # fmt: skip


def drawn(manifest: core.Manifest, labels: int, most: int, seed: int) -> list[core.Manifest]:
    """Training, validation and test part; of the first two as many rows as asked for, drawn by the seed."""
    train, val, test = manifest.split(seed)
    if not len(val):
        train, val, _ = replace(train, parts=None).split(seed, val_fraction=0.2, test_fraction=0.0)
    order = np.random.default_rng(seed)
    return [some(train, labels or len(train), order), some(val, most, order), test]


def some(part: core.Manifest, count: int, order: np.random.Generator) -> core.Manifest:
    return part.subset(np.sort(order.permutation(len(part))[:count]))


def the_probe(backbone: core.Backbone, parts: tuple[core.Examples, ...], recipe: core.Recipe) -> Result:
    """What is solved and not trained any further, from an empty cache."""
    train, val, test = parts
    began = time.perf_counter()
    run = core.finetune(backbone, train, strategy="probe", recipe=recipe)
    seconds = round(time.perf_counter() - began, 2)
    return Result(len(train), "probe", "probe", recipe.seed, (round(auroc(run, val), 4),), 0, seconds, auroc(run, test))


def auroc(run: core.Run, part: core.Examples) -> float:
    found = core.predict_examples(run.adapter, part, device="cpu")
    return point_metrics(part.manifest.task, part.manifest.values, found, part.manifest.classes)["auroc"]


def one_run(
    backbone: core.Backbone, parts: tuple[core.Examples, ...], strategy: str, recipe: core.Recipe, augment: Any
) -> Result:
    train, val, test = parts
    ends: list[float] = []
    began = time.perf_counter()
    run = core.finetune(backbone, train, val, strategy=strategy, recipe=recipe, augment=augment,
                        on_epoch=lambda row: ends.append(time.perf_counter() - began))  # fmt: skip
    best, epochs = run.best_epoch or 0, [row["epoch"] for row in run.history]
    curve = tuple(round(float(row["val_auroc"] or np.nan), 4) for row in run.history if row["epoch"])
    return Result(len(train), strategy, recipe.head_start, recipe.seed, curve, best, round(ends[epochs.index(best)], 2),
                  auroc(run, test))  # fmt: skip


def table(results: list[Result], epochs: int) -> tuple[list[str], list[tuple[str, ...]]]:
    """A row for each number of labels, strategy and start; of the probe itself without epochs."""
    shown = sorted({1, 3, epochs} & set(range(1, epochs + 1)))
    columns = ["labels", "strategy", "head start", *(f"epoch {epoch}" for epoch in shown), "best validation",
               "best epoch", "seconds to it", "test", "test: probe less random"]  # fmt: skip
    rows = []
    for labels, strategy in dict.fromkeys((one.labels, one.strategy) for one in results):
        alike = [one for one in results if (one.labels, one.strategy) == (labels, strategy)]
        by_start = {start: found for start in STARTS if (found := [one for one in alike if one.start == start])}
        tests = {start: np.array([one.test for one in own]) for start, own in by_start.items()}
        apart = tests["probe"] - tests["random"] if len(tests) == 2 else np.empty(0)
        for start, own in by_start.items():
            curves = np.array([one.validation for one in own])
            shown_gain = start == "probe" and len(apart)
            gain = f"{apart.mean():+.3f} ({apart.min():+.3f} to {apart.max():+.3f})" if shown_gain else ""
            at_epoch = [f"{curves[:, epoch - 1].mean():.3f}" if strategy != "probe" else "" for epoch in shown]
            rows.append((
                str(labels), strategy, start, *at_epoch,
                f"{curves.max(1).mean():.3f}", f"{np.mean([one.best_epoch for one in own]):.1f}",
                f"{np.mean([one.seconds for one in own]):.1f}", f"{tests[start].mean():.3f}", gain,
            ))  # fmt: skip
    return columns, rows


if __name__ == "__main__":
    main()
