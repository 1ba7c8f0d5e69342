"""`make demo`: pretrain a very small backbone on a made-up task, adapt it to another with few labels, in both domains.

Everything is generated here: pictures with and without a bright lesion, and voices with a rising or falling melody.
The table sets what the pretrained backbone brings beside training from scratch on the same few labels.
"""

from __future__ import annotations

import argparse
import csv
import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table
from safetensors.torch import save_file

from graftwork import audio, core, imaging
from graftwork.core.experiment import judge
from graftwork.core.history import write_history
from graftwork.core.run_folder import Judged, write_judged

RATE_HZ = 16000
SIDE = 64
STRATEGIES = ("probe", "partial:1", "full", "scratch")
VOICE_CONFIG = {
    "model_type": "wav2vec2", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 128, "conv_dim": [24, 32, 48, 64], "conv_kernel": [20, 8, 4, 4], "conv_stride": [10, 5, 3, 2],
    "feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True, "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
}  # fmt: skip

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Task:
    """A generated task: how many files, and how one is made from its label."""

    name: str
    labels: tuple[str, ...]
    train: int
    test: int
    make: Callable[[int, np.random.Generator], Numbers]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo-output"))
    folder: Path = parser.parse_args().out
    logging.getLogger("graftwork").addHandler(logging.StreamHandler())
    started = time.monotonic()
    for domain in ("imaging", "audio"):
        shutil.rmtree(folder / domain, ignore_errors=True)
    scores = {"imaging": demo_imaging(folder / "imaging"), "audio": demo_audio(folder / "audio")}
    columns = ("domain", "labels", "strategy", "learnt numbers", "AUROC [95 %]", "more than scratch [95 %]")
    table = Table(*columns, title="What transfer bought: the same network, the same few labels")
    for domain, rows in scores.items():
        scratch = rows[-1]
        for row in rows:
            values = row.judged.manifest.values
            gain = core.compare_predictions("single-label", values, row.judged.predictions, scratch.judged.predictions)
            better = "" if row is scratch else str(gain["auroc"])
            learnt = f"{row.adapter.record['parameters']['trained']:,}"
            auroc = str(row.judged.evaluation.metrics["auroc"])
            table.add_row(domain, str(row.labels), row.strategy, learnt, auroc, better)
    Console(width=110).print(table)
    print(f"{time.monotonic() - started:.0f} s; adapters, predictions and pictures: {folder}/*/runs/*")


@dataclass(frozen=True)
class Row:
    """One strategy's result on the target task."""

    strategy: str
    labels: int
    adapter: core.Adapter
    judged: Judged


def demo_imaging(folder: Path) -> list[Row]:
    """Five findings teach the backbone; the target is whether a phantom of the same kind holds a bright lesion."""
    source = Task("findings", ("hole", "ring", "stripe", "spots", "wedge"), 600, 0, finding)
    target = Task("lesions", ("healthy", "lesion"), 40, 300, phantom)
    write = lambda path, values: Image.fromarray((values * 255).astype(np.uint8)).save(path)  # noqa: E731
    source_table = write_task(folder / "source", source, ".png", write)
    target_table = write_task(folder / "target", target, ".png", write)
    torch.manual_seed(0)
    start = imaging.load_backbone("timm:test_resnet", weights="random", image_size=SIDE)
    taught = pretrain(start, imaging.read_manifest(source_table), epochs=10)
    weights = folder / "backbone.safetensors"
    save_file({name: value.contiguous() for name, value in taught.network.state_dict().items()}, weights)
    backbone = imaging.load_backbone("timm:test_resnet", weights=str(weights), image_size=SIDE)
    return adapt(backbone, imaging.read_manifest(target_table), folder / "runs")


def demo_audio(folder: Path) -> list[Row]:
    """Pitch and timbre teach the backbone; the target is whether a noisy melody rises or falls."""
    source = Task("voices", ("low", "middle", "high", "gliding up", "gliding down", "trembling"), 420, 0, voice)
    target = Task("melodies", ("falling", "rising"), 40, 300, melody)
    write = lambda path, values: soundfile.write(path, values, RATE_HZ)  # noqa: E731
    source_table = write_task(folder / "source", source, ".wav", write)
    target_table = write_task(folder / "target", target, ".wav", write)
    torch.manual_seed(0)
    taught = pretrain(audio.new_backbone(VOICE_CONFIG, pooling="mean+std"), audio.read_manifest(source_table), epochs=8)
    backbone = audio.load_backbone(audio.save_backbone(taught, folder / "backbone"), pooling="mean+std")
    return adapt(backbone, audio.read_manifest(target_table), folder / "runs")


def pretrain(backbone: core.Backbone, manifest: core.Manifest, epochs: int) -> core.Backbone:
    """The backbone after learning the source task from random weights."""
    recipe = core.Recipe(epochs=epochs, batch_size=32, learning_rate=2e-3)
    return core.finetune(backbone, manifest, strategy="scratch", recipe=recipe).adapter.backbone


