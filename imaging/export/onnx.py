"""An adapter with its backbone as one network that runs elsewhere: ONNX. MONAI bundles are in `monai_bundle`."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor, nn

from graftwork.core.inference.adapter import Adapter
from graftwork.core.inference.onnx_file import write_onnx
from graftwork.core.model.lora import has_lora, merge_lora
from graftwork.core.types import Features

INPUT, OUTPUT = "scan", "prediction"


class Predictor(nn.Module):
    """Scans as the contract reads them, (batch, channels, *size), to what `predict` writes: probabilities (batch,
    classes) or (batch, labels), numbers (batch, 1), or of masks the probabilities of every voxel of a patch (batch,
    classes, *size). What LoRA learnt is merged into the layers."""

    def __init__(self, adapter: Adapter) -> None:
        super().__init__()
        backbone = adapter.backbone
        self.backbone = merge_lora(backbone) if has_lora(backbone) else backbone.copy()
        self.network = self.backbone.network
        self.head = copy.deepcopy(adapter.graft.head)
        self.task = adapter.task
        self.eval().requires_grad_(False)

    def forward(self, scan: Tensor) -> Tensor:
        features = self.backbone.run(Features(scan))
        return self.task.probabilities(self.head(features if self.task.output == "maps" else features.values))


def export_onnx(adapter: Adapter, path: Path) -> float:
    """Writes the network as one .onnx file that takes batches of any size; returns the largest difference that
    onnxruntime showed from the network on random scans.

    The file says under the metadata key `graftwork` how a scan becomes its input, and what the outputs are. Raises
    MissingPackageError without the extra `export`, SettingsError for a network that ONNX cannot hold, or that gives
    other outputs there.
    """
    generator = torch.Generator().manual_seed(0)
    scans = torch.randn(3, *adapter.backbone.contract.blank().shape, generator=generator)
    return write_onnx(adapter, Predictor(adapter), path, inputs={INPUT: {0: "batch"}}, outputs=[OUTPUT],
                      traced=(scans[:2],), checked=[(scans[:1],), (scans,)])  # fmt: skip
