"""`make demo`: adapt the two pretrained networks that lie in the package to few labels, and see what that bought.

Nothing is downloaded. The data are made here: phantoms with and without a bright lesion, and voices of a short or a
long vocal tract. The table sets every strategy beside training the same network from scratch, at 40 labels and at all.
The phantoms are of the kind that `tiny:cnn2d` has seen in pretraining: on scans that look otherwise it brings less.
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
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table
from scipy.signal import lfilter

from graftwork import audio, core, imaging

RATE_HZ = 16000
SIDE = 64
STRATEGIES = ("probe", "lora", "full", "scratch")
FEW = 40

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Task:
    """A generated task: its labels, how many files, how one is made from its label's number, and how it is written."""

    labels: tuple[str, ...]
    train: int
    test: int
    suffix: str
    make: Callable[[int, np.random.Generator], Numbers]
    write: Callable[[Path, Numbers], None]


@dataclass(frozen=True)
class Row:
    """One strategy's result with so many labels."""

    strategy: str
    labels: int
    result: core.TrainResult


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("demo-output"))
    folder: Path = parser.parse_args().out
    logging.getLogger("graftwork").addHandler(logging.StreamHandler())
    started = time.monotonic()
    for domain in ("imaging", "audio"):
        shutil.rmtree(folder / domain, ignore_errors=True)
    columns = ("domain", "labels", "strategy", "learnt parameters", "AUROC [95 %]", "more than scratch [95 %]")
    table = Table(*columns, title="What transfer bought: the same network, the same labels")
    for domain, rows in {"imaging": demo_imaging(folder / "imaging"), "audio": demo_audio(folder / "audio")}.items():
        for row in rows:
            scratch = next(other for other in rows if (other.strategy, other.labels) == ("scratch", row.labels))
            own, other = row.result.parts[-1], scratch.result.parts[-1]
            gain = core.compare_predictions("single-label", own.manifest.values, own.predictions,
                                            other.predictions)["auroc"]  # fmt: skip
            learnt = f"{row.result.adapter.record['parameters']['trained']:,}"
            table.add_row(domain, str(row.labels), row.strategy, learnt, str(own.evaluation.metrics["auroc"]),
                          "" if row is scratch else str(gain))  # fmt: skip
        draw_learning_curve(folder / domain / "learning_curve.png", rows)
    Console(width=110).print(table)
    print(f"{time.monotonic() - started:.0f} s; plots: {folder}/*/*.png, and each run's: {folder}/*/runs/*")


def demo_imaging(folder: Path) -> list[Row]:
    """Does a phantom hold a bright lesion? And where does the model look?"""
    task = Task(("healthy", "lesion"), 160, 200, ".png", phantom, write_picture)
    scans = imaging.read_manifest(write_task(folder / "scans", task))
    backbone = imaging.load_backbone("tiny:cnn2d", image_size=SIDE)
    rows = adapt(backbone, scans, core.Recipe(epochs=8, batch_size=16, learning_rate=2e-3), folder / "runs")
    best = next(row for row in rows if row.strategy == "full" and row.labels > FEW)
    draw_saliency(folder / "saliency.png", best.result.adapter, best.result.parts[-1].manifest)
    return rows


def demo_audio(folder: Path) -> list[Row]:
    """Is the vocal tract short or long? And are two clips of one voice?"""
    task = Task(("long", "short"), 100, 200, ".wav", tract, write_sound)
    clips = audio.read_manifest(write_task(folder / "clips", task), target="label")
    backbone = audio.load_backbone("tiny:wav2vec2", pooling="mean+std")
    rows = adapt(backbone, clips, core.Recipe(epochs=4, batch_size=8, learning_rate=1e-3), folder / "runs")
    voices = Task(tuple(f"voice-{number}" for number in range(12)), 72, 0, ".wav", voice, write_sound)
    speakers = audio.read_manifest(write_task(folder / "voices", voices), target="label", split=None)
    trials = audio.all_pairs("voices", speakers.paths, [str(name) for name in speakers.targets])
    scores = {}
    for name, weights in (("tiny:wav2vec2", None), ("random weights", "random")):
        torch.manual_seed(0)
        embedder = audio.open_embedder("tiny:wav2vec2", weights=weights, pooling="mean+std")
        vectors = audio.embed(embedder, core.read_examples(speakers, embedder.backbone.contract), core.Recipe())
        vectors -= vectors.mean(axis=0)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        scores[name] = (vectors[trials.first] * vectors[trials.second]).sum(axis=1)
    audio.draw_det(folder / "det.png", scores, trials.targets, audio.DetectionCost())
    return rows


def adapt(backbone: core.Backbone, manifest: core.Manifest, recipe: core.Recipe, runs: Path) -> list[Row]:
    """Every strategy with few labels and with all, evaluated on the same test part; the runs are kept in `runs`."""
    test = np.flatnonzero(np.array(manifest.parts) == "test")
    rows = []
    for labels in (FEW, len(manifest) - len(test)):
        few = manifest.subset(np.concatenate([np.arange(labels), test]))
        for strategy in STRATEGIES:
            # Every file is drawn anew: there is no need to look for ones that hold nearly the same.
            result = core.train(backbone, few, strategy=strategy, recipe=recipe, val_fraction=0,
                                near_duplicates="ignore", out=runs / f"{strategy}-{labels}")  # fmt: skip
            rows.append(Row(strategy, labels, result))
    return rows


