"""A base-size wav2vec 2.0 with random weights on clips of mixed length: with frozen stages stored, and run anew.

    python examples/benchmarks/speech_cache.py clips.csv --rows 60

Compare ratios within one run, not seconds.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace

import torch

from graftwork import audio, core

BASE = {
    "model_type": "wav2vec2", "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
    "intermediate_size": 3072, "conv_dim": [512] * 7, "feat_extract_norm": "group", "do_stable_layer_norm": False,
    "conv_bias": False,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest")
    parser.add_argument("--target", default="speaker")
    parser.add_argument("--rows", type=int, default=60)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--strategies", nargs="+", default=["layers", "partial:3"])
    chosen = parser.parse_args()
    torch.manual_seed(0)
    backbone = audio.new_backbone(BASE)
    manifest = audio.read_manifest(chosen.manifest, target=chosen.target)
    manifest = manifest.subset(range(0, len(manifest), max(1, len(manifest) // chosen.rows))[: chosen.rows])
    examples = core.read_examples(manifest, backbone.contract)
    with tempfile.TemporaryDirectory() as cache:
        recipe = core.Recipe(epochs=chosen.epochs, batch_size=chosen.batch_size, cache=cache)
        print(f"probe: {timed(backbone, examples, 'probe', recipe):.1f} s from an empty cache, "
              f"{timed(backbone, examples, 'probe', recipe):.1f} s from a warm one")  # fmt: skip
        for strategy in chosen.strategies:
            stored = timed(backbone, examples, strategy, recipe)
            anew = timed(backbone, examples, strategy, replace(recipe, views=0))
            print(f"{strategy}, {chosen.epochs} epochs: stored {stored:.1f} s, without {anew:.1f} s: "
                  f"{anew / stored:.2f} x")  # fmt: skip


def timed(backbone: core.Backbone, examples: core.Examples, strategy: str, recipe: core.Recipe) -> float:
    began = time.perf_counter()
    core.finetune(backbone, examples, strategy=strategy, recipe=recipe)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
