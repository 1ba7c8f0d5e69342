"""Two processes against one at the same global batch: how far weights, predictions and losses are apart after training.

    python examples/benchmarks/two_processes.py

Trains every strategy on every task with the packaged backbones, 20 updates on small generated scans and clips, once
alone and once under torchrun, on the CPU. A row of the table is a task and a strategy; its figures are the largest
absolute differences. Random changes of examples and dropout, which is drawn anew in every process, are off.
`--only masks` leaves out all rows whose name does not contain that.

`--compare shards`: two processes with whole weights against two that divide them (`--fsdp on`). `--compare order`: one
process against itself with the rows of every batch in reverse order, which shows what rounding alone does: AdamW makes
a step of its own size of a gradient that is nothing but rounding.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from graftwork import audio, core, imaging
from graftwork.core.compute.runtime import is_first, start_runtime
from graftwork.core.data.examples import read_examples
from graftwork.core.training import loop

ROWS = 53
RECIPE = core.Recipe(epochs=4, batch_size=8, device="cpu", workers=0, patience=99, augment="off", views=1)
STRATEGIES = ("knn", "probe", "lora", "norm", "partial:1", "full", "lpft")
DIVIDED = ("lora", "norm", "full", "lpft")
"""Strategies that can divide their weights."""

SIDES = {
    "processes": ((1, RECIPE), (2, RECIPE)),
    "shards": ((2, RECIPE), (2, replace(RECIPE, fsdp="on"))),
    "order": ((1, RECIPE), (1, RECIPE)),
}
"""What is compared: processes and recipe of both sides."""

TASKS = {"label": "single-label", "bright,striped": "multi-label", "age": "regression", "grade": "ordinal"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="")
    parser.add_argument("--compare", choices=list(SIDES), default="processes")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.worker:
        learn_all(Path(chosen.worker), chosen.only, chosen.compare)
        return
    with tempfile.TemporaryDirectory() as place:
        write_examples(Path(place) / "data")
        for side, (processes, _) in enumerate(SIDES[chosen.compare]):
            launch(Path(place) / str(side), processes, ["--only", chosen.only, "--compare", chosen.compare])
        print(f"{'task, strategy':34} weights  predictions  losses")
        for name, differences in compared(Path(place) / "0", Path(place) / "1"):
            print(f"{name:34} " + "  ".join(f"{one:8.1e}" for one in differences))


def launch(out: Path, processes: int, words: list[str]) -> None:
    """Trains everything of one side by so many processes, into the folder that is called by the side's number."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [sys.executable, *(torchrun if processes > 1 else []), __file__, "--worker", str(out), *words]
    settings = os.environ | {"OMP_NUM_THREADS": "1", "GRAFTWORK_CACHE": str(out.parent / f"cache-{out.name}")}
    subprocess.run(command, env=settings, check=True, stdout=subprocess.DEVNULL)


def compared(one: Path, two: Path) -> Iterator[tuple[str, tuple[float, float, float]]]:
    """Every row with its largest differences: weights, predictions, losses of the history."""
    for path in sorted(one.glob("*.json")):
        left, right = (json.loads((folder / path.name).read_text(encoding="utf-8")) for folder in (one, two))
        weights = [load_file((folder / path.name).with_suffix(".safetensors")) for folder in (one, two)]
        if weights[0].keys() != weights[1].keys():
            raise SystemExit(f"{path.stem}: the processes have learnt other tensors")
        apart = max((float((value.double() - weights[1][name].double()).abs().max())
                     for name, value in weights[0].items() if value.numel()), default=0.0)  # fmt: skip
        yield path.stem, (apart, _apart(left["predictions"], right["predictions"]),
                          _apart(left["losses"], right["losses"]))  # fmt: skip


def _apart(one: list[float], other: list[float]) -> float:
    return float(np.abs(np.asarray(one) - np.asarray(other)).max(initial=0.0))


def write_examples(folder: Path) -> None:
    """53 scans with masks and clips of 0.4 to 1 s, and a table of each: neither batches nor parts divide by two."""
    folder.mkdir(parents=True)
    rng, rows = np.random.default_rng(3), []
    for row in range(ROWS):
        label, bright, striped = row % 2, row // 2 % 2, row // 4 % 2
        pixels = rng.integers(0, 90, (32, 32)) + 60 * label + 40 * bright
        pixels[:, ::2] += 50 * striped
        mask = np.zeros((32, 32), np.uint8)
        mask[4 : 12 + 8 * label, 6:20] = 1
        Image.fromarray((pixels + 40 * mask).clip(0, 255).astype(np.uint8)).save(folder / f"{row}.png")
        Image.fromarray(mask).save(folder / f"{row}-mask.png")
        time = np.arange(int(6400 + 9600 * rng.random()))
        sound = 0.3 * np.sin(time * (0.05 + 0.2 * label + 0.1 * bright)) + 0.05 * rng.normal(size=len(time))
        soundfile.write(folder / f"{row}.wav", sound, 16000)
        rows.append({"label": "ab"[label], "bright": bright, "striped": striped, "grade": label + bright,
                     "age": 40 + 20 * label + rng.normal(), "mask": f"{row}-mask.png",
                     "text": ("a", "ab", "b a")[row % 3], "speaker": f"s{row % 3}"})  # fmt: skip
    table = pd.DataFrame(rows)
    table.assign(path=[f"{row}.png" for row in range(ROWS)]).drop(columns=["text", "speaker"]).to_csv(
        folder / "scans.csv", index=False)  # fmt: skip
    table.assign(path=[f"{row}.wav" for row in range(ROWS)]).drop(columns="mask").to_csv(
        folder / "clips.csv", index=False)  # fmt: skip


