"""The part that is always new: a linear layer, a small perceptron or an embedding on the backbone's vector."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from graftwork.core.errors import SettingsError
from graftwork.core.model.head_records import DEFAULT_HEAD, HeadShape, find_head
from graftwork.core.types import FrameHead


class Head(nn.Module):
    """Standardises the vector, applies the layers, and brings the result to the target's scale.

    (batch, feature_dim) -> (batch, outputs): logits for labels, the number itself for regression.
    `centre` and `spread` (feature_dim,) are the training features' mean and deviation where they are
    known; `shift` and `scale` (outputs,) the training target's. All four are buffers: set once, saved
    with the adapter.
    """

    def __init__(
        self,
        feature_dim: int,
        outputs: int,
        kind: str = DEFAULT_HEAD,
        dropout: float = 0.0,
        margin_scale: float = 30.0,
        last_layer: Callable[[int, int], nn.Module] = nn.Linear,
    ) -> None:
        super().__init__()
        self.record = find_head(kind)
        self.outputs = outputs
        shape = HeadShape(feature_dim, outputs, dropout, margin_scale, last_layer)
        self.layers = nn.Sequential(*self.record.layers(shape))
        self.register_buffer("centre", torch.zeros(feature_dim))
        self.register_buffer("spread", torch.ones(feature_dim))
        self.register_buffer("shift", torch.zeros(outputs))
        self.register_buffer("scale", torch.ones(outputs))

    def forward(self, vectors: Tensor) -> Tensor:
        centre, spread = cast(Tensor, self.centre), cast(Tensor, self.spread)
        result = self.layers((vectors - centre) / spread)
        return cast(Tensor, result * cast(Tensor, self.scale) + cast(Tensor, self.shift))

    def begin_with(self, given: FrameHead, classes: tuple[str, ...]) -> None:
        """Takes over the layer of a checkpoint. Raises SettingsError for another kind of head or other classes."""
        linear = self.layers[-1]
        if not self.record.convex or given.classes != classes or not isinstance(linear, nn.Linear):
            raise SettingsError(f"a checkpoint's head is linear, for its own {len(given.classes)} characters; found "
                                f"{self.record.name!r} for {len(classes)}")  # fmt: skip
        with torch.no_grad():
            linear.weight.copy_(given.weight)
            linear.bias.copy_(given.bias)

    def embed(self, vectors: Tensor) -> Tensor:
        """Of an angular head, the embedding (batch, 192) whose directions tell classes apart."""
        return cast(Tensor, self.layers[0]((vectors - cast(Tensor, self.centre)) / cast(Tensor, self.spread)))
