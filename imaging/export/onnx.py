"""An adapter with its backbone as one network that runs elsewhere: ONNX. MONAI bundles are in `monai_bundle`."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from graftwork.core.errors import MissingPackageError, SettingsError
from graftwork.core.files import atomic_write
from graftwork.core.inference.adapter import Adapter
from graftwork.core.model.lora import has_lora, merge_lora
from graftwork.core.types import Features

TOLERANCE = 1e-4
"""Largest difference of probabilities, or of numbers relative to the largest, between both networks."""

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
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  # torch exports through it
    except ImportError as error:
        raise MissingPackageError(f"exporting to ONNX needs {error.name}: pip install 'graftwork[export]'") from error
    if adapter.graft.plan.solver == "neighbours":
        raise SettingsError(f"{adapter.graft.plan.strategy}: looks up its training examples, which ONNX does not hold; "
                            "export a probe")  # fmt: skip
    runtime_faults = onnxruntime.capi.onnxruntime_pybind11_state
    faults = (runtime_faults.Fail, runtime_faults.InvalidGraph, runtime_faults.NotImplemented)
    predictor = Predictor(adapter)
    about = {"classes": list(adapter.classes), "input": adapter.record["input"], "task": adapter.task.name,
             "target": adapter.record["target"]}  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    scans = torch.randn(3, *adapter.backbone.contract.blank().shape, generator=generator)
    with atomic_write(path) as temporary:
        try:
            made: Any = torch.onnx.export(predictor, (scans[:2],), dynamo=True, input_names=[INPUT],
                                          output_names=[OUTPUT], dynamic_shapes={INPUT: {0: "batch"}},
                                          verbose=False)  # fmt: skip
            for node in made.model.graph:
                node.metadata_props.clear()  # torch notes there in which files of this machine it stands
            made.model.metadata_props["graftwork"] = json.dumps(about, sort_keys=True)
            made.save(str(temporary))
            session = onnxruntime.InferenceSession(temporary.read_bytes(), providers=["CPUExecutionProvider"])
            difference = max(_difference(session, predictor, scans[:count], adapter) for count in (1, 3))
        except (torch.onnx.errors.OnnxExporterError, RuntimeError, NotImplementedError, *faults) as error:
            raise SettingsError(f"{adapter.backbone.id} cannot be exported to ONNX: {_last_line(error)}") from error
        if not difference <= TOLERANCE:
            raise SettingsError(f"{adapter.backbone.id}: ONNX gives outputs that differ by {difference:.2g}; at most "
                                f"{TOLERANCE:g} is allowed")  # fmt: skip
    return difference


def _last_line(error: Exception) -> str:
    """Of messages that hold whole programs."""
    lines = str(error.__cause__ or error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__


def _difference(session: Any, predictor: Predictor, scans: Tensor, adapter: Adapter) -> float:
    with torch.inference_mode():
        own = predictor(scans).numpy()
    (found,) = session.run([OUTPUT], {INPUT: scans.numpy()})
    scale = 1.0
    if adapter.task.target_scale is not None:
        scale = max(float(np.abs(own).max()), 1e-12)
    return float(np.abs(found - own).max()) / scale
