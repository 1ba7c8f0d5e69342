"""The verbs enroll, verify and identify with files around them: recordings, speaker profiles and decisions."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from graftwork.audio.domain import DOMAIN
from graftwork.audio.verification.calibration import Calibration
from graftwork.audio.verification.decisions import DECISION, Decision, decide, unreachable
from graftwork.audio.verification.open_set import named, posteriors
from graftwork.audio.verification.profiles import (
    LEAST_SPEAKERS,
    Profiles,
    calibrate_profiles,
    check_source,
    load_profiles,
    make_profiles,
    save_profiles,
)
from graftwork.audio.verification.scoring import DetectionCost
from graftwork.audio.verification.verifier import Embedder, Vectors, embed, open_embedder, unit
from graftwork.core.data.class_folders import files_below
from graftwork.core.data.examples import Examples, read_examples, read_many, unequal
from graftwork.core.data.manifest import Manifest
from graftwork.core.data.tables import read_manifest
from graftwork.core.errors import ManifestError, OutputError, Problem, SettingsError
from graftwork.core.example import Example
from graftwork.core.inference.inputs import find_inputs
from graftwork.core.names import name_key
from graftwork.core.recipe import Recipe
from graftwork.core.tasks import SINGLE_LABEL

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

Unreadables = Literal["stop", "skip"]
"""Whether a clip that cannot be read ends the work, or is left out."""

UNKNOWN = "unknown"


def opened(source: str | Embedder, weights: str | None, pooling: str | None) -> Embedder:
    """The embedder, or that of a run's folder or a backbone's id. Raises what `open_embedder` raises."""
    return open_embedder(source, weights, pooling) if isinstance(source, str) else source


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
    known = _known(calibration)
    rows = read_manifest(clips, target=speaker, task=SINGLE_LABEL, split=None, suffixes=DOMAIN.suffixes,
                         kinds=DOMAIN.kinds)  # fmt: skip
    embedder, recipe = opened(source, weights, pooling), Recipe(batch_size=batch_size, device=device)
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
    embedder, recipe = opened(source, weights, pooling), Recipe(batch_size=batch_size, device=device)
    known = None
    if profiles is not None:
        known = _open_profiles(profiles, embedder)
        name = next((one for one in known.speakers if name_key(one) == name_key(speaker or "")), speaker)
        if name not in known.speakers:
            raise SettingsError(f"no speaker {name!r} is enrolled; enrolled are {', '.join(known.speakers)}")
    lines = _known(calibration)
    if lines is not None:
        check_calibration(lines, embedder)
    found = find_inputs([clip] if other is None else [clip, other], DOMAIN)
    contract = embedder.backbone.contract
    vectors = embed(embedder, _examples(found, embedder, [contract.read(one) for one in found]), recipe)
    if known is not None:
        place = known.speakers.index(name)
        score = float(known.cosines(vectors)[0, place])
        line = None if known.calibration is None else known.calibration.line(known.clips[place])
    else:
        own = unit(vectors, None if lines is None or lines.centre is None else np.array(lines.centre, dtype=np.float32))
        score = float(own[0] @ own[-1])
        line = None if lines is None else lines.line(1)
    return decide(score, line, cost, threshold)


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

    embedder, recipe = opened(source, weights, pooling), Recipe(batch_size=batch_size, device=device)
    known = _open_profiles(profiles, embedder)
    read = list(read_many(embedder.backbone.contract, find_inputs(inputs, DOMAIN), "reading"))
    good = [(example, tensor) for example, tensor in read if not isinstance(tensor, Exception)]
    cosines = np.zeros((0, len(known.speakers)))
    if good:
        examples = _examples([example for example, _ in good], embedder, [tensor for _, tensor in good])
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


def read_calibration(path: str | Path) -> Calibration:
    """The calibration that `trials` wrote. Raises SettingsError for another file, or one of before."""
    try:
        return Calibration.from_json(json.loads(Path(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"{path}: expected the calibration.json that `trials --out` writes ({error!r}); one of an "
                            "earlier version held for single clips alone: make it anew") from error  # fmt: skip


def _known(calibration: str | Path | Calibration | None) -> Calibration | None:
    if calibration is None or isinstance(calibration, Calibration):
        return calibration
    return read_calibration(calibration)


def check_calibration(calibration: Calibration, embedder: Embedder) -> None:
    """Raises SettingsError where it was found with another source of vectors."""
    if calibration.digest != embedder.digest:
        raise SettingsError(
            f"the calibration was found with other weights (SHA-256 {calibration.digest[:12]}…) than those of "
            f"{embedder.name} ({embedder.digest[:12]}…): make it anew with `trials`"
        )


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


def embed_cohort(embedder: Embedder, cohort: str, recipe: Recipe, unreadable: Unreadables) -> Vectors:
    """Embeddings of the cohort: a table with a column `path`, a folder, or a pattern."""
    folder = Path(cohort).expanduser()
    inputs = files_below(folder, DOMAIN.suffixes) if os.path.isdir(folder) else [cohort]
    found = find_inputs(inputs, DOMAIN)
    if not found:
        raise SettingsError(f"{cohort}: there are no clips for the cohort")
    clips = read_examples(blank(found), embedder.backbone.contract, unreadable=unreadable)
    return embed(embedder, clips, recipe)


def sound_digests(clips: Examples) -> list[str]:
    """SHA-256 of the samples of every clip as the contract reads them: the same sound in two files is one."""
    return [hashlib.sha256(np.ascontiguousarray(clips.tensor(row).numpy()).data).hexdigest()
            for row in range(len(clips))]  # fmt: skip


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


def _open_profiles(profiles: str | Path | Profiles, embedder: Embedder) -> Profiles:
    known = profiles if isinstance(profiles, Profiles) else load_profiles(profiles)
    check_source(known, embedder, "profiles" if isinstance(profiles, Profiles) else profiles)
    return known


def _examples(found: Sequence[Example], embedder: Embedder, tensors: Sequence[object]) -> Examples:
    contract = embedder.backbone.contract
    seconds = unequal([contract.seconds(one) for one in tensors])  # type: ignore[arg-type]
    return Examples(blank(found), contract, tuple(tensors), seconds=seconds)  # type: ignore[arg-type]


def blank(examples: Sequence[Example]) -> Manifest:
    """A manifest of clips about which nothing else is known."""
    return Manifest("", tuple(examples), SINGLE_LABEL, "", ("",), np.zeros(len(examples), dtype=np.int64))
