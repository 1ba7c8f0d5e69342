"""Identification: who of the enrolled speakers says each clip, or nobody of them."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from graftwork.audio.domain import DOMAIN
from graftwork.audio.verification.decisions import DECISION, unreachable
from graftwork.audio.verification.inputs import examples_of, open_profiles, open_source
from graftwork.audio.verification.open_set import named, posteriors
from graftwork.audio.verification.profiles import (
    Profiles,
)
from graftwork.audio.verification.scoring import DetectionCost
from graftwork.audio.verification.verifier import Embedder, embed
from graftwork.core.data.examples import read_many
from graftwork.core.inference.inputs import find_inputs
from graftwork.core.recipe import Recipe

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)


UNKNOWN = "unknown"


@dataclass(frozen=True, eq=False)
class Identification:
    """table: a row a clip, with the columns path, speaker (a name, "unknown", None for a clip that cannot be read),
    score (the cosine with the most probable speaker), llr, probability (that it is this one, of all enrolled and
    nobody), and error where a clip cannot be read. unknown: how many were not named. threshold_llr, threshold:
    log-likelihood ratio and cosine from which on a clip is named that resembles one speaker alone, for profiles of the
    median number of clips. caution: why hardly any clip can be named. None for what is not known."""

    table: pd.DataFrame
    unknown: int
    threshold_llr: float | None = None
    threshold: float | None = None
    caution: str | None = None


def identify(
    source: str | Embedder,
    profiles: str | Path | Profiles,
    inputs: Sequence[str],
    *,
    cost: DetectionCost = DECISION,
    threshold: float | None = None,
    weights: str | None = None,
    pooling: str | None = None,
    batch_size: int = 16,
    device: str = "auto",
) -> Identification:
    """Who of the enrolled speakers says each clip, or "unknown".

    cost: its prior is that a clip is of one of the enrolled speakers, one half by default, shared alike among them:
    with more speakers the best has to be more alike. A name is given where that is expected to cost no more than
    "unknown". threshold: a cosine that decides instead. inputs: files, patterns, or tables with a column `path`; a
    clip that cannot be read has an error in its row. Raises AdapterError for profiles of other weights, OutputError
    for a file that holds none.

    >>> found = identify("tiny:wav2vec2", "speakers.safetensors", ["new/*.wav"])  # doctest: +SKIP
    >>> found.unknown, len(found.table)  # doctest: +SKIP
    (2, 12)
    """
    import pandas as pd

    embedder, recipe = open_source(source, weights, pooling), Recipe(batch_size=batch_size, device=device)
    known = open_profiles(profiles, embedder)
    read = list(read_many(embedder.backbone.contract, find_inputs(inputs, DOMAIN), "reading"))
    good = [(example, tensor) for example, tensor in read if not isinstance(tensor, Exception)]
    cosines = np.zeros((0, len(known.speakers)))
    if good:
        examples = examples_of([example for example, _ in good], embedder, [tensor for _, tensor in good])
        cosines = known.cosines(embed(embedder, examples, recipe))
    found = iter(_rows(known, cosines, cost, threshold))
    rows = []
    for example, result in read:
        error = str(result) if isinstance(result, Exception) else None
        own = dict.fromkeys(("speaker", "score", "llr", "probability")) if error else next(found)
        rows.append({"path": str(example)} | own | {"error": error})
    failed = len(read) - len(good)
    if failed:
        log.warning("%d of %d files could not be read: see the column `error`", failed, len(read))
    table = pd.DataFrame(rows)
    table = table if failed else table.drop(columns="error")
    unknown = int((table["speaker"] == UNKNOWN).sum())
    if threshold is not None:
        return Identification(table, unknown, threshold=threshold)
    if known.calibration is None:
        log.warning("scores are not calibrated, so that nobody is unknown: decide with --threshold, or enroll again "
                    "with --calibration")  # fmt: skip
        return Identification(table, unknown)
    line = known.calibration.line(int(np.median(known.clips)))
    ratio = cost.threshold() + math.log(len(known.speakers))
    caution = unreachable(line, cost, len(known.speakers))
    if caution is not None:
        log.warning("%s", caution)
    return Identification(table, unknown, ratio, line.cosine(ratio), caution)


def _rows(
    known: Profiles, cosines: NDArray[np.float64], cost: DetectionCost, threshold: float | None
) -> list[dict[str, object]]:
    """Speaker, score, ratio and probability of every row of cosines (clips, speakers)."""
    ratios = known.ratios(cosines)
    likeness = cosines if ratios is None or threshold is not None else ratios
    best = likeness.argmax(axis=1)
    accepted = np.ones(len(best), dtype=bool)
    probabilities = None
    if ratios is not None:
        probabilities, none = posteriors(ratios, cost.p_target)
        accepted = named(probabilities, none, cost)
    if threshold is not None:
        accepted = cosines.max(axis=1) >= threshold
    return [
        {
            "speaker": known.speakers[place] if accepted[row] else UNKNOWN,
            "score": float(cosines[row, place]),
            "llr": None if ratios is None else float(ratios[row, place]),
            "probability": None if probabilities is None else float(probabilities[row, place]),
        }
        for row, place in enumerate(best)
    ]
