"""Training the last third of the stages from stored activations, against the same without them, and an ideal loop.

    python examples/benchmarks/cached_epochs.py scans.csv --weights mobilenetv2_100.safetensors

The ideal loop has the activations in memory, and does nothing but forward, backward and an AdamW step, with freed
memory kept as ours is; the bare loop does the same from the images, as most would write it, in a process of its own. A
second run with another seed finds the cache warm: no frozen stage may run. Compare ratios within one run, not seconds.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import torch

from graftwork import core, imaging
from graftwork.core.activation_cache.activations import run_frozen_stages
from graftwork.core.compute.allocator import freed_memory_kept
from graftwork.core.compute.runtime import start_runtime
from graftwork.core.model.strategies import parse_strategy
from graftwork.core.training.finetuning import new_graft


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest")
    parser.add_argument("--weights", default=None)
    parser.add_argument("--backbone", default="timm:mobilenetv2_100")
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--strategy", default="partial:3")
    parser.add_argument("--epochs", type=int, nargs="+", default=[5, 20])
    parser.add_argument("--batch-size", type=int, default=16)
    chosen = parser.parse_args()
    backbone, examples = prepared(chosen)
    for epochs in chosen.epochs:
        with tempfile.TemporaryDirectory() as cache:
            recipe = core.Recipe(epochs=epochs, batch_size=chosen.batch_size, cache=cache)
            stored, one = timed(backbone, examples, chosen.strategy, recipe)
            frozen = count_frozen_passes(backbone, examples, chosen.strategy, replace(recipe, seed=1, epochs=1))
            warm, _ = timed(backbone, examples, chosen.strategy, recipe)
            held = stored_examples(backbone, examples, chosen.strategy, recipe)
            with freed_memory_kept():
                ideal = loop_seconds(backbone, held, chosen.strategy, recipe)
        anew, two = timed(backbone, examples, chosen.strategy, replace(recipe, views=0))
        with ProcessPoolExecutor(1, get_context("spawn")) as elsewhere:
            bare = elsewhere.submit(bare_seconds, chosen, epochs).result()
        apart = max(float((one[name] - two[name]).detach().abs().max()) for name in one)
        print(
            f"{epochs} epochs of {chosen.strategy}, batches of {chosen.batch_size}: stored {stored:.1f} s, without "
            f"{anew:.1f} s: {anew / stored:.2f} x",
            flush=True,
        )
        print(
            f"  weights differ by at most {apart:.1e}; warm {warm:.1f} s, {warm / ideal:.2f} x the "
            f"ideal loop's {ideal:.1f} s"
        )
        print(f"  a bare loop from the images, frozen stages without a graph: {bare:.1f} s: {bare / stored:.2f} x")
        print(f"  second run, another seed: {frozen} examples went through frozen stages", flush=True)


def prepared(chosen: argparse.Namespace) -> tuple[core.Backbone, core.Examples]:
    manifest = core.read_manifest(chosen.manifest, split="split")
    if manifest.parts is not None:
        manifest = manifest.subset(np.array(manifest.parts) == "train")
    manifest = manifest.subset(range(min(chosen.rows, len(manifest))))
    backbone = imaging.load_backbone(chosen.backbone, weights=chosen.weights, image_size=chosen.image_size)
    return backbone, core.read_examples(manifest, backbone.contract)


def bare_seconds(chosen: argparse.Namespace, epochs: int) -> float:
    backbone, examples = prepared(chosen)
    recipe = core.Recipe(epochs=epochs, batch_size=chosen.batch_size, memory_format="contiguous")
    return loop_seconds(backbone, examples, chosen.strategy, recipe)


def timed(
    backbone: core.Backbone, examples: core.Examples, strategy: str, recipe: core.Recipe
) -> tuple[float, dict[str, torch.Tensor]]:
    began = time.perf_counter()
    run = core.finetune(backbone, examples, strategy=strategy, recipe=recipe)
    return time.perf_counter() - began, run.adapter.graft.learnt()


def count_frozen_passes(backbone: core.Backbone, examples: core.Examples, strategy: str, recipe: core.Recipe) -> int:
    """How many examples pass the first stage, seen by a hook on the modules that it owns."""
    network = backbone.copy().network
    seen: list[int] = []
    first = network.get_submodule(backbone.stages[0].owns[0])
    first.register_forward_hook(lambda _module, inputs, _output: seen.append(len(inputs[0])))
    core.finetune(backbone.with_network(network), examples, strategy=strategy, recipe=recipe)
    return sum(seen)


def loop_seconds(backbone: core.Backbone, examples: core.Examples, strategy: str, recipe: core.Recipe) -> float:
    """The bare loop over tensors in memory, from whatever stage the examples have been through."""
    runtime = start_runtime(recipe)
    graft = new_graft(backbone, examples.manifest, parse_strategy(strategy), recipe)
    values = torch.stack(list(examples.tensors or ()))
    if recipe.memory_format == "channels-last":
        values = values.contiguous(memory_format=torch.channels_last)
    labels = torch.as_tensor(np.asarray(examples.manifest.values))
    runtime.place(graft)
    learning = [parameter for parameter in graft.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(learning, lr=1e-3, fused=True)
    graft.train()
    began = time.perf_counter()
    for _ in range(recipe.epochs):
        for index in torch.randperm(len(values)).split(recipe.batch_size):
            with torch.no_grad():  # by the stages as they are: the graft would fold their norms
                features = graft.backbone.run(core.Features(values[index]), examples.stage, graft.frontier)
            outputs = graft(features, graft.frontier)
            loss = torch.nn.functional.cross_entropy(outputs, labels[index])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(learning, 1.0)
            optimiser.step()
            optimiser.zero_grad()
    return time.perf_counter() - began


def stored_examples(
    backbone: core.Backbone, examples: core.Examples, strategy: str, recipe: core.Recipe
) -> core.Examples:
    graft = new_graft(backbone, examples.manifest, parse_strategy(strategy), recipe)
    found = run_frozen_stages(graft.backbone, examples, graft.plan.frontier, start_runtime(recipe), recipe)
    if found is None:
        raise SystemExit("the activations do not fit on this disk")
    return found


if __name__ == "__main__":
    main()
