"""A network as one ONNX file that is run and compared before it is kept. What goes in and out, a domain says."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from graftwork.core.errors import MissingPackageError, SettingsError
from graftwork.core.files import atomic_write
from graftwork.core.inference.adapter import Adapter

TOLERANCE = 1e-4
"""Largest difference of probabilities, or of numbers relative to the largest, between both networks."""

ABOUT = "graftwork"
"""The key of the file's metadata under which it says what goes in and what comes out."""

Batch = tuple[Tensor, ...]


def write_onnx(
    adapter: Adapter, network: nn.Module, path: Path, *, inputs: Mapping[str, Mapping[int, str]],
    outputs: Sequence[str], traced: Batch, checked: Sequence[Batch],
    valid: Callable[[Sequence[Tensor]], Tensor] = lambda found: found[0], about: Mapping[str, Any] | None = None,
) -> float:  # fmt: skip
    """Writes the network as one .onnx file; returns the largest difference that onnxruntime showed from it.

    inputs: names in order, each with the axes that may be of any size, by their names. traced: a batch that the network
    is exported by. checked: batches that both networks are compared on; valid: the outputs that count, of all of them.
    about: what the metadata say beside classes, target, task, input contract and decisions.

    Raises MissingPackageError without the extra `export`, SettingsError for a network that ONNX cannot hold, or that
    gives other outputs there.
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
    record = adapter.record
    said = {"classes": list(adapter.classes), "input": record["input"], "task": adapter.task.name,
            "target": record["target"], "decisions": record.get("decisions"), **(about or {})}  # fmt: skip
    with atomic_write(path) as temporary:
        try:
            made: Any = torch.onnx.export(network, traced, dynamo=True, input_names=list(inputs),
                                          output_names=list(outputs), dynamic_shapes=dict(inputs),
                                          verbose=False)  # fmt: skip
            for node in made.model.graph:
                node.metadata_props.clear()  # torch notes there in which files of this machine it stands
            made.save(str(temporary))
            session = onnxruntime.InferenceSession(temporary.read_bytes(), providers=["CPUExecutionProvider"])
            relative = adapter.task.target_scale is not None
            difference = max(_difference(session, network, inputs, batch, valid, relative) for batch in checked)
            made.model.metadata_props[ABOUT] = json.dumps(said | {"largest_difference": difference}, sort_keys=True)
            made.save(str(temporary))
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


def _difference(
    session: Any, network: nn.Module, inputs: Mapping[str, Any], batch: Batch,
    valid: Callable[[Sequence[Tensor]], Tensor], relative: bool,
) -> float:  # fmt: skip
    """Of the outputs that count; relative: to the largest. Not a number where shapes differ."""
    with torch.inference_mode():
        result = network(*batch)
    own = valid([result] if isinstance(result, Tensor) else list(result)).numpy()
    given = {name: tensor.numpy() for name, tensor in zip(inputs, batch, strict=True)}
    found = valid([torch.from_numpy(one) for one in session.run(None, given)]).numpy()
    if found.shape != own.shape:
        return float("nan")
    scale = max(float(np.abs(own).max()), 1e-12) if relative else 1.0
    return float(np.abs(found - own).max()) / scale
