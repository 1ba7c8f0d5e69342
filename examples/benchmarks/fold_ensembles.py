"""Is the mean of the models of the folds better than the one adapter that is trained on all rows?

    python examples/benchmarks/fold_ensembles.py scans.csv --weights mobilenetv2_100.safetensors --image-size 96
    python examples/benchmarks/fold_ensembles.py digits.csv --domain audio --target digit --group speaker --draw-split \
        --labels 150

For every seed a test part is held out (the table's own where it has a split column; groups and near-duplicates stay
together), and the labels are drawn from the rest. Both models come from one `train --folds K --keep-folds` on them,
with the default recipe but for the number of epochs; nothing is chosen by the test part. Prints means over the seeds of
the test metrics, and differences in pairs, with the least and the largest.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from graftwork import audio, core, imaging
from graftwork.core.cli.console import print_table
from graftwork.core.evaluation.evaluation import point_metrics

HIGHER, LOWER = ("auroc", "accuracy"), ("brier", "ece")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest")
    parser.add_argument("--target", default=None)
    parser.add_argument("--group", default=None)
    parser.add_argument("--draw-split", action="store_true", help="whatever a split column says")
    parser.add_argument("--domain", choices=("imaging", "audio"), default="imaging")
    parser.add_argument("--backbone", default=None, help="timm:mobilenetv2_100, or tiny:wav2vec2 for audio")
    parser.add_argument("--weights", default=None)
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--labels", type=int, default=0, help="training rows to draw; 0 for all")
    parser.add_argument("--strategies", nargs="*", default=["probe", "partial:2"])
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=8)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    domain = {"imaging": imaging, "audio": audio}[chosen.domain]
    task = "single-label" if chosen.domain == "audio" else None
    manifest = domain.read_manifest(
        chosen.manifest,
        target=chosen.target,
        group=chosen.group,
        task=task,
        split=None if chosen.draw_split else "split",
    )
    if chosen.domain == "imaging":
        backbone = imaging.load_backbone(chosen.backbone or "timm:mobilenetv2_100", weights=chosen.weights,
                                         image_size=chosen.image_size)  # fmt: skip
    else:
        backbone = audio.load_backbone(chosen.backbone or "tiny:wav2vec2", weights=chosen.weights)
    manifest, _ = core.with_near_duplicates(domain.DOMAIN, manifest, "together")
    rows = []
    for strategy in chosen.strategies:
        found = []
        for seed in range(chosen.seeds):
            train, val, test = manifest.split(seed)
            learnt = _together(manifest, train, val)
            learnt = learnt.subset(_drawn(len(learnt), chosen.labels, seed))
            recipe = core.Recipe(seed=seed, device="cpu", epochs=chosen.epochs, workers=0)
            found.append(one_seed(domain, backbone, learnt, test, strategy, recipe, chosen))
            print(f"{strategy} seed {seed}: {len(learnt)} rows, {len(test)} for the test, {found[-1]}", flush=True)
        rows += [_row(strategy, metric, found) for metric in (*HIGHER, *LOWER)]
    print_table(
        ["strategy", "metric", "one adapter", "mean of folds", "difference (least to largest)", "better in"], rows
    )


def one_seed(
    domain: object, backbone: core.Backbone, learnt: core.Manifest, test: core.Manifest, strategy: str,
    recipe: core.Recipe, chosen: argparse.Namespace,
) -> dict[str, tuple[float, float]]:  # fmt: skip
    """Metrics of the test rows by name: of the one adapter, and of the mean of the folds' models."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        result = core.train(backbone, learnt, strategy=strategy, recipe=recipe, folds=chosen.folds, keep_folds=True,
                            random_split="off", near_duplicates="ignore", out=out)  # fmt: skip
        examples = core.read_examples(test, backbone.contract)
        single = core.predict_examples(result.adapter, examples, device="cpu")
        folds = [domain.load_adapter(out / "folds" / str(fold + 1), chosen.weights)  # type: ignore[attr-defined]
                 for fold in range(chosen.folds)]  # fmt: skip
        together = np.mean([core.predict_examples(one, examples, device="cpu") for one in folds], axis=0)
    of = [point_metrics(test.task, test.values, one, test.classes) for one in (single, together)]
    return {name: (round(of[0][name], 4), round(of[1][name], 4)) for name in (*HIGHER, *LOWER)}


def _together(manifest: core.Manifest, *parts: core.Manifest) -> core.Manifest:
    """Rows of both parts as one, without the split."""
    inputs = {str(one) for part in parts for one in part.examples}
    rows = [row for row, one in enumerate(manifest.examples) if str(one) in inputs]
    return replace(manifest.subset(np.array(rows)), parts=None)


def _drawn(rows: int, count: int, seed: int) -> np.ndarray:
    return np.sort(np.random.default_rng(seed).permutation(rows)[: count or rows])


def _row(strategy: str, metric: str, found: list[dict[str, tuple[float, float]]]) -> tuple[str, ...]:
    both = np.array([one[metric] for one in found])
    apart = both[:, 1] - both[:, 0]
    better = (apart > 0 if metric in HIGHER else apart < 0).sum()
    return (strategy, metric, f"{both[:, 0].mean():.3f}", f"{both[:, 1].mean():.3f}",
            f"{apart.mean():+.3f} ({apart.min():+.3f} to {apart.max():+.3f})", f"{better} of {len(found)}")  # fmt: skip


if __name__ == "__main__":
    main()
