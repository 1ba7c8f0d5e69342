"""The verb trials: a source of embeddings evaluated on pairs of clips, and on clips against speaker profiles."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftwork.audio.domain import DOMAIN
from graftwork.audio.verification.calibration import Calibration, Line, calibrate_cosines, cross_calibrated, spread_out
from graftwork.audio.verification.evaluation import Verification, evaluate_scores, plain_interval
from graftwork.audio.verification.inputs import Unreadables, blank, embed_cohort, open_source, sound_digests
from graftwork.audio.verification.open_set import COUNTS, Detection, detection_rates, profile_trials
from graftwork.audio.verification.profiles import LEAST_SPEAKERS
from graftwork.audio.verification.scoring import DetectionCost
from graftwork.audio.verification.trials import (
    IdenticalPair,
    Trials,
    all_pairs,
    check_kinds,
    read_trials,
    without_identical,
)
from graftwork.audio.verification.verifier import Embedder, Vectors, cosine_scores, embed, normalise_scores, unit
from graftwork.core.csv_cells import escaped
from graftwork.core.data.examples import Unreadable, read_examples
from graftwork.core.data.table_files import TABLES
from graftwork.core.data.tables import read_manifest
from graftwork.core.files import atomic_write, write_json
from graftwork.core.recipe import Recipe
from graftwork.core.runs.provenance import provenance, write_costs
from graftwork.core.runs.run_folder import FINISHED, claim_folder, mark
from graftwork.core.tasks import SINGLE_LABEL

log = logging.getLogger(__name__)

CITED = DetectionCost(p_target=0.01)
"""Operating point of the costs, as papers cite them."""


@dataclass(frozen=True)
class ProfileResult:
    """Clips against speakers averaged from `clips` of their other clips, by cosine. verification: each clip with each
    speaker. detections: open-set identification among `speakers` enrolled, None where nobody would be left."""

    clips: int
    speakers: int
    verification: Verification
    detections: tuple[Detection, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"clips": self.clips, "speakers": self.speakers} | self.verification.to_json() | {
            "open_set": [{"false_alarm_rate": one.false_alarm_rate, "dir": plain_interval(one.rate),
                          "threshold": one.threshold if np.isfinite(one.threshold) else None}
                         for one in self.detections]
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class TrialEvaluation:
    """scores: of every trial, by name of the kind of score. results: metrics of each. profiles: the same of clips
    against averages of several, by their number; none where speakers are not known. calibration: of cosines. identical:
    trials left out because both clips sound exactly the same. left_out: clips that could not be read, on request."""

    trials: Trials
    scores: dict[str, NDArray[np.float64]]
    results: dict[str, Verification]
    profiles: tuple[ProfileResult, ...]
    calibration: Calibration
    identical: tuple[IdenticalPair, ...] = ()
    left_out: tuple[Unreadable, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values: the metrics of every kind of score, and what was left out, if anything was."""
        found: dict[str, Any] = {name: result.to_json() for name, result in self.results.items()}
        found["profiles"] = [one.to_json() for one in self.profiles]
        found |= {"identical": [asdict(one) for one in self.identical]} if self.identical else {}
        return found | ({"left_out": [asdict(one) for one in self.left_out]} if self.left_out else {})


def trials(
    source: str | Embedder,
    trials: str,
    *,
    speaker: str = "speaker",
    cohort: str | None = None,
    folder: str | None = None,
    cost: DetectionCost = CITED,
    out: str | Path | None = None,
    unreadable: Unreadables = "stop",
    weights: str | None = None,
    pooling: str | None = None,
    batch_size: int = 16,
    device: str = "auto",
    command: Sequence[str] | None = None,
) -> TrialEvaluation:
    """Evaluates embeddings for verification: EER, minDCF, actual DCF, Cllr and minCllr with intervals by speaker.

    trials: a list of lines `1 one.wav other.wav`, whose paths are relative to `folder`, or a table of which all pairs
    are tried. Where speakers are known, clips are also compared with averages of several clips, as `verify` and
    `identify` do, with open-set identification (DIR at a false-alarm rate). cohort: adds AS-norm, and its mean is taken
    from every vector. cost: of minDCF and the actual DCF. out: a new folder for scores, metrics, calibration, a DET
    curve and the record of what was asked for. command: words of the command line that asks for this, for the record.

    Pairs of clips that sound exactly the same are left out and named. Raises TrialsError, before anything is embedded,
    where no target trial or no non-target trial is left; ManifestError for a list or table that cannot be used.

    >>> evaluated = trials("tiny:wav2vec2", "clips.csv", out="verified")  # doctest: +SKIP
    >>> print(evaluated.results["cosine"].eer)  # doctest: +SKIP
    0.010 [0.002, 0.061]
    """
    started = time.monotonic()
    if out is not None:
        claim_folder(Path(out))
    asked = read_pairs(trials, speaker, folder)
    check_kinds(asked)
    embedder, recipe = open_source(source, weights, pooling), Recipe(batch_size=batch_size, device=device)
    named = replace(blank(asked.clips), source=asked.source, rows=asked.rows)
    clips = read_examples(named, embedder.backbone.contract, unreadable=unreadable)
    contents = sound_digests(clips)
    tried, identical = without_identical(asked.among(clips.manifest.examples), contents)
    if identical:
        two = sum(not one.one_speaker for one in identical)
        log.warning("%d trials are of clips that sound exactly the same, and are left out (%d of them listed as of two "
                    "speakers): %s", len(identical), two, _first(identical))  # fmt: skip
    check_kinds(tried)
    vectors = embed(embedder, clips, recipe)
    others = None if cohort is None else embed_cohort(embedder, cohort, recipe, unreadable)
    centre = None if others is None else others.mean(axis=0)
    own = unit(vectors, centre)
    scores = {"cosine": cosine_scores(own, tried.first, tried.second)}
    if others is not None:
        against = unit(others, centre)
        scores["as-norm"] = normalise_scores(scores["cosine"], own, tried.first, tried.second, against)
    sides = tried.sides()
    results = {name: evaluate_scores(values, tried.targets, sides, cost=cost,
                                     ratios=cross_calibrated(spread_out(values) if name == "cosine" else values,
                                                             tried.targets, sides))
               for name, values in scores.items()}  # fmt: skip
    profiles, lines = evaluate_profiles(own, tried.speakers, contents, cost)
    lines = (calibrate_cosines(scores["cosine"], tried.targets), *lines)
    calibration = Calibration(lines, 0 if sides is None else len({*sides[0], *sides[1]}), embedder.digest,
                              None if centre is None else tuple(map(float, centre)))  # fmt: skip
    evaluation = TrialEvaluation(tried, scores, results, profiles, calibration, identical, clips.left_out)
    if out is not None:
        write_trial_evaluation(evaluation, Path(out))
        known = clips.manifest.fingerprints()
        record = {"run": embedder.backbone.id if isinstance(source, Embedder) else source, "trials": tried.source,
                  "cohort": cohort, "speaker": speaker, "cost": asdict(cost), "rows": len(clips.manifest),
                  "examples": known,
                  "backbone": {"id": embedder.backbone.id, "digest": embedder.digest}}  # fmt: skip
        mark(Path(out), record | provenance("trials", command, known), FINISHED)
        write_costs(Path(out), started)
    return evaluation


