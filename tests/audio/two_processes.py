"""Run by test_several_processes, alone or under torchrun: learns text, windows and units, and writes what it learnt."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
import torch
from safetensors.torch import save_file

from graftwork.audio import DOMAIN, Pretraining, new_backbone, pretrain
from graftwork.core import Manifest, Recipe, finetune
from graftwork.core.compute.runtime import is_first, start_runtime
from graftwork.core.data.examples import read_examples
from graftwork.core.data.windows import in_windows
from graftwork.core.inference.predict import evaluate_part, predict_examples
from graftwork.core.tasks.transcripts import encode, vocabulary

# Dropout is drawn anew in every process, so it is off.
SHAPE = {
    "model_type": "wav2vec2", "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 16, "conv_dim": [8, 8, 8], "conv_kernel": [10, 8, 4], "conv_stride": [5, 8, 8],
    "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2, "hidden_dropout": 0.0, "layerdrop": 0.0,
    "activation_dropout": 0.0, "attention_dropout": 0.0,
}  # fmt: skip
RECIPE = Recipe(epochs=3, batch_size=6, device="cpu", workers=0, learning_rate=0.01, patience=99, augment="off")
WORDS = ("", "a", "abba", "b a", "bab", "abab abab")
ROWS = 23


def new(pooling):
    torch.manual_seed(0)
    made = new_backbone(SHAPE, pooling=pooling)
    return replace(made, contract=replace(made.contract, window_seconds=0.5 if pooling == "mean" else None))


def clips(folder):
    """23 clips of 0.4 to 1.5 s: neither the batches nor the parts divide by two."""
    rng = np.random.default_rng(3)
    paths = [str(folder / f"{row}.wav") for row in range(ROWS)]
    for row, path in enumerate(paths):
        sound = np.sin(np.arange(int(6400 + 17600 * rng.random())) * (0.05 + 0.2 * (row % 2)))
        sound = 0.3 * sound + 0.05 * rng.normal(size=len(sound))
        if is_first():
            soundfile.write(path, sound, 16000)
    return tuple(paths)


def write(folder, name, tensors, result):
    if is_first():
        save_file({key: value.detach().contiguous().clone() for key, value in tensors.items()},
                  folder / f"{name}.safetensors")  # fmt: skip
        (folder / f"{name}.json").write_text(json.dumps(result))


def learn(folder, name, backbone, rows, strategy):
    examples = read_examples(rows, backbone.contract)
    train, val = examples.subset(range(0, len(rows), 2)), examples.subset(range(1, len(rows), 2))
    run = finetune(backbone, train, val, strategy=strategy, recipe=RECIPE)
    evaluated = evaluate_part("test", examples.manifest, predict_examples(run.adapter, examples, device="cpu"))
    metrics = {key: one.value for key, one in evaluated.evaluation.metrics.items()}
    write(folder, name, run.adapter.graft.learnt(),
          {"history": run.history, "predictions": evaluated.predictions.tolist(), "metrics": metrics})  # fmt: skip


def main(folder):
    runtime = start_runtime(RECIPE)
    paths = clips(folder)
    runtime.wait()
    texts = [WORDS[row % len(WORDS)] for row in range(ROWS)]
    classes = vocabulary(texts)
    words = Manifest("generated", paths, "text", "text", classes, encode(texts, classes))
    for strategy in ("full", "partial:1"):
        learn(folder, f"text-{strategy[:4]}", new("none"), words, strategy)
    labels = Manifest("generated", paths, "single-label", "label", ("a", "b"), np.arange(ROWS) % 2)
    backbone = new("mean")
    parts = in_windows(labels, DOMAIN.windows(paths, backbone.contract))
    assert len(parts) > ROWS
    learn(folder, "windows", backbone, parts, "full")
    voices = new("mean+std")
    asked = Pretraining(units=("mfcc", "layer1"), updates=4, clusters=4, batch_seconds=2.5, crop_seconds=0.5,
                        mask_frames=3, speaker_weight=0.2, spectrum_weight=0.3, channels="on",
                        device="cpu")  # fmt: skip
    made, history = pretrain(voices, read_examples(labels, voices.contract), asked, folder / "units", speakers=True,
                             resume=False)  # fmt: skip
    write(folder, "pretrain", made.network.state_dict(), {"history": history})
    runtime.wait()


main(Path(sys.argv[1]))