def draw_learning_curve(path: Path, rows: list[Row]) -> None:
    """AUROC with its interval over the number of labels, a line a strategy."""
    figure = Figure(figsize=(5.5, 4), layout="constrained")
    axes = figure.subplots()
    for place, strategy in enumerate(STRATEGIES):
        own = [row for row in rows if row.strategy == strategy]
        values = [row.result.evaluation.metrics["auroc"] for row in own]
        errors = [[value.value - value.low for value in values], [value.high - value.value for value in values]]
        labels = [row.labels * 1.03**place for row in own]
        axes.errorbar(labels, [value.value for value in values], errors, marker="o", capsize=3, label=strategy)
    axes.set(xscale="log", xlabel="labels", ylabel="AUROC", ylim=(0.4, 1.02))
    counts = sorted({row.labels for row in rows})
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()
    axes.legend()
    figure.savefig(path, dpi=110)


def draw_saliency(path: Path, adapter: core.Adapter, scans: core.Manifest) -> None:
    """Four scans with a lesion, and where in them the model finds it."""
    figure = Figure(figsize=(10, 2.8), layout="constrained")
    for axes, row in zip(figure.subplots(1, 4), np.flatnonzero(scans.values == 1)[:4], strict=True):
        found = imaging.explain(adapter, scans.paths[row], output="lesion")
        axes.imshow(found.scan.values[0], cmap="gray")
        axes.imshow(found.values, cmap="inferno", alpha=0.6 * found.values)
        axes.set_axis_off()
    figure.suptitle("what raises the model's odds of a lesion (Grad-CAM)")
    figure.savefig(path, dpi=110)


def write_task(folder: Path, task: Task) -> Path:
    """The files of a task and its manifest; returns the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    rows = []
    for number in range(task.train + task.test):
        label = number % len(task.labels)
        name = f"{number:04d}{task.suffix}"
        task.write(folder / name, task.make(label, generator))
        rows.append((name, task.labels[label], "train" if number < task.train else "test"))
    with (folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "split"), *rows])
    return folder / "manifest.csv"


def write_picture(path: Path, values: Numbers) -> None:
    Image.fromarray((values * 255).astype(np.uint8)).save(path)


def write_sound(path: Path, values: Numbers) -> None:
    soundfile.write(path, values, RATE_HZ)


def phantom(lesion: int, generator: np.random.Generator) -> Numbers:
    """A noisy disc (SIDE, SIDE) in 0..1 with dark ventricles; with a lesion also a small bright blob."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    distance, angle = generator.uniform(0.1, 0.28), generator.uniform(0, 2 * np.pi)
    blob = np.exp(-((x - distance * np.cos(angle)) ** 2 + (y - distance * np.sin(angle)) ** 2) / 0.003)
    mark = lesion * generator.uniform(0.2, 0.4) * blob
    x, y = x + generator.uniform(-0.05, 0.05), y + generator.uniform(-0.05, 0.05)
    inside = np.hypot(x * generator.uniform(0.9, 1.2), y) < 0.4
    ventricles = np.hypot((np.abs(x) - generator.uniform(0.05, 0.12)) * 3, y) < generator.uniform(0.06, 0.14)
    return np.clip(0.15 + inside * (0.4 - 0.2 * ventricles + mark) + generator.normal(0, 0.08, inside.shape), 0, 1)


VOWELS_HZ = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480), (570, 840, 2410))
"""First three formants of five vowels (Peterson and Barney 1952, men)."""


def spoken(stretch: float, pitch_hz: float, generator: np.random.Generator) -> Numbers:
    """Three vowels (samples,) from a buzz through resonances, all frequencies of the tract `stretch` times as high."""
    parts = []
    for vowel in generator.choice(len(VOWELS_HZ), 3, replace=False):
        count = round(RATE_HZ * generator.uniform(0.11, 0.15))
        glide = pitch_hz * (1 + generator.uniform(-0.15, 0.15) * np.linspace(0, 1, count))
        phase = np.cumsum(glide) / RATE_HZ
        buzz = np.diff(np.floor(phase), prepend=0) + generator.normal(0, 0.02, count)
        for centre_hz in np.array(VOWELS_HZ[vowel]) * stretch:
            radius = np.exp(-np.pi * 90 / RATE_HZ)
            buzz = lfilter([1 - radius], [1, -2 * radius * np.cos(2 * np.pi * centre_hz / RATE_HZ), radius**2], buzz)
        parts.append(buzz / np.abs(buzz).max())
    sound = np.concatenate(parts)
    sound = sound + generator.normal(0, generator.uniform(0.01, 0.08), len(sound))
    return 0.3 * sound / np.abs(sound).max()


def tract(short: int, generator: np.random.Generator) -> Numbers:
    """A clip of a speaker whose tract is long or short; the pitch says nothing of it."""
    stretch = generator.uniform(1.06, 1.25) if short else generator.uniform(0.9, 1.06)
    return spoken(stretch, generator.uniform(90, 240), generator)


def voice(number: int, generator: np.random.Generator) -> Numbers:
    """A clip of one of twelve voices, each with a tract and about a pitch of its own."""
    return spoken(0.9 + 0.03 * number, (95 + 37 * number % 140) * generator.uniform(0.9, 1.1), generator)


if __name__ == "__main__":
    main()