def evaluate_profiles(
    vectors: Vectors, speakers: tuple[str, ...] | None, contents: list[str], cost: DetectionCost
) -> tuple[tuple[ProfileResult, ...], tuple[Line, ...]]:
    """Clips against averages of several, by their number, and a calibration for each number; nothing where speakers are
    not known, or have two clips at most.

    vectors (clips, dim): of unit length. contents: a digest of every clip; of those that sound exactly the same one is
    taken, and none where they are listed under two speakers.
    """
    if speakers is None:
        log.info("the list names no speakers: no profiles, no open-set figures, and no intervals")
        return (), ()
    owners: dict[str, set[str]] = {}
    for content, speaker in zip(contents, speakers, strict=True):
        owners.setdefault(content, set()).add(speaker)
    first = {content: row for row, content in reversed(list(enumerate(contents)))}
    kept = [row for row, content in enumerate(contents) if first[content] == row and len(owners[content]) == 1]
    named = [speakers[row] for row in kept]
    most = max((named.count(name) for name in set(named)), default=0)
    results, lines = [], []
    for count in sorted({*(one for one in COUNTS if one < most), most - 1} - {0, 1, -1}):
        found = profile_trials(vectors[kept], named, count)
        if found is None or len(found.profile_speakers) < LEAST_SPEAKERS:
            continue
        scores, targets, sides = found.scores.ravel(), found.targets.ravel(), found.sides()
        verification = evaluate_scores(scores, targets, sides, cost=cost,
                                       ratios=cross_calibrated(spread_out(scores), targets, sides))  # fmt: skip
        results.append(ProfileResult(count, len(found.profile_speakers), verification, detection_rates(found)))
        lines.append(calibrate_cosines(scores, targets, count))
    return tuple(results), tuple(lines)


def _first(pairs: tuple[IdenticalPair, ...], shown: int = 5) -> str:
    more = f" and {len(pairs) - shown} more" if len(pairs) > shown else ""
    return "; ".join(map(str, pairs[:shown])) + more


def read_pairs(source: str, speaker: str, folder: str | None) -> Trials:
    """The trials of a list, or all pairs of a table's clips or of a folder per speaker."""
    if os.path.isdir(source) or source.lower().endswith(TABLES):
        rows = read_manifest(source, target=speaker, task=SINGLE_LABEL, split=None, suffixes=DOMAIN.suffixes,
                             kinds=DOMAIN.kinds)  # fmt: skip
        return all_pairs(source, rows.examples, [str(name) for name in rows.targets], rows.rows)
    return read_trials(source, folder)


def write_trial_evaluation(evaluation: TrialEvaluation, out: Path) -> None:
    """Writes scores.csv, metrics.json, calibration.json and det.png."""
    import pandas as pd

    from graftwork.audio.verification.det import draw_det

    trials = evaluation.trials
    columns = {"first": [str(trials.clips[row]) for row in trials.first],
               "second": [str(trials.clips[row]) for row in trials.second],
               "target": trials.targets.astype(int)}  # fmt: skip
    with atomic_write(out / "scores.csv") as temporary:
        escaped(pd.DataFrame(columns | evaluation.scores)).to_csv(temporary, index=False, float_format="%.6g")
    write_json(out / "metrics.json", evaluation.to_json())
    write_json(out / "calibration.json", evaluation.calibration.to_json())
    draw_det(out / "det.png", evaluation.scores, trials.targets, next(iter(evaluation.results.values())).cost)
