"""How to train: every number of the fine-tuning loop that a user may choose, with its default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

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
            "epochs": self.epochs >= 1,
            "batch_size": self.batch_size >= 1,
            "accumulate": self.accumulate >= 1,
            "learning_rate": self.learning_rate > 0,
            "weight_decay": self.weight_decay >= 0,
            "warmup": 0 <= self.warmup < 1,
            "clip_norm": self.clip_norm >= 0,
            "patience": self.patience >= 1,
            "dropout": 0 <= self.dropout < 1,
            "seed": self.seed >= 0,
            "workers": self.workers >= 0,
            "class_weights": self.class_weights in get_args(ClassWeights),
            "head": self.head in get_args(HeadKind),
            "precision": self.precision in get_args(Precision),
            "memory_format": self.memory_format in get_args(MemoryFormat),
            "augment": self.augment in get_args(Augmentation),
        }
        wrong = [f"{name}={getattr(self, name)!r}" for name, right in rules.items() if not right]
        if wrong:
            raise SettingsError(f"out of range or unknown: {', '.join(wrong)}; see `help(graftwork.core.Recipe)`")
