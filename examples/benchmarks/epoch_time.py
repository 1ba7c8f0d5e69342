"""Time of an epoch of `full` fine-tuning against a bare PyTorch loop over the same tensors, interleaved in one run.

    python examples/benchmarks/epoch_time.py --rounds 5

Prints the median over the rounds of seconds per epoch, and of the ratio to the bare loop within each round, because
machines are noisy: compare ratios, not seconds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn import functional as F

from graftwork import core, imaging
from graftwork.core.compute.runtime import start_runtime
from graftwork.core.training.finetuning import new_graft
from graftwork.core.training.loop import train


@dataclass(frozen=True)
class Work:
    """What both loops train: a backbone and examples in memory."""

    backbone: core.Backbone
    examples: core.Examples
    recipe: core.Recipe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="timm:mobilenetv2_100")
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--images", type=int, default=192)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="auto")
    chosen = parser.parse_args()
    torch.manual_seed(0)
    backbone = imaging.load_backbone(chosen.backbone, weights="random", image_size=chosen.image_size)
    labels = np.arange(chosen.images) % 2
    tensors = tuple(torch.randn(3, chosen.image_size, chosen.image_size) for _ in labels)
    names = tuple(f"example {number}" for number in range(chosen.images))
    manifest = core.Manifest("generated", names, "single-label", "label", ("a", "b"), labels)
    recipe = core.Recipe(epochs=1, batch_size=chosen.batch_size, device=chosen.device, memory_format="contiguous")
    work = Work(backbone, core.Examples(manifest, backbone.contract, tensors), recipe)
    fast = replace(work, recipe=replace(recipe, memory_format="channels-last"))
    loops: dict[str, Callable[[], float]] = {
        "bare loop": lambda: bare_epoch(work),
        "graftwork, same memory format": lambda: graftwork_epoch(work),
        "graftwork, channels-last (default)": lambda: graftwork_epoch(fast),
    }
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(chosen.rounds + 1):
        for name, loop in loops.items():
            seconds[name].append(loop())
    print(f"{chosen.backbone}, {chosen.images} images of {chosen.image_size} px, {work.recipe.device} device")
    for name, measured in seconds.items():
        # The first round warms up kernels and memory.
        ratios = [own / bare for own, bare in zip(measured[1:], seconds["bare loop"][1:], strict=True)]
        spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
        print(f"{name:<36} {statistics.median(measured[1:]):7.2f} s  ratio {statistics.median(ratios):.3f} ({spread})")


def bare_epoch(work: Work) -> float:
    """Seconds of one epoch as one would write it by hand: forward, loss, backward, clip, AdamW."""
    runtime = start_runtime(work.recipe)
    graft = new_graft(work.backbone, work.examples.manifest, core.Strategy("full"), work.recipe).to(runtime.device)
    optimiser = torch.optim.AdamW(graft.parameters(), lr=1e-4)
    labels = torch.as_tensor(np.asarray(work.examples.manifest.values))
    tensors = work.examples.tensors or ()
    graft.train()
    started = time.perf_counter()
    order = torch.randperm(len(tensors))
    for rows in order.split(work.recipe.batch_size):
        images = torch.stack([tensors[row] for row in rows.tolist()]).to(runtime.device)
        with runtime.autocast():
            outputs = graft.head(graft.backbone.run(core.Features(images)).values)
        loss = F.cross_entropy(outputs.float(), labels[rows].to(runtime.device))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(graft.parameters(), work.recipe.clip_norm)
        optimiser.step()
    float(loss.detach())
    return time.perf_counter() - started


def graftwork_epoch(work: Work) -> float:
    """Seconds of one epoch of our loop, without the model's own construction, as in the bare loop."""
    graft = new_graft(work.backbone, work.examples.manifest, core.Strategy("full"), work.recipe)
    runtime = start_runtime(work.recipe)
    runtime.place(graft)
    started = time.perf_counter()
    train(graft, work.examples, None, recipe=work.recipe, runtime=runtime, augment=None, checkpoints=None,
          on_epoch=lambda row: None)  # fmt: skip
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
