"""The verbs enroll, verify, identify and trials with files around them: recordings, prints, scores and reports."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from graftwork.audio.verification.prints import (
    Prints,
    check_source,
    load_prints,
    make_prints,
    save_prints,
    similarities,
)
from graftwork.audio.verification.scoring import Calibration, DetectionCost, Verification, calibrate, evaluate_scores
from graftwork.audio.verification.trials import Trials, all_pairs, read_trials
from graftwork.audio.verification.verifier import (
    Embedder,
    Vectors,
    cosine_scores,
    embed,
    normalise_scores,
    open_embedder,
    unit,
)
from graftwork.core.data.class_folders import files_below
from graftwork.core.data.examples import Examples, Unreadable, read_examples, read_many, unequal
from graftwork.core.data.manifest import Manifest
from graftwork.core.data.tables import read_manifest
from graftwork.core.domain import Domain
from graftwork.core.errors import OutputError, SettingsError
from graftwork.core.example import Example
from graftwork.core.files import whole_file, write_json
from graftwork.core.inference.inputs import TABLES, find_inputs
from graftwork.core.metrics.intervals import LEVEL
from graftwork.core.names import name_key
from graftwork.core.recipe import Recipe
from graftwork.core.runs.run_folder import claim_folder
from graftwork.core.tasks import SINGLE_LABEL

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

CALIBRATION_FOLDS = 5


@dataclass(frozen=True)
class Voice:
    """What the verbs are told about the source of vectors, and how to compute. unreadable: "skip" goes on without clips
    that cannot be read."""

    domain: Domain
    source: str
    weights: str | None
    pooling: str | None
    recipe: Recipe
    unreadable: Literal["stop", "skip"] = "stop"

    def open(self) -> Embedder:
        return open_embedder(self.source, self.domain, self.weights, self.pooling)


def enroll(
    voice: Voice, manifest: str, speaker: str, out: Path, *, cohort: str | None, calibration: str | None
) -> Prints:
    """Prints of all speakers of a manifest, written to one file."""
    if out.exists():
        raise OutputError(f"{out}: exists already; name another --out, or delete it")
    known = None if calibration is None else _read_calibration(Path(calibration))
    rows = read_manifest(manifest, target=speaker, task=SINGLE_LABEL, split=None, suffixes=voice.domain.suffixes,
                         kinds=voice.domain.kinds)  # fmt: skip
    embedder = voice.open()
    if known is not None and known[1] != embedder.digest:
        raise SettingsError(f"{calibration}: was found with other weights than those of {voice.source}")
    clips = read_examples(rows, embedder.backbone.contract, unreadable=voice.unreadable)
    without = sorted({*map(str, rows.targets)} - {*map(str, clips.manifest.targets)})
    if without:
        log.warning("no clip is left of %d speakers, who are not enrolled: %s", len(without), ", ".join(without))
    vectors = embed(embedder, clips, voice.recipe)
    centre = None if cohort is None else _cohort(voice, embedder, cohort).mean(axis=0)
    prints = make_prints(embedder, vectors, [str(name) for name in clips.manifest.targets], centre, known and known[0])
    save_prints(prints, out)
    return prints


def verify(voice: Voice, clip: str, *, other: str | None, prints: str | None, speaker: str | None,
           cost: DetectionCost, threshold: float | None) -> dict[str, Any]:  # fmt: skip
    """Score, probability and decision for one clip against another, or against an enrolled speaker."""
    embedder = voice.open()
    known = None
    if prints is not None:
        known = load_prints(prints)
        check_source(known, embedder, prints)
        speaker = next((name for name in known.speakers if name_key(name) == name_key(speaker or "")), speaker)
        if speaker not in known.speakers:
            raise SettingsError(f"{prints}: no speaker {speaker!r}; enrolled are {', '.join(known.speakers)}")
    found = find_inputs([clip] if other is None else [clip, other], voice.domain)
    contract = embedder.backbone.contract
    tensors = tuple(contract.read(example) for example in found)
    clips = Examples(_blank(found), contract, tensors, seconds=unequal([contract.seconds(one) for one in tensors]))
    vectors = embed(embedder, clips, voice.recipe)
    if known is not None and speaker is not None:
        score = float(similarities(known, vectors)[0, known.speakers.index(speaker)])
    else:
        own = unit(vectors)
        score = float(own[0] @ own[-1])
    return decision(score, known.calibration if known is not None else None, cost, threshold)


def decision(
    score: float, calibration: Calibration | None, cost: DetectionCost, threshold: float | None
) -> dict[str, Any]:
    """What a score means: the probability and Bayes' decision where scores are calibrated, else the decision by a
    threshold on the score, if one is given."""
    found: dict[str, Any] = {"score": score, "probability": None, "accepted": None, "operating_point": None}
    if threshold is not None:
        return found | {"accepted": score >= threshold, "operating_point": f"score of at least {threshold:g}"}
    if calibration is None:
        return found
    ratio = float(calibration.ratios(np.array([score]))[0])
    return found | {
        "probability": calibration.probability(score, cost.p_target),
        "accepted": ratio >= cost.threshold(),
        "operating_point": f"prior {cost.p_target:g}, a miss costs {cost.c_miss:g}, a false alarm "
        f"{cost.c_false_alarm:g}",
    }


def identify(
    voice: Voice, prints: str, inputs: Sequence[str], *, cost: DetectionCost, threshold: float | None
) -> pd.DataFrame:
    """For every file the most alike of the enrolled speakers, or "unknown"; a file that cannot be read has an error."""
    import pandas as pd

    embedder = voice.open()
    known = load_prints(prints)
    check_source(known, embedder, prints)
    rows = []
    contract = embedder.backbone.contract
    read = list(read_many(contract, find_inputs(inputs, voice.domain), "reading"))
    good = [(str(example), example, tensor) for example, tensor in read if not isinstance(tensor, Exception)]
    scores: dict[str, NDArray[np.float64]] = {}
    if good:
        tensors = tuple(tensor for _, _, tensor in good)
        seconds = unequal([contract.seconds(tensor) for tensor in tensors])
        examples = Examples(_blank([example for _, example, _ in good]), contract, tensors, seconds=seconds)
        scores = dict(zip((path for path, _, _ in good), similarities(known, embed(embedder, examples, voice.recipe)),
                          strict=True))  # fmt: skip
    for example, result in read:
        path = str(example)
        if path not in scores:
            rows.append({"path": path, "speaker": None, "score": None, "probability": None, "error": str(result)})
            continue
        best = int(scores[path].argmax())
        made = decision(float(scores[path][best]), known.calibration, cost, threshold)
        name = known.speakers[best] if made["accepted"] in (True, None) else "unknown"
        rows.append({"path": path, "speaker": name, "score": made["score"], "probability": made["probability"],
                     "error": None})  # fmt: skip
    failed = len(read) - len(good)
    if failed:
        log.warning("%d of %d files could not be read: see the column `error`", failed, len(read))
    table = pd.DataFrame(rows)
    return table if failed else table.drop(columns="error")


@dataclass(frozen=True, eq=False)
class Judgement:
    """scores: of every trial, by name of the kind of score. results: what each is worth. calibration: of cosines.
    left_out: clips that could not be read, on request."""

    trials: Trials
    scores: dict[str, NDArray[np.float64]]
    results: dict[str, Verification]
    calibration: Calibration
    digest: str
    left_out: tuple[Unreadable, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values: what every kind of score is worth, and what was left out, if anything was."""
        found: dict[str, Any] = {name: to_json(result) for name, result in self.results.items()}
        return found | ({"left_out": [asdict(one) for one in self.left_out]} if self.left_out else {})


