"""Time of `probe` against one bare eager pass with the same fit of the head, and against frozen epochs of a bare loop.

    python examples/benchmarks/probe_time.py pneumoniamnist_224.npz --weights mobilenetv2_100.safetensors

Ours reads the files, runs the frozen stages, stores their outputs and fits the head, from an empty cache; the bare pass
has its images in memory already. Compare ratios within one run, not seconds.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time

import numpy as np
import torch
from torch import nn

from graftwork import core, imaging
from graftwork.core.evaluation import point_metrics
from graftwork.core.experiment import predict
from graftwork.core.heads import Head
from graftwork.core.probes import fit_probe


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
    manifest = core.read_manifest(chosen.manifest, split="split")
    parts = np.array(manifest.parts)
    train = manifest.subset(np.flatnonzero(parts == "train")[: chosen.rows])
    test = manifest.subset(parts == "test")
    backbone = imaging.load_backbone(chosen.backbone, weights=chosen.weights, image_size=chosen.image_size)
    images = torch.stack([backbone.contract.read(path) for path in train.paths])
    unseen = core.read_examples(test, backbone.contract)
    ours, bare, found = [], [], np.empty(0)
    for _ in range(chosen.rounds):
        with tempfile.TemporaryDirectory() as cache:
            began = time.perf_counter()
            run = core.finetune(backbone, train, strategy="probe", recipe=core.Recipe(cache=cache))
            ours.append(time.perf_counter() - began)
        found = predict(run.adapter, unseen)
        began = time.perf_counter()
        fit_probe(Head(backbone.feature_dim, len(train.classes)), one_pass(backbone.network, backbone, images), train,
                  balanced=False, seed=0)  # fmt: skip
        bare.append(time.perf_counter() - began)
    ratios = [a / b for a, b in zip(ours, bare, strict=True)]
    print(f"probe, from files and an empty cache: {statistics.median(ours):.2f} s, test AUROC {score(test, found):.4f}")
    print(f"one bare eager pass and the same fit: {statistics.median(bare):.2f} s")
    print(f"ratio: {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")
    if chosen.epochs:
        began = time.perf_counter()
        head = frozen_epochs(backbone, images, train, chosen.epochs)
        seconds = time.perf_counter() - began
        with torch.inference_mode():
            vectors = torch.from_numpy(one_pass(backbone.network, backbone, torch.stack(list(unseen.tensors or ()))))
            probabilities = head(vectors).softmax(1).double().numpy()
        longer = seconds / statistics.median(ours)
        print(f"{chosen.epochs} frozen epochs of a bare loop: {seconds:.1f} s, {longer:.1f} times as long, test AUROC "
              f"{score(test, probabilities):.4f}")  # fmt: skip
        gain = core.compare_predictions(test.task, test.values, found, probabilities)["auroc"]
        print(f"AUROC of the probe less that of the loop, paired: {gain}")


def score(manifest: core.Manifest, predictions: np.ndarray) -> float:
    return point_metrics(manifest.task, manifest.values, predictions)["auroc"]


def one_pass(network: nn.Module, backbone: core.Backbone, images: torch.Tensor, batch: int = 64) -> np.ndarray:
    with torch.inference_mode():
        return torch.cat([backbone.run(core.Features(part)).values for part in images.split(batch)]).numpy()


def frozen_epochs(backbone: core.Backbone, images: torch.Tensor, manifest: core.Manifest, epochs: int) -> nn.Linear:
    """A linear head trained with Adam on a frozen network in evaluation mode, as most would write it."""
    torch.manual_seed(0)
    head = nn.Linear(backbone.feature_dim, len(manifest.classes))
    optimiser = torch.optim.Adam(head.parameters(), lr=1e-3)
    labels = torch.as_tensor(np.asarray(manifest.values))
    for _ in range(epochs):
        for index in torch.randperm(len(images)).split(32):
            with torch.no_grad():
                vectors = backbone.run(core.Features(images[index])).values
            loss = nn.functional.cross_entropy(head(vectors), labels[index])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return head


if __name__ == "__main__":
    main()
