"""How to train: every number of the fine-tuning loop that a user may choose, with its default."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from graftwork.core.errors import SettingsError

HeadKind = Literal["linear", "mlp"]
ClassWeights = Literal["none", "balanced"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
MemoryFormat = Literal["channels-last", "contiguous"]
Augmentation = Literal["auto", "on", "off"]


STRATEGIES = {
    "probe": "a linear head on frozen features, solved exactly (one pass over the data)",
    "partial:N": "the head and the last N stages with weights; everything below stays frozen",
    "full": "the head and every tensor, from the pretrained weights",
    "scratch": "the head and every tensor, from random weights: the baseline without transfer",
}
"""Name and meaning of every strategy, as `--help` and errors list them."""


@dataclass(frozen=True)
class Recipe:
    """Settings of one run; two runs with equal recipes, data and weights give equal bytes on one machine.

    epochs, batch_size: passes over the training rows, rows per forward pass. accumulate: forward passes per
    update, so an update sees batch_size * accumulate rows. learning_rate: of the head, after warm-up;
    pretrained tensors learn at a tenth of it. weight_decay: AdamW's, on matrices and filters only.
    warmup: share of the updates over which the rate rises, before it falls along a cosine to zero.
    clip_norm: largest norm of the gradient, 0 for no clipping. patience: epochs without a better validation
    metric before training stops. class_weights: "balanced" weighs rows by the inverse frequency of their
    class. head, dropout: kind of head, dropout in front of its last layer. augment: "auto" turns random
    changes on where the whole backbone is trained, and off where frozen stages are computed once.
    device: "auto", "cpu", "cuda", "cuda:1", …. precision: "auto" is bf16 where the GPU has it, fp16 on
    older ones, fp32 on a CPU. memory_format: of images and filters. compile: through torch.compile.
    workers: processes that read files where examples do not fit in memory.
    """

    epochs: int = 30
    batch_size: int = 16
    accumulate: int = 1
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup: float = 0.1
    clip_norm: float = 1.0
    patience: int = 8
    class_weights: ClassWeights = "none"
    head: HeadKind = "linear"
    dropout: float = 0.0
    augment: Augmentation = "auto"
    seed: int = 0
    device: str = "auto"
    precision: Precision = "auto"
    memory_format: MemoryFormat = "channels-last"
    compile: bool = False
    workers: int = 2

    def __post_init__(self) -> None:
        rules = {
            "epochs": (self.epochs >= 1, "at least 1"),
            "batch_size": (self.batch_size >= 1, "at least 1"),
            "accumulate": (self.accumulate >= 1, "at least 1"),
            "learning_rate": (0 < self.learning_rate < math.inf, "a finite number above 0"),
            "weight_decay": (0 <= self.weight_decay < math.inf, "a finite number of at least 0"),
            "warmup": (0 <= self.warmup < 1, "at least 0 and below 1"),
            "clip_norm": (self.clip_norm >= 0, "at least 0"),
            "patience": (self.patience >= 1, "at least 1"),
            "dropout": (0 <= self.dropout < 1, "at least 0 and below 1"),
            "seed": (self.seed >= 0, "at least 0"),
            "workers": (self.workers >= 0, "at least 0"),
            "class_weights": _one_of(self.class_weights, ClassWeights),
            "head": _one_of(self.head, HeadKind),
            "precision": _one_of(self.precision, Precision),
            "memory_format": _one_of(self.memory_format, MemoryFormat),
            "augment": _one_of(self.augment, Augmentation),
        }
        wrong = [
            f"{name}: expected {expected}, found {getattr(self, name)!r}"
            for name, (right, expected) in rules.items()
            if not right
        ]
        if wrong:
            raise SettingsError("; ".join(wrong))


def _one_of(value: str, kind: Any) -> tuple[bool, str]:
    return value in get_args(kind), "one of " + ", ".join(get_args(kind))
