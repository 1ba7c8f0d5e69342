"""Time of `probe` against one bare eager pass with the same fit of the head, and against frozen epochs of a bare loop.

    python examples/benchmarks/probe_time.py pneumoniamnist_224.npz --weights mobilenetv2_100.safetensors

Ours reads the files, runs the frozen stages, stores their outputs and fits the head, from an empty cache. The bare pass
has its images in memory already, and a process of its own; the bare loop as well, and once more with a DataLoader that
reads the files in every epoch, as ours does once. Compare ratios within one run, not seconds.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from graftwork import core, imaging
from graftwork.core.evaluation.evaluation import point_metrics
from graftwork.core.model.heads import Head
from graftwork.core.training.linear_probe import fit_probe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest")
    parser.add_argument("--weights", default=None)
    parser.add_argument("--backbone", default="timm:mobilenetv2_100")
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=20, help="of the bare loop; 0 leaves it out")
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    backbone, train, test = prepared(chosen)
    unseen = core.read_examples(test, backbone.contract)
    ours, bare, found = [], [], np.empty(0)
    with ProcessPoolExecutor(1, get_context("spawn")) as elsewhere:
        for _ in range(chosen.rounds):
            with tempfile.TemporaryDirectory() as cache:
                began = time.perf_counter()
                run = core.finetune(backbone, train, strategy="probe", recipe=core.Recipe(cache=cache))
                ours.append(time.perf_counter() - began)
            found = core.predict_examples(run.adapter, unseen)
            bare.append(elsewhere.submit(bare_pass, chosen).result())
        ratios = [a / b for a, b in zip(ours, bare, strict=True)]
        print(f"probe, from files and an empty cache: {statistics.median(ours):.2f} s, test AUROC "
              f"{score(test, found):.4f}")  # fmt: skip
        print(f"one bare eager pass and the same fit: {statistics.median(bare):.2f} s")
        print(f"ratio: {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})", flush=True)
        for source in ("images in memory", "files read in every epoch") if chosen.epochs else ():
            seconds, probabilities = elsewhere.submit(frozen_epochs, chosen, source == "images in memory").result()
            longer = seconds / statistics.median(ours)
            print(f"{chosen.epochs} frozen epochs of a bare loop, {source}: {seconds:.1f} s, {longer:.1f} times as "
                  f"long, test AUROC {score(test, probabilities):.4f}")  # fmt: skip
            gain = core.compare_predictions(test.task, test.values, found, probabilities)["auroc"]
            print(f"AUROC of the probe less that of the loop, paired: {gain}", flush=True)


def prepared(chosen: argparse.Namespace) -> tuple[core.Backbone, core.Manifest, core.Manifest]:
    """The backbone, the training rows and the test rows; what is imported late is imported now."""
    importlib.import_module("sklearn.linear_model")
    manifest = core.read_manifest(chosen.manifest, split="split")
    parts = np.array(manifest.parts)
    train = manifest.subset(np.flatnonzero(parts == "train")[: chosen.rows])
    backbone = imaging.load_backbone(chosen.backbone, weights=chosen.weights, image_size=chosen.image_size)
    return backbone, train, manifest.subset(parts == "test")


def read(backbone: core.Backbone, manifest: core.Manifest) -> torch.Tensor:
    return torch.stack([backbone.contract.read(path) for path in manifest.paths])


def bare_pass(chosen: argparse.Namespace) -> float:
    """Seconds of one pass as most would write it, and of our fit."""
    backbone, train, _ = prepared(chosen)
    images = read(backbone, train)
    began = time.perf_counter()
    head = Head(backbone.feature_dim, len(train.classes))
    fit_probe(head, one_pass(backbone, images), train, balanced=False, seed=0)
    return time.perf_counter() - began


def score(manifest: core.Manifest, predictions: np.ndarray) -> float:
    return point_metrics(manifest.task, manifest.values, predictions)["auroc"]


def one_pass(backbone: core.Backbone, images: torch.Tensor, batch: int = 64) -> np.ndarray:
    with torch.inference_mode():
        return torch.cat([backbone.run(core.Features(part)).values for part in images.split(batch)]).numpy()


class Files(Dataset[tuple[torch.Tensor, int]]):
    """Images with their classes, read when they are asked for."""

    def __init__(self, backbone: core.Backbone, manifest: core.Manifest) -> None:
        self.contract = backbone.contract
        self.manifest = manifest

    def __len__(self) -> int:
        return len(self.manifest)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        return self.contract.read(self.manifest.paths[row]), int(self.manifest.values[row])


def batches(
    backbone: core.Backbone, manifest: core.Manifest, images: torch.Tensor | None
) -> Iterable[tuple[torch.Tensor, torch.Tensor]]:
    """Of one epoch, out of memory or, without images, from the files."""
    if images is None:
        return DataLoader(Files(backbone, manifest), batch_size=32, shuffle=True)
    labels = torch.as_tensor(np.asarray(manifest.values))
    return ((images[index], labels[index]) for index in torch.randperm(len(images)).split(32))


def frozen_epochs(chosen: argparse.Namespace, in_memory: bool) -> tuple[float, np.ndarray]:
    """Seconds of a linear head trained with Adam on a frozen network in evaluation mode, as most would write it, and
    its probabilities for the test rows."""
    backbone, train, test = prepared(chosen)
    images = read(backbone, train) if in_memory else None
    torch.manual_seed(0)
    began = time.perf_counter()
    head = nn.Linear(backbone.feature_dim, len(train.classes))
    optimiser = torch.optim.Adam(head.parameters(), lr=1e-3)
    for _ in range(chosen.epochs):
        for part, labels in batches(backbone, train, images):
            with torch.no_grad():
                vectors = backbone.run(core.Features(part)).values
            loss = nn.functional.cross_entropy(head(vectors), labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    seconds = time.perf_counter() - began
    with torch.inference_mode():
        vectors = torch.from_numpy(one_pass(backbone, read(backbone, test)))
        return seconds, head(vectors).softmax(1).double().numpy()


if __name__ == "__main__":
    main()
