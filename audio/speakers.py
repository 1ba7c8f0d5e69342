"""Who speaks, from Python: speakers enrolled, clips verified and identified, and trials judged, as on the command
line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from graftwork.audio.domain import DOMAIN
from graftwork.audio.verification import judgement, verbs
from graftwork.audio.verification.calibration import Calibration
from graftwork.audio.verification.decisions import DECISION, Decision
from graftwork.audio.verification.judgement import Judgement
from graftwork.audio.verification.profiles import Profiles
from graftwork.audio.verification.scoring import DetectionCost
from graftwork.audio.verification.verbs import Identification, Source
from graftwork.audio.verification.verifier import Embedder


def enroll(
    source: str | Embedder,
    clips: str,
    *,
    out: str | Path | None = None,
    speaker: str = "speaker",
    cohort: str | None = None,
    calibration: str | Calibration | None = None,
    unreadable: Literal["stop", "skip"] = "stop",
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
    chosen = Source(DOMAIN, source, weights, pooling, batch_size, device, unreadable)
    return verbs.enroll_speakers(chosen, clips, speaker, cohort, calibration, out)


def verify(
    source: str | Embedder,
    clip: str,
    other: str | None = None,
    *,
    profiles: str | Path | Profiles | None = None,
    speaker: str | None = None,
    calibration: str | Calibration | None = None,
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
    chosen = Source(DOMAIN, source, weights, pooling, batch_size, device)
    return verbs.verify_clip(chosen, clip, other, profiles, speaker, calibration, cost, threshold)


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
    chosen = Source(DOMAIN, source, weights, pooling, batch_size, device)
    return verbs.identify_clips(chosen, profiles, inputs, cost, threshold)


def trials(
    source: str | Embedder,
    trials: str,
    *,
    speaker: str = "speaker",
    cohort: str | None = None,
    folder: str | None = None,
    cost: DetectionCost | None = None,
    out: str | Path | None = None,
    unreadable: Literal["stop", "skip"] = "stop",
    weights: str | None = None,
    pooling: str | None = None,
    batch_size: int = 16,
    device: str = "auto",
) -> Judgement:
    """What embeddings are worth for verification: EER, minDCF, actual DCF, Cllr and minCllr with intervals by speaker.

    trials: a list of lines `1 one.wav other.wav`, whose paths are relative to `folder`, or a table of which all pairs
    are tried. Where speakers are known, clips are also compared with averages of several clips, as `verify` and
    `identify` do, with open-set identification (DIR at a false-alarm rate). cohort: adds AS-norm, and its mean is taken
    from every vector. cost: prior 0.01 and equal costs by default. out: a new folder for scores, metrics, calibration
    and a DET curve.

    Pairs of clips that sound exactly the same are left out and named. Raises TrialsError, before anything is embedded,
    where no target trial or no non-target trial is left; ManifestError for a list or table that cannot be used.

    >>> judged = trials("tiny:wav2vec2", "clips.csv", out="verified")  # doctest: +SKIP
    >>> print(judged.results["cosine"].eer)  # doctest: +SKIP
    0.010 [0.002, 0.061]
    """
    chosen = Source(DOMAIN, source, weights, pooling, batch_size, device, unreadable)
    return judgement.judge_trials(chosen, trials, speaker, cohort, folder, cost or DetectionCost(), out)
