"""How much faster is training when clips go into batches with clips of like length?

    python examples/benchmarks/bucketed_batches.py SHORT.csv:400 LONG.csv:60 [--batch-seconds 60] [--layers 6]

Each manifest is followed by how many of its clips are drawn. A network of random weights learns from the mixture:
its convolutions are frozen and run without a graph, its Transformer and a linear head learn. All kinds of batches are
trained on by the same loop, in turns, because machines are noisy: `clips` are random ones of 16, which hold as many
seconds of sound on average; `random` and `bucketed` ones as many seconds at most, padding included. The last rows are
`finetune` with all that it does besides, from an empty and from a full cache.
"""

from __future__ import annotations

import argparse
import tempfile
import time

import numpy as np
import torch

from graftwork.audio import new_backbone, read_manifest
from graftwork.core import Recipe, finetune
from graftwork.core.data.batches import epoch_batches, seconds_per_batch
from graftwork.core.data.examples import Examples, load_batches, read_examples
from graftwork.core.data.manifest import Manifest
from graftwork.core.model.strategies import parse_strategy
from graftwork.core.training.finetuning import new_graft

CONFIG = {"model_type": "wav2vec2", "hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 1024}
CONFIG |= {"conv_dim": [128] * 7, "num_conv_pos_embeddings": 32, "num_conv_pos_embedding_groups": 4}


def random_batches(seconds: tuple[float, ...], most: float, seed: int) -> list[list[int]]:
    """Clips in random order, a new batch where the longest times the number would exceed `most` seconds."""
    batches: list[list[int]] = []
    for row in np.random.default_rng(seed).permutation(len(seconds)).tolist():
        together = [*batches[-1], row] if batches else []
        if together and len(together) * max(seconds[one] for one in together) <= most:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches


def padding(seconds: tuple[float, ...], batches: list[list[int]]) -> float:
    padded = sum(len(batch) * max(seconds[row] for row in batch) for batch in batches)
    return 1 - sum(seconds) / padded


def drawn(manifests: list[str], seed: int) -> Manifest:
    """Clips of all manifests; what is learnt is from which one they come."""
    paths: list[str] = []
    labels: list[int] = []
    for number, text in enumerate(manifests):
        path, _, count = text.rpartition(":")
        rows = read_manifest(path, target="speaker")
        chosen = np.random.default_rng(seed).permutation(len(rows))[: int(count)]
        paths += [rows.paths[row] for row in chosen]
        labels += [number] * len(chosen)
    classes = tuple(map(str, range(len(manifests))))
    return Manifest("mixture", tuple(paths), "single-label", "origin", classes, np.asarray(labels))


def seconds_to_train(examples: Examples, batches: list[list[int]], config: dict[str, object]) -> float:
    """One epoch of a bare loop over these batches, without the cost of reading files."""
    torch.manual_seed(0)
    recipe = Recipe(device="cpu")
    strategy = parse_strategy(f"partial:{config['num_hidden_layers']}")
    graft = new_graft(new_backbone(config), examples.manifest, strategy, recipe)
    optimiser = torch.optim.AdamW([one for one in graft.parameters() if one.requires_grad], lr=1e-4)
    labels = torch.as_tensor(np.asarray(examples.manifest.values))
    graft.train(True)
    began = time.perf_counter()
    for batch, features in zip(batches, load_batches(examples, batches), strict=True):
        loss = torch.nn.functional.cross_entropy(graft(features), labels[torch.as_tensor(batch)])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifests", nargs="+", metavar="MANIFEST:CLIPS")
    parser.add_argument("--batch-seconds", type=float, default=None, help="by default 16 clips of mean duration")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    config: dict[str, object] = CONFIG | {"num_hidden_layers": arguments.layers}
    recipe = Recipe(device="cpu", seed=arguments.seed, batch_seconds=arguments.batch_seconds)
    contract = new_backbone(config).contract
    examples = read_examples(drawn(arguments.manifests, arguments.seed), contract)
    seconds = examples.seconds
    if seconds is None:
        raise SystemExit("all clips have the same duration: there is nothing to compare")
    most = seconds_per_batch(seconds, recipe)
    print(f"{len(seconds)} clips, {sum(seconds):.0f} s, {most:.1f} s a batch")
    order = np.random.default_rng(arguments.seed).permutation(len(seconds))
    kinds = {
        "clips": [batch.tolist() for batch in np.array_split(order, round(sum(seconds) / most))],
        "random": random_batches(seconds, most, arguments.seed),
        "bucketed": [batch.tolist() for batch in epoch_batches(examples, recipe, 0)],
    }
    for name, batches in kinds.items():
        print(f"{name:<9} {len(batches):>4} batches, padding {padding(seconds, batches):.1%}")
    rates: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(arguments.rounds):
        for name, batches in kinds.items():
            rates[name].append(sum(seconds) / seconds_to_train(examples, batches, config))
        print("seconds of sound a second: " + ", ".join(f"{name} {found[-1]:.1f}" for name, found in rates.items()))
    for name in ("clips", "random"):
        ratios = np.array(rates["bucketed"]) / np.array(rates[name])
        print(f"bucketed to {name}: {np.median(ratios):.2f} times")
    with tempfile.TemporaryDirectory() as cache:
        for state in ("empty", "full"):
            began = time.perf_counter()
            finetune(new_backbone(config), examples, strategy=f"partial:{arguments.layers}",
                     recipe=Recipe(**(vars(recipe) | {"epochs": 1, "cache": cache})))  # fmt: skip
            print(f"finetune, {state} cache: {sum(seconds) / (time.perf_counter() - began):.1f}")


if __name__ == "__main__":
    main()
