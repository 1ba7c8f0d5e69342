"""Verification: whether a clip is of an enrolled speaker, or of the speaker of another clip."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from graftwork.audio.domain import DOMAIN
from graftwork.audio.verification.calibration import Calibration
from graftwork.audio.verification.decisions import DECISION, Decision, decide
from graftwork.audio.verification.inputs import (
    check_calibration,
    examples_of,
    open_calibration,
    open_profiles,
    open_source,
)
from graftwork.audio.verification.profiles import (
    Profiles,
)
from graftwork.audio.verification.scoring import DetectionCost
from graftwork.audio.verification.verifier import Embedder, embed, unit
from graftwork.core.errors import SettingsError
from graftwork.core.inference.inputs import find_inputs
from graftwork.core.names import name_key
from graftwork.core.recipe import Recipe

if TYPE_CHECKING:
    pass


def verify(
    source: str | Embedder,
    clip: str,
    other: str | None = None,
    *,
    profiles: str | Path | Profiles | None = None,
    speaker: str | None = None,
    calibration: str | Path | Calibration | None = None,
    cost: DetectionCost = DECISION,
    threshold: float | None = None,
    weights: str | None = None,
    pooling: str | None = None,
    batch_size: int = 16,
    device: str = "auto",
) -> Decision:
    """Whether a clip is of an enrolled speaker, or of the speaker of another clip.

    Either other, or profiles with speaker. calibration: for two clips; profiles have their own, by the number of clips
    that each was averaged from. cost: prior and costs of Bayes' decision; the prior is that of the claim, one half by
    default. threshold: a cosine that decides instead. Raises SettingsError for a speaker who is not enrolled,
    AdapterError for profiles of other weights, UnreadableError for a clip that cannot be read.

    >>> found = verify("tiny:wav2vec2", "new.wav", profiles="speakers.safetensors", speaker="anna")  # doctest: +SKIP
    >>> found.accepted, round(found.llr, 1), round(found.threshold, 2)  # doctest: +SKIP
    (True, 9.3, 0.74)
    """
    if (profiles is None) != (speaker is None) or (profiles is None) == (other is None):
        raise SettingsError("give either a second clip, or --profiles with --speaker")
    if profiles is not None and calibration is not None:
        raise SettingsError("--calibration is for two clips; enrolled speakers have their own")
    embedder, recipe = open_source(source, weights, pooling), Recipe(batch_size=batch_size, device=device)
    known = None
    if profiles is not None:
        known = open_profiles(profiles, embedder)
        name = next((one for one in known.speakers if name_key(one) == name_key(speaker or "")), speaker)
        if name not in known.speakers:
            raise SettingsError(f"no speaker {name!r} is enrolled; enrolled are {', '.join(known.speakers)}")
    lines = open_calibration(calibration)
    if lines is not None:
        check_calibration(lines, embedder)
    found = find_inputs([clip] if other is None else [clip, other], DOMAIN)
    contract = embedder.backbone.contract
    vectors = embed(embedder, examples_of(found, embedder, [contract.read(one) for one in found]), recipe)
    if known is not None:
        place = known.speakers.index(name)
        score = float(known.cosines(vectors)[0, place])
        line = None if known.calibration is None else known.calibration.line(known.clips[place])
    else:
        own = unit(vectors, None if lines is None or lines.centre is None else np.array(lines.centre, dtype=np.float32))
        score = float(own[0] @ own[-1])
        line = None if lines is None else lines.line(1)
    return decide(score, line, cost, threshold)
