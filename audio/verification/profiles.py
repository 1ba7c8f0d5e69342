"""Speakers that are enrolled: one averaged embedding each, in one file that says what made it."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from graftwork.audio.verification.calibration import Calibration, calibrate_cosines
from graftwork.audio.verification.open_set import COUNTS, profile_trials
from graftwork.audio.verification.verifier import Embedder, Vectors, unit
from graftwork.core.errors import AdapterError, OutputError
from graftwork.core.files import atomic_write
from graftwork.core.versions import advice_on_schema

log = logging.getLogger(__name__)

SCHEMA = 2
"""1 had a calibration on pairs of single clips, which does not hold for averages of several."""

LEAST_SPEAKERS = 4
"""Below so many with two clips or more, enrolment clips calibrate nothing."""


@dataclass(frozen=True)
class Profiles:
    """speakers: their names. vectors (speakers, dim): the mean of each one's unit vectors, at unit length. clips: how
    many each was made of. source, digest: of the embedder that made them. centre (dim,): what it took away from every
    vector, None for nothing. calibration: from cosines to log-likelihood ratios, None where unknown."""

    speakers: tuple[str, ...]
    vectors: Vectors
    clips: tuple[int, ...]
    source: str
    digest: str
    centre: Vectors | None = None
    calibration: Calibration | None = None

    def cosines(self, vectors: Vectors) -> NDArray[np.float64]:
        """(clips, speakers) of embeddings (clips, dim) with every profile."""
        found: NDArray[np.float64] = (unit(vectors, self.centre) @ self.vectors.T).astype(np.float64)
        return found

    def ratios(self, cosines: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """Log-likelihood ratios of cosines (clips, speakers), each by the number of clips of its profile; None without
        a calibration."""
        if self.calibration is None:
            return None
        lines = [self.calibration.line(clips) for clips in self.clips]
        return np.stack([line.ratios(cosines[:, column]) for column, line in enumerate(lines)], axis=1)


def make_profiles(
    embedder: Embedder,
    vectors: Vectors,
    speakers: Sequence[str],
    centre: Vectors | None = None,
    calibration: Calibration | None = None,
) -> Profiles:
    """One profile for each speaker from embeddings (clips, dim) of clips with these speakers (clips,)."""
    own = unit(vectors, centre)
    names = tuple(sorted(set(speakers)))
    members = {name: [row for row, speaker in enumerate(speakers) if speaker == name] for name in names}
    means = np.stack([own[members[name]].mean(axis=0) for name in names])
    return Profiles(names, unit(means), tuple(len(members[name]) for name in names), embedder.name, embedder.digest,
                    centre, calibration)  # fmt: skip


def calibrate_profiles(
    embedder: Embedder, vectors: Vectors, speakers: Sequence[str], centre: Vectors | None = None
) -> Calibration | None:
    """Lines by number of averaged clips from clips of speakers (clips,): each clip against every speaker averaged from
    others of their clips. None for fewer than four speakers with two clips.

    vectors (clips, dim): embeddings as they are. A single clip counts as a profile of one.
    """
    own = unit(vectors, centre)
    lines = []
    most, repeated = 0, 0
    for name in set(speakers):
        clips = list(speakers).count(name)
        most, repeated = max(most, clips), repeated + (clips > 1)
    if repeated < LEAST_SPEAKERS:
        return None
    for count in sorted({1, *COUNTS, most - 1}):
        trials = profile_trials(own, speakers, count)
        if trials is not None and len(trials.profile_speakers) >= LEAST_SPEAKERS:
            lines.append(calibrate_cosines(trials.scores.ravel(), trials.targets.ravel(), count))
    return Calibration(tuple(lines), len(set(speakers)), embedder.digest,
                       None if centre is None else tuple(map(float, centre)))  # fmt: skip


def save_profiles(profiles: Profiles, path: Path) -> None:
    """Writes one safetensors file; the names are in its header."""
    from safetensors.torch import save_file

    known = profiles.calibration
    about = {
        "schema": SCHEMA,
        "speakers": profiles.speakers,
        "clips": profiles.clips,
        "source": profiles.source,
        "digest": profiles.digest,
        # The centre is among the tensors.
        "calibration": None if known is None else replace(known, centre=None).to_json(),
    }
    tensors = {"vectors": torch.from_numpy(profiles.vectors)}
    if profiles.centre is not None:
        tensors["centre"] = torch.from_numpy(profiles.centre)
    with atomic_write(path) as temporary:
        save_file(tensors, temporary, metadata={"profiles": json.dumps(about)})


def load_profiles(path: str | Path) -> Profiles:
    """The profiles of that file. Raises OutputError if it is none.

    Files of the schema before are read without their calibration, which is said.
    """
    from safetensors import SafetensorError, safe_open

    advice = "make them with `enroll`"
    try:
        with safe_open(path, framework="pt") as file:
            about = _migrated(file.metadata() or {}, path)
            if about.get("schema") != SCHEMA:
                raise OutputError(
                    f"{path}: expected speaker profiles of schema {SCHEMA}, found "
                    f"{about.get('schema')!r}; {advice_on_schema(about.get('schema'), SCHEMA, advice)}"
                )
            tensors = {name: file.get_tensor(name).numpy() for name in file.keys()}  # noqa: SIM118  # not a mapping
        calibration = None if about["calibration"] is None else Calibration.from_json(about["calibration"])
        profiles = Profiles(tuple(about["speakers"]), tensors["vectors"], tuple(map(int, about["clips"])),
                            about["source"], about["digest"], tensors.get("centre"), calibration)  # fmt: skip
    except (
        OSError,
        SafetensorError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise OutputError(f"{path}: cannot be read as speaker profiles ({error!r}); {advice}") from error
    counts = {len(profiles.vectors), len(profiles.speakers), len(profiles.clips)}
    if profiles.vectors.ndim != 2 or len(counts) > 1 or not profiles.clips or min(profiles.clips) < 1:
        raise OutputError(f"{path}: expected a vector for each of {len(profiles.speakers)} speakers, found shape "
                          f"{profiles.vectors.shape}; {advice}")  # fmt: skip
    return profiles


def _migrated(metadata: dict[str, str], path: str | Path) -> dict[str, Any]:
    """The header of this schema, also from one of schema 1."""
    if "profiles" in metadata or "prints" not in metadata:
        found: dict[str, Any] = json.loads(metadata.get("profiles", "{}"))
        return found
    old: dict[str, Any] = json.loads(metadata["prints"])
    if old.get("schema") != 1:
        return old
    if old.get("calibration") is not None:
        log.warning("%s: its calibration was found on pairs of single clips, which does not hold for profiles, and is "
                    "left out; enroll anew for probabilities and decisions", path)  # fmt: skip
    return old | {"schema": SCHEMA, "calibration": None}


def check_source(profiles: Profiles, embedder: Embedder, path: str | Path) -> None:
    """Raises AdapterError where another source of vectors made the profiles: their cosines would mean nothing."""
    if profiles.digest != embedder.digest:
        raise AdapterError(
            f"{path}: these speakers were enrolled with other weights ({profiles.source}, SHA-256 "
            f"{profiles.digest[:12]}…) than {embedder.name} has now ({embedder.digest[:12]}…): enroll them anew"
        )