def adapt(backbone: core.Backbone, manifest: core.Manifest, runs: Path) -> list[Row]:
    """Every strategy on the same few labels, judged on the same test part; adapters are kept in `runs`."""
    train, _, test = manifest.split(val_fraction=0)
    rows = []
    for strategy in STRATEGIES:
        recipe = core.Recipe(epochs=20, batch_size=8, learning_rate=3e-3)
        run = core.finetune(backbone, train, strategy=strategy, recipe=recipe)
        examples = core.read_examples(test, backbone.contract)
        judged = judge("test", test, core.predict(run.adapter, examples))
        folder = runs / strategy.replace(":", "-")
        run.adapter.save(folder, judged.evaluation)
        write_history(folder, run.history)
        write_judged(folder, [judged], {})
        rows.append(Row(strategy, len(train), run.adapter, judged))
    return rows


def write_task(folder: Path, task: Task, suffix: str, write: Callable[[Path, Numbers], None]) -> Path:
    """The files of a task and its manifest; returns the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(len(task.name))
    rows = []
    for number in range(task.train + task.test):
        label = number % len(task.labels)
        name = f"{number:04d}{suffix}"
        write(folder / name, task.make(label, generator))
        rows.append((name, task.labels[label], "train" if number < task.train else "test"))
    with (folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "split"), *rows])
    return folder / "manifest.csv"


def finding(kind: int, generator: np.random.Generator) -> Numbers:
    """A phantom (SIDE, SIDE) in 0..1 with one of five findings: a dark hole, a ring, a stripe, many spots, a wedge."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    distance, angle = generator.uniform(0.1, 0.28), generator.uniform(0, 2 * np.pi)
    x0, y0 = x - distance * np.cos(angle), y - distance * np.sin(angle)
    spots = sum(np.exp(-((x - a) ** 2 + (y - b) ** 2) / 0.0015) for a, b in generator.uniform(-0.25, 0.25, (5, 2)))
    turned = x0 * np.cos(angle * 3) + y0 * np.sin(angle * 3)
    mark = (-np.exp(-(x0**2 + y0**2) / 0.004), np.exp(-((np.hypot(x0, y0) - 0.09) ** 2) / 0.0006),
            np.exp(-(turned**2) / 0.0006), spots, np.clip(turned * 6, 0, 1))[kind]  # fmt: skip
    return disc(generator.uniform(0.25, 0.5) * mark, generator)


def phantom(lesion: int, generator: np.random.Generator) -> Numbers:
    """A phantom (SIDE, SIDE) in 0..1, with a lesion also a small bright blob."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    distance, angle = generator.uniform(0.1, 0.28), generator.uniform(0, 2 * np.pi)
    blob = np.exp(-((x - distance * np.cos(angle)) ** 2 + (y - distance * np.sin(angle)) ** 2) / 0.003)
    return disc(lesion * generator.uniform(0.2, 0.4) * blob, generator)


def disc(mark: Numbers, generator: np.random.Generator) -> Numbers:
    """A noisy disc (SIDE, SIDE) in 0..1 with dark ventricles of varying size, and a mark on it."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5 + generator.uniform(-0.05, 0.05, 2)[:, None, None]
    inside = np.hypot(x * generator.uniform(0.9, 1.2), y) < 0.4
    ventricles = np.hypot((np.abs(x) - generator.uniform(0.05, 0.12)) * 3, y) < generator.uniform(0.06, 0.14)
    return np.clip(0.15 + inside * (0.4 - 0.2 * ventricles + mark) + generator.normal(0, 0.08, inside.shape), 0, 1)


def harmonics(pitch_hz: Numbers, generator: np.random.Generator) -> Numbers:
    """A voiced sound (samples,) that follows a pitch, with random overtones and noise."""
    phase = 2 * np.pi * np.cumsum(pitch_hz) / RATE_HZ
    strengths = generator.uniform(0.2, 1, 6) / np.arange(1, 7)
    sound = sum(strength * np.sin(phase * (k + 1)) for k, strength in enumerate(strengths))
    sound = sound + generator.normal(0, generator.uniform(0.05, 0.3), len(pitch_hz))
    return 0.3 * sound / np.abs(sound).max()


def voice(kind: int, generator: np.random.Generator) -> Numbers:
    """About half a second at a low, middle or high pitch, or gliding or trembling."""
    time_s = np.linspace(0, 1, round(RATE_HZ * generator.uniform(0.35, 0.5)))
    start = generator.uniform(*((90, 140), (180, 260), (330, 480), (120, 250), (250, 450), (150, 300))[kind])
    bend = (0, 0, 0, generator.uniform(0.4, 0.9), -generator.uniform(0.3, 0.5), 0)[kind]
    trembling = 0.15 * np.sin(2 * np.pi * 5 * time_s) if kind == 5 else 0
    return harmonics(start * (1 + bend * time_s + trembling), generator)


def melody(rising: int, generator: np.random.Generator) -> Numbers:
    """Three tones, each a little higher, or a little lower, than the one before."""
    step = generator.uniform(1.06, 1.18) ** (1 if rising else -1)
    start = generator.uniform(140, 320)
    tones = np.repeat(start * step ** np.arange(3), RATE_HZ // 8)
    return harmonics(tones, generator)


if __name__ == "__main__":
    main()
