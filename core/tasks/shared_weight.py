"""The last layer of a head for grades."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SharedWeight(nn.Module):
    """(batch, width) -> (batch, outputs): one weight (1, width) for all outputs, which differ in their bias."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.Linear(width, 1).weight.detach())
        # At first all grades are as likely.
        self.bias = nn.Parameter((torch.arange(outputs, 0, -1) / (outputs + 1)).logit())

    def forward(self, vectors: Tensor) -> Tensor:
        return vectors @ self.weight.T + self.bias
