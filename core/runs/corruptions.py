"""An adapter on examples that were made worse: how much each metric loses."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from graftwork.core.data.changed import Changed
from graftwork.core.data.examples import Examples
from graftwork.core.errors import SettingsError
from graftwork.core.evaluation.evaluation import EvaluatedPart, compare_predictions, plain_intervals
from graftwork.core.example import Example
from graftwork.core.inference.adapter import Adapter
from graftwork.core.inference.predict import evaluate_part, predict_examples, predict_masks, with_predictions
from graftwork.core.metrics.intervals import Interval
from graftwork.core.types import Corruption

log = logging.getLogger(__name__)

STRENGTHS = (1, 2, 3)


@dataclass(frozen=True, eq=False)
class Corrupted:
    """name, strength: of the corruption. metrics: of the rows made worse. differences: by how much every metric exceeds
    that of the rows as they are, in pairs."""

    name: str
    strength: int
    metrics: dict[str, Interval]
    differences: dict[str, Interval]


def evaluate_corruptions(
    adapter: Adapter, examples: Examples, clean: EvaluatedPart, *, batch_size: int = 16, device: str = "auto"
) -> tuple[Corrupted, ...]:
    """The adapter on these examples, as they were read, under every corruption of the domain, at every strength.

    clean: the same rows as they are. Corruptions that move things are left out for masks. Raises SettingsError where
    the domain has no corruptions.
    """
    domain = adapter.backbone.domain
    wanted = [one for one in domain.corruptions if not (one.moves and adapter.task.output == "maps")]
    if not wanted:
        raise SettingsError(f"--corruptions: none are known for {domain.name}")
    found = []
    for one in wanted:
        for strength in STRENGTHS:
            log.info("corruption: %s, strength %d of %d", one.name, strength, len(STRENGTHS))
            found.append(_evaluated(adapter, examples, clean, one, strength, batch_size, device))
    return tuple(found)


def _evaluated(
    adapter: Adapter, examples: Examples, clean: EvaluatedPart, corruption: Corruption, strength: int,
    batch_size: int, device: str,
) -> Corrupted:  # fmt: skip
    def change(example: Example, read: Tensor) -> Tensor:
        # The same file is changed in the same way, whatever else is evaluated.
        seed = zlib.crc32(f"{corruption.name} {strength} {str(example).rsplit('/', 1)[-1]}".encode())
        return corruption.apply(read, strength, np.random.default_rng(seed))

    manifest = examples.manifest
    contract, segmenter = adapter.backbone.contract, adapter.backbone.segmenter
    if adapter.task.output == "maps" and segmenter is not None:
        predictions = predict_masks(adapter, manifest, segmenter.with_change(change), batch_size=batch_size,
                                    device=device)  # fmt: skip
    else:
        tensors = examples.tensors
        worse = replace(
            examples, contract=Changed(contract, f"{corruption.name} {strength}", change),
            tensors=None if tensors is None else tuple(map(change, manifest.examples, tensors)),
        )  # fmt: skip
        predictions = predict_examples(adapter, worse, batch_size=batch_size, device=device)
    part = evaluate_part(clean.part, manifest, predictions)
    if part.manifest.task.one_class:
        part = with_predictions(part, adapter.decisions.recalibration.apply(part.predictions))
    rows = part.manifest
    differences = compare_predictions(rows.task, rows.values, part.predictions, clean.predictions, rows.groups,
                                      classes=rows.classes)  # fmt: skip
    return Corrupted(corruption.name, strength, part.evaluation.metrics, differences)


def corrupted_to_json(found: Sequence[Corrupted]) -> dict[str, Any]:
    """A field `corruptions` by name and strength; none without any."""
    plain: dict[str, Any] = {}
    for one in found:
        plain.setdefault(one.name, {})[str(one.strength)] = {
            "metrics": plain_intervals(one.metrics), "differences": plain_intervals(one.differences)
        }  # fmt: skip
    return {"corruptions": plain} if plain else {}
