"""Run by test_several_processes, alone or under torchrun: trains every strategy named and writes what it learnt."""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from graftwork.core import Manifest, Recipe, finetune
from graftwork.core.compute.runtime import is_first
from graftwork.core.data.examples import Examples
from graftwork.core.inference.predict import predict_examples
from graftwork.core.model.backbone import Backbone, Stage
from graftwork.core.types import Features


class Vectors:
    """Sequences (3, 6) out of .npy files."""

    def read(self, example):
        return torch.from_numpy(np.load(example))

    def collate(self, examples):
        return Features(torch.stack(list(examples)))

    def seconds(self, example):
        return None

    def blank(self):
        return torch.zeros(3, 6)

    def to_json(self):
        return {}


class Layer(nn.Module):
    """(batch, 3, 6) to the same: a linear layer, then BatchNorm over the channels."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 6, bias=False)  # a bias in front of BatchNorm learns rounding errors
        self.norm = nn.BatchNorm1d(6)

    def forward(self, values):
        return torch.tanh(self.norm(self.linear(values).transpose(1, 2)).transpose(1, 2))


def run_layer(name):
    return Stage(name, lambda network, features: Features(network.get_submodule(name)(features.values)), (name,))


def build():
    return nn.ModuleDict({"one": Layer(), "two": Layer(), "three": Layer()})


def backbone():
    torch.manual_seed(0)
    stages = (*map(run_layer, ("one", "two", "three")), Stage("pool", lambda n, f: Features(f.values.mean(1))))
    return Backbone("tiny:layers", build().eval(), stages, Vectors(), 6, build=build)


def examples(folder):
    """53 rows: neither the batches nor the validation part divide by two."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, 53)
    paths = []
    for row, label in enumerate(labels):
        path = folder / f"{row}.npy"
        if is_first() and not path.exists():
            np.save(path, (rng.normal(size=(3, 6)) + 0.7 * label).astype(np.float32))
        else:
            rng.normal(size=(3, 6))
        paths.append(str(path))
    return Manifest("generated", tuple(paths), "single-label", "label", ("a", "b"), labels)


def main(folder, strategies):
    recipe = Recipe(epochs=4, batch_size=7, device="cpu", workers=0, learning_rate=0.01, patience=99, clip_norm=1.0)
    from graftwork.core.compute.runtime import start_runtime

    runtime = start_runtime(recipe)
    rows = examples(folder)
    runtime.wait()
    train, val = rows.subset(range(32)), rows.subset(range(32, 53))
    for strategy in strategies:
        run = finetune(backbone(), train, val, strategy=strategy, recipe=recipe)
        tensors = tuple(torch.from_numpy(np.load(path)) for path in val.paths)
        predicted = predict_examples(run.adapter, Examples(val, Vectors(), tensors), device="cpu")
        if is_first():
            name = strategy.replace(":", "-")
            learnt = {key: value.detach().contiguous().clone() for key, value in run.adapter.graft.learnt().items()}
            save_file(learnt, folder / f"{name}.safetensors")
            result = {"history": run.history, "frozen": dataclasses.asdict(run.proof), "predicted": len(predicted)}
            (folder / f"{name}.json").write_text(json.dumps(result))
    runtime.wait()


main(Path(sys.argv[1]), sys.argv[2:])