def learn_all(out: Path, only: str, compare: str) -> None:
    """What each process does: every task with every strategy, then pretraining."""
    recipe = SIDES[compare][int(out.name)][1]
    strategies = DIVIDED if compare == "shards" else STRATEGIES
    if compare == "order" and out.name == "1":
        drawn = loop.epoch_batches
        loop.epoch_batches = lambda *given: [batch[::-1].copy() for batch in drawn(*given)]
    runtime = start_runtime(recipe)
    if is_first():
        out.mkdir(parents=True)
    runtime.wait()
    data = out.parent / "data"
    for target, task in TASKS.items():
        order = [0, 1, 2] if task == "ordinal" else None
        scans = imaging.read_manifest(data / "scans.csv", target=target, task=task, order=order)
        clips = audio.read_manifest(data / "clips.csv", target=target, task=task, order=order)
        for strategy in strategies:
            learn(out, only, f"scans, {task}, {strategy}", scans, strategy, recipe)
            learn(out, only, f"clips, {task}, {strategy}", clips, strategy, recipe)
    masks = imaging.read_manifest(data / "scans.csv", target="mask", mask_values="0,1")
    text = audio.read_manifest(data / "clips.csv", target="text", task="text")
    voices = audio.read_manifest(data / "clips.csv", target="speaker")
    for strategy in strategies:
        if strategy not in ("knn", "lpft"):  # which have no head for these
            if compare != "shards":
                learn(out, only, f"scans, masks, {strategy}", masks, strategy, recipe)
            learn(out, only, f"clips, text, {strategy}", text, strategy, recipe)
            learn(out, only, f"clips, speakers by aam, {strategy}", voices, strategy, replace(recipe, head="aam"))
    if only in "clips, pretraining" and compare == "processes":
        pretrain(out, voices)
    runtime.wait()


def backbone_of(manifest: core.Manifest) -> core.Backbone:
    """A packaged backbone that gives what the manifest's task needs."""
    if manifest.task.output == "maps":
        return imaging.load_backbone("tiny:cnn2d", image_size=32, mask_values="0,1")
    if str(manifest.inputs[0]).endswith(".png"):
        return imaging.load_backbone("tiny:cnn2d", image_size=32)
    return without_dropout(
        audio.load_backbone("tiny:wav2vec2", pooling="none" if manifest.task.output == "frames" else None)
    )


def without_dropout(backbone: core.Backbone) -> core.Backbone:
    """The backbone with the dropout of its attention off; it has no other."""
    for module in backbone.network.modules():
        if isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.0  # type: ignore[assignment]
    return backbone


def learn(out: Path, only: str, name: str, manifest: core.Manifest, strategy: str, recipe: core.Recipe) -> None:
    """Twenty updates on 40 of the rows; writes what is learnt after the last, and predictions of the others."""
    if only not in name:
        return
    train, val = manifest.subset(range(40)), manifest.subset(range(40, ROWS))
    run = core.finetune(backbone_of(manifest), train, strategy=strategy, recipe=recipe)
    if manifest.task.output == "maps":
        predictions = np.zeros(0)  # masks are classes alone
    else:
        predictions = run.adapter.predict(val).select_dtypes("number").to_numpy().ravel()
    if is_first():
        write(out, name, run.adapter.graft.learnt(), predictions, run.history)


def pretrain(out: Path, clips: core.Manifest) -> None:
    """Twenty updates of pretraining, speakers and channels included."""
    backbone = without_dropout(audio.load_backbone("tiny:wav2vec2"))
    asked = audio.Pretraining(units=("mfcc", "layer1"), updates=10, clusters=4, batch_seconds=4, crop_seconds=0.5,
                              speaker_weight=0.2, channels="on", device="cpu")  # fmt: skip
    made, history = audio.pretrain(backbone, read_examples(clips, backbone.contract), asked, out / "rounds",
                                   speakers=True, resume=False)  # fmt: skip
    if is_first():
        write(out, "clips, pretraining", made.network.state_dict(), np.zeros(0), history)


def write(
    out: Path, name: str, tensors: dict[str, torch.Tensor], predictions: np.ndarray,
    history: tuple[dict[str, float | None], ...],
) -> None:  # fmt: skip
    """Two files of one row of the table."""
    save_file({key: value.detach().contiguous().clone() for key, value in tensors.items()},
              out / f"{name}.safetensors")  # fmt: skip
    losses = [value for row in history for key, value in row.items() if key.endswith("loss") and value is not None]
    text = json.dumps({"predictions": predictions.tolist(), "losses": losses})
    (out / f"{name}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
