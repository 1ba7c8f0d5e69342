"""Enrolment: the profile of every speaker, from clips of a table or a folder per speaker, into a file."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from graftwork.audio.domain import DOMAIN
from graftwork.audio.verification.calibration import Calibration
from graftwork.audio.verification.decisions import DECISION, unreachable
from graftwork.audio.verification.inputs import (
    Unreadables,
    check_calibration,
    embed_cohort,
    open_calibration,
    open_source,
    sound_digests,
)
from graftwork.audio.verification.profiles import (
    LEAST_SPEAKERS,
    Profiles,
    calibrate_profiles,
    make_profiles,
    save_profiles,
)
from graftwork.audio.verification.verifier import Embedder, Vectors, embed
from graftwork.core.data.examples import Examples, read_examples
from graftwork.core.data.tables import read_manifest
from graftwork.core.errors import ManifestError, OutputError, Problem, SettingsError
from graftwork.core.recipe import Recipe
from graftwork.core.tasks import SINGLE_LABEL

if TYPE_CHECKING:
    pass

log = logging.getLogger(__name__)


def enroll(
    source: str | Embedder,
    clips: str,
    *,
    out: str | Path | None = None,
    speaker: str = "speaker",
    cohort: str | None = None,
    calibration: str | Path | Calibration | None = None,
    unreadable: Unreadables = "stop",
    weights: str | None = None,
    pooling: str | None = None,
    batch_size: int = 16,
    device: str = "auto",
) -> Profiles:
    """A profile of every speaker: the mean of the unit embeddings of several clips, at unit length.

    source: a run's folder, a backbone's id, or an open embedder. clips: a table with a column `speaker`, or a folder
    per speaker. out: a file that must not be there yet. cohort: clips of other speakers, whose mean is taken from
    every vector. calibration: what `trials` found; by default clips are compared with their own speaker's other clips
    and with every other speaker, which four speakers of two clips or more take. Those clips are often of one recording
    session: clips of other days score lower than they do, and a calibration of such clips is the better one.

    Raises ManifestError for a table that cannot be used, and for one clip listed under two speakers; OutputError where
    `out` is there; SettingsError for a calibration of other weights, another cohort, or of single clips alone.

    >>> profiles = enroll("tiny:wav2vec2", "clips.csv", out="speakers.safetensors")  # doctest: +SKIP
    >>> profiles.speakers  # doctest: +SKIP
    ('anna', 'ben')
    """
    if out is not None and Path(out).exists():
        raise OutputError(f"{out}: exists already; name another --out, or delete it")
    known = open_calibration(calibration)
    rows = read_manifest(clips, target=speaker, task=SINGLE_LABEL, split=None, suffixes=DOMAIN.suffixes,
                         kinds=DOMAIN.kinds)  # fmt: skip
    embedder, recipe = open_source(source, weights, pooling), Recipe(batch_size=batch_size, device=device)
    if known is not None:
        check_calibration(known, embedder)
    examples = read_examples(rows, embedder.backbone.contract, unreadable=unreadable)
    examples = _each_once(examples)
    speakers = [str(name) for name in examples.manifest.targets]
    without = sorted({*map(str, rows.targets)} - set(speakers))
    if without:
        log.warning("no clip is left of %d speakers, who are not enrolled: %s", len(without), ", ".join(without))
    vectors = embed(embedder, examples, recipe)
    centre = _centre(embedder, cohort, known, recipe, unreadable)
    if known is None:
        known = calibrate_profiles(embedder, vectors, speakers, centre)
        if known is None:
            log.warning("scores are not calibrated: that takes %d speakers of two clips or more, or --calibration",
                        LEAST_SPEAKERS)  # fmt: skip
    profiles = make_profiles(embedder, vectors, speakers, centre, known)
    if known is not None:
        if known.lines[-1].clips == 1 < max(profiles.clips):
            raise SettingsError("the calibration is of single clips against single clips, which does not hold for "
                                "profiles of several: leave --calibration out, or let `trials` make it from a table "
                                "that has three clips of some speakers")  # fmt: skip
        caution = unreachable(known.line(int(np.median(profiles.clips))), DECISION)
        if caution is not None:
            log.warning("%s", caution)
    if out is not None:
        save_profiles(profiles, Path(out))
    return profiles


def _centre(
    embedder: Embedder, cohort: str | None, calibration: Calibration | None, recipe: Recipe, unreadable: Unreadables
) -> Vectors | None:
    """What is taken from every vector: what the calibration says, else the cohort's mean. Raises SettingsError where
    they differ, as scores would not be those that were calibrated."""
    centre = None if cohort is None else embed_cohort(embedder, cohort, recipe, unreadable).mean(axis=0)
    if calibration is None:
        return centre
    known = None if calibration.centre is None else np.array(calibration.centre, dtype=np.float32)
    if centre is not None and (known is None or not np.allclose(known, centre, rtol=1e-2, atol=1e-3)):
        found = "without one" if known is None else "with another"
        raise SettingsError(f"--cohort {cohort}: the calibration was found {found}; leave --cohort out here, as the "
                            "calibration keeps its own, or give the same to `trials`")  # fmt: skip
    return known


def _each_once(clips: Examples) -> Examples:
    """Without clips that sound exactly as one before, which would count twice in an average and calibrate nothing.
    Raises ManifestError where one is listed under two speakers."""
    first: dict[str, int] = {}
    copies = [first.setdefault(digest, row) for row, digest in enumerate(sound_digests(clips))]
    speakers, rows = clips.manifest.targets, clips.manifest.rows
    problems = [
        Problem(f"{clips.manifest.paths[row]} sounds exactly as {clips.manifest.paths[copy]}, which is listed under "
                f"{str(speakers[copy])!r}, not {str(speakers[row])!r}", rows[row] if rows else None)
        for row, copy in enumerate(copies) if speakers[row] != speakers[copy]
    ]  # fmt: skip
    if problems:
        raise ManifestError(clips.manifest.source, problems)
    kept = [row for row, copy in enumerate(copies) if row == copy]
    if len(kept) < len(copies):
        log.warning("%d clips sound exactly as another of their speaker, and are left out", len(copies) - len(kept))
    return clips.subset(kept)
