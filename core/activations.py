"""What the frozen stages make of every example, computed once instead of once per epoch."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import psutil
import torch
from torch import Tensor

from graftwork.core.backbone import Backbone, Features
from graftwork.core.examples import MEMORY_SHARE, Examples, load_batches
from graftwork.core.progress import progress
from graftwork.core.runtime import Runtime

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoredFeatures:
    """The contract of examples that are activations already: they need no reading, only to be put in batches."""

    ragged: bool

    def read(self, path: str) -> Tensor:
        raise LookupError(f"{path}: activations are in memory; nothing is read from files")

    def collate(self, examples: Sequence[Tensor]) -> Features:
        """Equal shapes are stacked; sequences (time, channels) of unequal length are padded with zeros."""
        if not self.ragged:
            return Features(torch.stack(list(examples)))
        lengths = torch.tensor([len(example) for example in examples])
        return Features(torch.nn.utils.rnn.pad_sequence(list(examples), batch_first=True), lengths)

    def to_json(self) -> dict[str, Any]:
        return {"ragged": self.ragged}


def precompute(backbone: Backbone, examples: Examples, stop: int, runtime: Runtime, batch_size: int) -> Examples | None:
    """The examples after stages 0 up to `stop`, float32 in memory; None, and a message, if they do not fit.

    Examples that have been that far already are returned as they are. The stages run in evaluation mode without
    a graph. Batches hold examples of similar length.
    """
    if examples.stage >= stop:
        return examples
    order = sorted(range(len(examples)), key=lambda row: _length(examples, row))
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    limit = psutil.virtual_memory().available * MEMORY_SHARE
    network = runtime.place(backbone.network).eval()
    placed = backbone.with_network(network)
    found: dict[int, Tensor] = {}
    ragged = False
    name = backbone.stages[stop - 1].name
    with progress(f"{backbone.id} up to {name}", len(examples)) as advance:
        loaded = load_batches(examples, batches, workers=runtime.workers, pin=runtime.pins)
        for rows, batch in zip(batches, loaded, strict=True):
            with torch.inference_mode(), runtime.autocast():
                result = placed.run(runtime.send(batch), 0, stop)
            ragged = result.lengths is not None
            found |= dict(zip(rows, _single(result), strict=True))
            advance(len(rows), "")
            expected = sum(value.nbytes for value in found.values()) / len(found) * len(examples)
            if expected > limit:
                log.info(
                    "activations need about %.0f MB, more than the %.0f MB allowed: the frozen stages run anew "
                    "in every epoch", expected / 1e6, limit / 1e6,
                )  # fmt: skip
                runtime.release(network)
                return None
    runtime.release(network)
    return replace(
        examples,
        contract=StoredFeatures(ragged),
        tensors=tuple(found[row] for row in range(len(examples))),
        stage=stop,
    )


def _single(features: Features) -> list[Tensor]:
    """The examples of a batch apart, without their padding, on the CPU."""
    values = features.values.float().cpu()
    if features.lengths is None:
        return [value.clone() for value in values]
    return [value[:length].clone() for value, length in zip(values, features.lengths.tolist(), strict=True)]


def _length(examples: Examples, row: int) -> int:
    return 0 if examples.tensors is None else examples.tensors[row].shape[-1]


def vectors(examples: Examples) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Examples that have been through all stages, as one table (rows, feature_dim)."""
    tensors = examples.tensors or ()
    return torch.stack(list(tensors)).numpy()
