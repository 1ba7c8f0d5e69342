"""How to train: every number of the fine-tuning loop that a user may choose, with its default."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from graftwork.core.errors import SettingsError

ClassWeights = Literal["none", "balanced"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
MemoryFormat = Literal["channels-last", "contiguous"]
Augmentation = Literal["auto", "on", "off"]
HeadStart = Literal["auto", "probe", "random"]
Switch = Literal["on", "off"]
Compile = Literal["auto", "on", "off"]
Fsdp = Literal["auto", "on", "off"]
StoreType = Literal["float32", "float16", "bfloat16"]

ROWS_TOGETHER = 16
"""Rows per forward pass where nobody says how many, and they are no masks of volumes."""

EXECUTION_FIELDS = ("device", "workers", "cache", "cache_limit", "checkpoint_minutes", "fsdp")
"""Fields of a recipe that say where a run is computed, not what: a resumed run may change them."""


def _setting(default: Any, text: str) -> Any:
    """A field with its default and what it says."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Recipe:
    """Settings of one run; two runs with equal recipes, data and weights give equal bytes on one machine.

    None stands for a default that depends on data or machine.

    >>> core.Recipe(epochs=4, learning_rate=1e-3).epochs
    4
    """

    updates: int | None = _setting(
        None,
        "Updates of the weights in all, in place of --epochs: as many epochs as they take. Where scans are few, or cut "
        "into patches, they say more than epochs.",
    )
    epochs: int = _setting(
        30,
        "Passes over the training rows at most; 0 keeps a head that starts at the probe as it is. With --folds the "
        "final adapter is trained for the median of the folds' best epochs.",
    )
    patches: int | None = _setting(
        None,
        "For masks: patches that an epoch draws of every case; by default as many as a case of mean size is made of, 8 "
        "at most, and more where an epoch would have less than 100.",
    )
    decoder_convolutions: int = _setting(
        2,
        "For masks: convolutions of three voxels at every level of the decoder, one behind the other; 1 is quicker.",
    )
    batch_size: int | None = _setting(None, "Rows per forward pass; by default 16, and 2 for masks of volumes.")
    batch_seconds: float | None = _setting(
        None,
        "Seconds of sound per forward pass; by default --batch-size clips of mean length. Clips are put "
        "together with clips of like length.",
    )
    accumulate: int = _setting(1, "Forward passes per update.")
    learning_rate: float = _setting(
        1e-3,
        "Rate of the head after warm-up; pretrained tensors learn at a tenth of it.",
    )
    weight_decay: float = _setting(0.01, "AdamW's, on matrices and filters.")
    warmup: float = _setting(0.1, "Share of the updates over which the rate rises.")
    clip_norm: float = _setting(1.0, "Largest norm of the gradient; 0 for no clipping.")
    patience: int = _setting(8, "Epochs without a better validation metric before training stops.")
    class_weights: ClassWeights = _setting("none", "'balanced' weighs rows by the inverse frequency of their class.")
    features: str = _setting(
        "last",
        "Which stages' pooled outputs knn and a solved probe read: last; a stage's name, for sequences also as "
        "STAGE:mean+std; all, joined; auto: what predicts held-out training rows best.",
    )
    head: str = _setting("linear", "Kind of head.")
    head_start: HeadStart = _setting(
        "auto",
        "Where training begins a linear head: probe, the exact solution on the pretrained network's vectors "
        "(Kumar et al. 2022), or random; auto: as the strategy says.",
    )
    dropout: float = _setting(0.0, "In front of the head's last layer.")
    margin: float = _setting(0.2, "Of the head aam, in radians.")
    margin_scale: float = _setting(30.0, "Of the head aam: what cosines are multiplied by.")
    augment: Augmentation = _setting(
        "auto",
        "Random changes of the training examples; auto: on where the whole backbone is trained.",
    )
    views: int | None = _setting(
        None,
        "With --augment on, changed copies of each example that frozen stages compute once, 4 by default; "
        "each epoch draws one. 0: no cache, frozen stages run in every epoch.",
    )
    stage_decay: float = _setting(1.0, "Learning rate of a stage relative to the one above it; 1 for all alike.")
    lora_rank: int = _setting(8, "Rank of lora's changes.")
    lora_alpha: float = _setting(16.0, "lora's changes count alpha / rank times.")
    lora_targets: str = _setting(
        "auto",
        "Layers that lora changes: auto (attention, else all), all, or stages, layers and stage:layer, "
        "separated by commas.",
    )
    recompute: Switch = _setting(
        "off",
        "on: keep no activations inside stages that learn and compute them again for the gradient: less "
        "memory, about a third more time.",
    )
    seed: int = _setting(0, "Of splits, initial weights, order and augmentation.")
    device: str = _setting("auto", "auto, cpu, cuda, cuda:1, …")
    precision: Precision = _setting("auto", "auto: bf16 on GPUs that have it, fp16 on older ones, fp32 on a CPU.")
    memory_format: MemoryFormat = _setting("channels-last", "Layout of images and filters in memory.")
    deterministic: Switch = _setting(
        "on",
        "on: equal runs give equal bytes, on a GPU by slower kernels of attention and a few other layers; off: by the "
        "fastest. On a CPU they always do.",
    )
    compile: Compile = _setting(
        "auto",
        "torch.compile: on compiles frozen and learning stages (of clips the learning ones), auto the frozen "
        "ones where it repays.",
    )
    fsdp: Fsdp = _setting(
        "auto",
        "Of several processes (torchrun): on divides weights, gradients and optimiser among them (FSDP2), off keeps "
        "all in each; auto: on where they do not fit otherwise.",
    )
    workers: int = _setting(2, "Processes that read files that do not fit in memory.")
    checkpoint_minutes: float = _setting(
        5.0,
        "Minutes after which an unfinished run is kept again, within epochs too; at the end of an epoch also sooner "
        "where that takes less than a fiftieth of the time. 0: after every update.",
    )
    cache: str | None = _setting(
        None,
        "Folder for the outputs of frozen stages, which are computed once; by default the user's cache folder.",
    )
    cache_limit: str | None = _setting(
        None,
        "Largest size of the cache, as 20GB; by default a quarter of the free disk. Beyond it frozen stages "
        "run in every epoch.",
    )
    cache_dtype: StoreType = _setting(
        "float32",
        "How they are stored: float16 and bfloat16 take half the room, with relative errors of up to 5e-4 and 4e-3.",
    )

    @property
    def rows_together(self) -> int:
        """Rows per forward pass: the batch size, or what it is by default for all but masks of volumes."""
        return ROWS_TOGETHER if self.batch_size is None else self.batch_size

    def __post_init__(self) -> None:
        rules = {
            "updates": (self.updates is None or self.updates >= 1, "at least 1"),
            "patches": (self.patches is None or self.patches >= 1, "at least 1"),
            "decoder_convolutions": (self.decoder_convolutions >= 1, "at least 1"),
            "epochs": (self.epochs >= 0, "at least 0"),
            "batch_size": (self.batch_size is None or self.batch_size >= 1, "at least 1"),
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
            "checkpoint_minutes": (self.checkpoint_minutes >= 0, "at least 0"),
            "class_weights": _one_of(self.class_weights, ClassWeights),
            "head_start": _one_of(self.head_start, HeadStart),
            "precision": _one_of(self.precision, Precision),
            "memory_format": _one_of(self.memory_format, MemoryFormat),
            "augment": _one_of(self.augment, Augmentation),
            "views": (self.views is None or self.views >= 0, "at least 0"),
            "stage_decay": (0 < self.stage_decay <= 1, "above 0 and at most 1"),
            "lora_rank": (self.lora_rank >= 1, "at least 1"),
            "lora_alpha": (0 < self.lora_alpha < math.inf, "a finite number above 0"),
            "deterministic": _one_of(self.deterministic, Switch),
            "compile": _one_of(self.compile, Compile),
            "fsdp": _one_of(self.fsdp, Fsdp),
            "cache": (self.cache not in ("off", "none", "no"), "a folder; views 0 computes without a cache"),
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


# What a field says stands once: `--help` is drawn from it as well.
Recipe.__doc__ = (Recipe.__doc__ or "") + "".join(f"\n    {one.name}: {one.metadata['help']}" for one in fields(Recipe))


def _one_of(value: str, kind: Any) -> tuple[bool, str]:
    return value in get_args(kind), "one of " + ", ".join(get_args(kind))