def judge_trials(
    voice: Voice,
    source: str,
    *,
    speaker: str,
    cohort: str | None,
    cost: DetectionCost,
    folder: str | None,
    out: Path | None,
) -> Judgement:
    """What a source of vectors is worth on a list of trials, or on all pairs of a manifest's clips."""
    if out is not None:
        claim_folder(out, resume=False)
    trials = _trials(voice.domain, source, speaker, folder)
    embedder = voice.open()
    blank = replace(_blank(trials.clips), source=trials.source, rows=trials.rows)
    clips = read_examples(blank, embedder.backbone.contract, unreadable=voice.unreadable)
    trials = trials.among(clips.manifest.examples)
    vectors = embed(embedder, clips, voice.recipe)
    others = None if cohort is None else _cohort(voice, embedder, cohort)
    centre = None if others is None else others.mean(axis=0)
    own = unit(vectors, centre)
    scores = {"cosine": cosine_scores(own, trials.first, trials.second)}
    if others is not None:
        against = unit(others, centre)
        scores["as-norm"] = normalise_scores(scores["cosine"], own, trials.first, trials.second, against)
    results = {name: evaluate_scores(values, trials.targets, trials.sides(), cost=cost,
                                     ratios=cross_calibrated(values, trials))
               for name, values in scores.items()}  # fmt: skip
    judgement = Judgement(trials, scores, results, calibrate(scores["cosine"], trials.targets), embedder.digest,
                          clips.left_out)  # fmt: skip
    if out is not None:
        write_judgement(judgement, out)
    return judgement


