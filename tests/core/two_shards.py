"""Run by test_sharded_processes under torchrun: trains with whole weights, with divided ones, in runs that are ended
and go on, and on a device that is too small, and writes what was learnt."""

import dataclasses
import json
import logging
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors.torch import save_file

from graftwork.core import Manifest, Recipe, finetune
from graftwork.core.compute.runtime import is_first, start_runtime
from graftwork.core.errors import SettingsError
from graftwork.core.types import Features
from tests.core.conftest import on_a_small_device, tiny_backbone

RECIPE = Recipe(epochs=4, batch_size=7, device="cpu", workers=0, learning_rate=0.01, patience=99, fsdp="off",
                checkpoint_minutes=0, memory_format="contiguous")  # fmt: skip


class EndedError(Exception):
    """Ends a run behind its second epoch."""


def end_early(row):
    if row["epoch"] == 2:
        raise EndedError


def manifest(folder):
    """53 arrays of two classes: neither the batches nor the validation part divide by two."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, 53)
    paths = [str(folder / f"{row}.npy") for row in range(53)]
    for path, label in zip(paths, labels, strict=True):
        values = rng.normal(size=(1, 8, 8)) + 0.7 * label
        if is_first():
            np.save(path, values.astype(np.float32))
    return Manifest("generated", tuple(paths), "single-label", "label", ("a", "b"), labels)


def with_views():
    """A backbone whose second stage gives a view, which the third changes in place."""

    def view(network, features):
        return Features((network.layer1(features.values) + 0).transpose(2, 3))

    def change(network, features):
        return Features(network.layer10(features.values.mul_(2)))

    made = tiny_backbone(dropout=0.0)
    first, second, third, last = made.stages
    return replace(made, stages=(first, replace(second, run=view), replace(third, run=change), last))


def main(folder):
    runtime = start_runtime(RECIPE)
    logging.basicConfig(filename=folder / f"said-{runtime.rank}.txt", level=logging.INFO, format="%(message)s")
    rows = manifest(folder)
    runtime.wait()
    train, val = rows.subset(range(32)), rows.subset(range(32, 53))

    def learn(strategy, **options):
        kept = {key: options.pop(key) for key in ("checkpoints", "resume", "on_epoch") if key in options}
        # By validation lora ends with its best epoch; full is compared behind the last.
        return finetune(options.pop("backbone", tiny_backbone(dropout=0.0)), train, val if strategy == "lora" else None,
                        strategy=strategy, recipe=replace(RECIPE, **options), **kept)  # fmt: skip

    def write(name, run):
        if is_first():
            tensors = {key: value.detach().contiguous().clone() for key, value in run.adapter.graft.tensors().items()}
            save_file(tensors, folder / f"{name}.safetensors")
            result = {"history": run.history, "frozen": dataclasses.asdict(run.proof), "best": run.best_epoch}
            (folder / f"{name}.json").write_text(json.dumps(result))

    for strategy in ("full", "lora"):
        write(f"{strategy}-whole", learn(strategy))
        write(f"{strategy}-divided", learn(strategy, fsdp="on"))
        write(f"{strategy}-recomputed", learn(strategy, fsdp="on", recompute="on"))
        for name, begun, after in (("resumed", "on", "on"), ("resumed-whole", "on", "off")):
            place = folder / f"{name}-{strategy}"
            try:
                learn(strategy, fsdp=begun, checkpoints=place, on_epoch=end_early)
            except EndedError:
                runtime.wait()
            write(f"{strategy}-{name}", learn(strategy, fsdp=after, checkpoints=place, resume=True))
    for fsdp in ("off", "on"):
        write(f"full-views-{fsdp}", learn("full", fsdp=fsdp, backbone=with_views(), head_start="random"))
    plain = tiny_backbone(norm=False, dropout=0.0)
    write("full-plain", learn("full", backbone=plain, head_start="random"))
    small = on_a_small_device(plain, 2, [], learning=True) if runtime.rank == 1 else plain
    write("full-in-pieces", learn("full", backbone=small, head_start="random"))
    refusals = {}
    asked = (("partial:1", {}), ("gradual", {}), ("full", {"compile": "on"}), ("lora", {"batch_size": 1}))
    for strategy, options in asked:
        try:
            learn(strategy, fsdp="on", **options)
        except SettingsError as error:
            refusals[strategy] = str(error)
    if is_first():
        (folder / "refusals.json").write_text(json.dumps(refusals))
    runtime.wait()


main(Path(sys.argv[1]))
