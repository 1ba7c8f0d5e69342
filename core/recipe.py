"""How to train: every number of the fine-tuning loop that a user may choose, with its default."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from graftwork.core.errors import SettingsError

ClassWeights = Literal["none", "balanced"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
MemoryFormat = Literal["channels-last", "contiguous"]
Augmentation = Literal["auto", "on", "off"]
HeadStart = Literal["auto", "probe", "random"]
Switch = Literal["on", "off"]
Compile = Literal["auto", "on", "off"]
StoreType = Literal["float32", "float16", "bfloat16"]

EXECUTION_FIELDS = ("device", "workers", "cache", "cache_limit")
"""Fields of a recipe that say where a run is computed, not what: a resumed run may change them."""


@dataclass(frozen=True)
class Recipe:
    """Settings of one run; two runs with equal recipes, data and weights give equal bytes on one machine.

    epochs, batch_size: passes over the training rows, rows per forward pass; the command line takes 2 for masks of
    volumes where nobody says how many (`patches.usual_batch_size`). batch_seconds: of clips of unequal
    length, which go through the network with their like: seconds per forward pass, padding included; None is
    batch_size times their mean. accumulate: forward passes per update, so an update sees batch_size * accumulate
    rows. learning_rate: of the head, after warm-up; pretrained tensors learn at a tenth of it. weight_decay:
    AdamW's, on matrices and filters only.
    warmup: share of the updates over which the rate rises, before it falls along a cosine to zero.
    clip_norm: largest norm of the gradient, 0 for no clipping. patience: epochs without a better validation
    metric before training stops. class_weights: "balanced" weighs rows by the inverse frequency of their
    class. head, dropout: kind of head, dropout in front of its last layer. head_start: where training begins a linear
    head: "probe" at the exact solution on the vectors of the untrained network, "random" at small random weights,
    "auto" as the strategy says. margin, margin_scale: of the head "aam", an embedding whose classes are told apart by
    an angle of at least so many radians. augment: "auto" turns random changes on where the whole backbone is trained,
    and off where frozen stages are computed once.
    views: with augmentation in front of frozen stages, how many changed copies of every example are computed
    once and drawn from; None is 4. 0 computes nothing ahead: frozen stages run in every epoch.
    stage_decay: rate of a stage relative to the one above it. lora_rank, lora_alpha, lora_targets: size, strength
    (the change counts alpha / rank times) and layers of `lora`: "auto", "all", or stages, layers and stage:layer
    separated by commas. recompute: "on" keeps no activations inside stages that learn and computes them again for the
    gradient: less memory, about a third more time; stages with BatchNorm keep theirs. device: "auto", "cpu",
    "cuda", "cuda:1", …. precision: "auto" is bf16 where the GPU has it, fp16 on older ones, fp32 on a CPU.
    memory_format: of images and filters. compile: "on" sends frozen and learning stages through torch.compile;
    "auto" the frozen ones where there are enough examples to repay it. workers: processes that read files where
    examples do not fit in memory. cache: folder of the stored outputs of frozen stages, None for the user's cache
    folder. cache_limit: its largest size, as "20GB"; None is a quarter of the free disk. cache_dtype: how numbers
    are stored; float16 keeps 11 bits (relative error at most 5e-4), bfloat16 8 (4e-3).
    """

    epochs: int = 30
    batch_size: int = 16
    batch_seconds: float | None = None
    accumulate: int = 1
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup: float = 0.1
    clip_norm: float = 1.0
    patience: int = 8
    class_weights: ClassWeights = "none"
    head: str = "linear"
    head_start: HeadStart = "auto"
    dropout: float = 0.0
    margin: float = 0.2
    margin_scale: float = 30.0
    augment: Augmentation = "auto"
    views: int | None = None
    stage_decay: float = 1.0
    lora_rank: int = 8
    lora_alpha: float = 16.0
    lora_targets: str = "auto"
    recompute: Switch = "off"
    seed: int = 0
    device: str = "auto"
    precision: Precision = "auto"
    memory_format: MemoryFormat = "channels-last"
    compile: Compile = "auto"
    workers: int = 2
    cache: str | None = None
    cache_limit: str | None = None
    cache_dtype: StoreType = "float32"

    def __post_init__(self) -> None:
        rules = {
            "epochs": (self.epochs >= 1, "at least 1"),
            "batch_size": (self.batch_size >= 1, "at least 1"),
            "batch_seconds": (self.batch_seconds is None or self.batch_seconds > 0, "above 0"),
            "accumulate": (self.accumulate >= 1, "at least 1"),
            "learning_rate": (0 < self.learning_rate < math.inf, "a finite number above 0"),
            "weight_decay": (0 <= self.weight_decay < math.inf, "a finite number of at least 0"),
            "warmup": (0 <= self.warmup < 1, "at least 0 and below 1"),
            "clip_norm": (self.clip_norm >= 0, "at least 0"),
            "patience": (self.patience >= 1, "at least 1"),
            "dropout": (0 <= self.dropout < 1, "at least 0 and below 1"),
            "margin": (0 <= self.margin < 1.5, "at least 0 and below 1.5 radians"),
            "margin_scale": (0 < self.margin_scale < math.inf, "a finite number above 0"),
            "recompute": _one_of(self.recompute, Switch),
            "seed": (self.seed >= 0, "at least 0"),
            "workers": (self.workers >= 0, "at least 0"),
            "class_weights": _one_of(self.class_weights, ClassWeights),
            "head_start": _one_of(self.head_start, HeadStart),
            "precision": _one_of(self.precision, Precision),
            "memory_format": _one_of(self.memory_format, MemoryFormat),
            "augment": _one_of(self.augment, Augmentation),
            "views": (self.views is None or self.views >= 0, "at least 0"),
            "stage_decay": (0 < self.stage_decay <= 1, "above 0 and at most 1"),
            "lora_rank": (self.lora_rank >= 1, "at least 1"),
            "lora_alpha": (0 < self.lora_alpha < math.inf, "a finite number above 0"),
            "compile": _one_of(self.compile, Compile),
            "cache_dtype": _one_of(self.cache_dtype, StoreType),
        }
        wrong = [
            f"{name}: expected {expected}, found {getattr(self, name)!r}"
            for name, (right, expected) in rules.items()
            if not right
        ]
        if wrong:
            raise SettingsError("; ".join(wrong))
        if self.views and self.views > 1 and self.augment == "off":
            raise SettingsError(f"views: {self.views} views of an example differ only with augmentation; it is off")


def _one_of(value: str, kind: Any) -> tuple[bool, str]:
    return value in get_args(kind), "one of " + ", ".join(get_args(kind))
