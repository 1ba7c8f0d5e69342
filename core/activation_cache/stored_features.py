"""The contract of examples that are activations already: how what was stored becomes a batch again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from graftwork.core.activation_cache.packing import Shapes, unpacked, without_lengths
from graftwork.core.compute.overlap import stacked
from graftwork.core.example import Example
from graftwork.core.types import Features


@dataclass(frozen=True)
class StoredFeatures:
    """The contract of examples that are activations already: they need no reading, only to be put in batches.

    shapes, mask_shape: of what each is packed from, where that is more than one tensor. whole: they hold their lengths
    as a last step, before which their padding is.
    """

    ragged: bool
    shapes: Shapes = ()
    mask_shape: tuple[int, ...] = ()
    whole: bool = False

    def read(self, example: Example) -> Tensor:
        raise LookupError(f"{example}: activations are stored; nothing is read from files")

    def seconds(self, example: Tensor) -> float | None:
        raise LookupError("activations are no longer as long as what they were made of")

    def blank(self) -> Tensor:
        raise LookupError("activations have no shape of their own")

    def collate(self, examples: Sequence[Tensor]) -> Features:
        """Equal shapes are stacked; sequences (time, channels) of unequal length are padded with zeros. float32."""
        if self.shapes:
            return unpacked(stacked(examples).float(), self.shapes, self.mask_shape)
        if self.whole:
            return without_lengths(stacked(examples).float())
        if not self.ragged:
            return Features(stacked(examples).float())
        lengths = torch.tensor([len(example) for example in examples])
        return Features(torch.nn.utils.rnn.pad_sequence(list(examples), batch_first=True).float(), lengths)

    def to_json(self) -> dict[str, Any]:
        return {"ragged": self.ragged, "shapes": self.shapes, "mask_shape": self.mask_shape,
                "whole": self.whole}  # fmt: skip