def cross_calibrated(scores: NDArray[np.float64], trials: Trials) -> NDArray[np.float64] | None:
    """Log-likelihood ratios of every trial, calibrated on trials of neither of its speakers; None where speakers are
    not known, or too few to leave some out."""
    sides = trials.sides()
    if sides is None:
        return None
    names = sorted(set(sides[0]) | set(sides[1]))
    if len(names) < 2 * CALIBRATION_FOLDS:
        return None
    place = {name: number % CALIBRATION_FOLDS for number, name in enumerate(names)}
    first, second = (np.array([place[name] for name in side]) for side in sides)
    found = np.zeros(len(scores))
    for a in range(CALIBRATION_FOLDS):
        for b in range(a, CALIBRATION_FOLDS):
            judged = ((first == a) & (second == b)) | ((first == b) & (second == a))
            learnt = ~np.isin(first, (a, b)) & ~np.isin(second, (a, b))
            if judged.any():
                same = trials.targets[learnt]
                if same.all() or not same.any():
                    return None
                found[judged] = calibrate(scores[learnt], same).ratios(scores[judged])
    return found


def write_judgement(judgement: Judgement, out: Path) -> None:
    """Writes scores.csv, metrics.json, calibration.json and det.png."""
    import pandas as pd

    from graftwork.audio.verification.det import draw_det

    trials = judgement.trials
    columns = {"first": [str(trials.clips[row]) for row in trials.first],
               "second": [str(trials.clips[row]) for row in trials.second],
               "target": trials.targets.astype(int)}  # fmt: skip
    with whole_file(out / "scores.csv") as beside:
        pd.DataFrame(columns | judgement.scores).to_csv(beside, index=False, float_format="%.6g")
    write_json(out / "metrics.json", judgement.to_json())
    write_json(out / "calibration.json", asdict(judgement.calibration) | {"digest": judgement.digest})
    draw_det(out / "det.png", judgement.scores, trials.targets, next(iter(judgement.results.values())).cost)


def to_json(result: Verification) -> dict[str, Any]:
    """Plain values; an interval without speakers is None."""

    def number(value: float) -> float | None:
        return None if np.isnan(value) else value

    measured = {name: getattr(result, name) for name in ("eer", "min_dcf", "min_cllr", "cllr")}
    numbers: dict[str, Any] = {
        name: None if one is None else {part: number(getattr(one, part)) for part in ("value", "low", "high")}
        for name, one in measured.items()
    }
    return numbers | {"about": {"trials": result.trials, "targets": result.targets, "speakers": result.speakers,
                                "cost": asdict(result.cost),
                                "interval": f"{LEVEL:.0%} percentile bootstrap over speakers"}}  # fmt: skip


def _read_calibration(path: Path) -> tuple[Calibration, str]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return Calibration(float(values["scale"]), float(values["offset"])), str(values["digest"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"{path}: expected the calibration.json that `trials --out` writes ({error})") from error


def _trials(domain: Domain, source: str, speaker: str, folder: str | None) -> Trials:
    if os.path.isdir(source) or source.lower().endswith(TABLES):
        rows = read_manifest(source, target=speaker, task=SINGLE_LABEL, split=None, suffixes=domain.suffixes,
                             kinds=domain.kinds)  # fmt: skip
        return all_pairs(source, rows.examples, [str(name) for name in rows.targets], rows.rows)
    return read_trials(source, folder)


def _cohort(voice: Voice, embedder: Embedder, source: str) -> Vectors:
    """Embeddings of the cohort: a table with a column `path`, a folder, or a pattern."""
    folder = Path(source).expanduser()
    named = [source]
    if os.path.isdir(folder):
        named = files_below(folder, voice.domain.suffixes)
    found = find_inputs(named, voice.domain)
    if not found:
        raise SettingsError(f"{source}: there are no clips for the cohort")
    clips = read_examples(_blank(found), embedder.backbone.contract, unreadable=voice.unreadable)
    return embed(embedder, clips, voice.recipe)


def _blank(examples: Sequence[Example]) -> Manifest:
    """A manifest of clips about which nothing else is known."""
    return Manifest("", tuple(examples), SINGLE_LABEL, "", ("",), np.zeros(len(examples), dtype=np.int64))
