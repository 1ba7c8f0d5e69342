"""`train` and `evaluate` with files around them: from a manifest to a run's folder, and what a run is worth."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from graftwork.core.activation_cache.activations import same_on_all_processes
from graftwork.core.activation_cache.eviction import parse_size
from graftwork.core.compute.global_state import undisturbed
from graftwork.core.compute.runtime import (
    choose_device,
    choose_precision,
    peak_device_memory_mb,
    peak_memory_mb,
    seed_everything,
    start_runtime,
)
from graftwork.core.data.characters import asked_classes, check_vocabulary, own_frame_head
from graftwork.core.data.examples import Examples, Unreadable, read_examples
from graftwork.core.data.leaks import Leaks, find_leaks, refuse_leaks
from graftwork.core.data.manifest import Manifest
from graftwork.core.data.mask_classes import with_mask_classes
from graftwork.core.data.near_duplicates import NearDuplicates, with_near_duplicates
from graftwork.core.data.patches import usual_batch_size
from graftwork.core.data.people import read_domain_manifest
from graftwork.core.data.tables import split_order
from graftwork.core.data.windows import in_windows
from graftwork.core.domain import Domain
from graftwork.core.errors import ManifestError, Problem, SettingsError
from graftwork.core.evaluation.evaluation import EvaluatedPart
from graftwork.core.inference.predict import evaluate_part, predict
from graftwork.core.inference.segmentation import draw_worst_and_best
from graftwork.core.model.adapter import open_adapter, read_record
from graftwork.core.model.backbone import Backbone
from graftwork.core.model.strategies import parse_strategy
from graftwork.core.recipe import EXECUTION_FIELDS, Recipe
from graftwork.core.runs.experiment import Experiment, Outcome, check_experiment, cross_validate, hold_out
from graftwork.core.runs.learnt_rows import DIGEST, Overlap, find_overlap, write_learnt_rows
from graftwork.core.runs.run_folder import FINISHED, check_same_run, claim_folder, mark, write_judged, writing_run
from graftwork.core.types import FrameHead, InputContract, Watch

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Study:
    """One `train` as it was asked for; `data`, `input` and `recipe` hold options by name."""

    domain: Domain
    manifest: str
    out: Path
    backbone: str
    weights: str | None
    strategy: str
    data: dict[str, Any]
    input: dict[str, Any]
    recipe: dict[str, Any]
    resume: bool


@undisturbed()
def run_study(study: Study) -> Outcome:
    """Trains, judges, and writes the run's folder. Nothing is written before everything has been read and checked."""
    started = time.monotonic()
    strategy = parse_strategy(study.strategy)
    recipe = Recipe(**_given(study.recipe))
    choose_precision(recipe.precision, choose_device(recipe.device))
    if recipe.cache_limit is not None:
        parse_size(recipe.cache_limit)
    check_vocabulary(study.data["vocabulary"], study.data["target"], study.data["task"])
    runtime = start_runtime(recipe)
    claim_folder(study.out, study.resume)
    frame_head = own_frame_head(study.domain, study.data["vocabulary"], study.backbone, study.weights)
    manifest = _read(study, frame_head)
    seed_everything(recipe.seed)  # weights may be asked for at random
    backbone = study.domain.load_backbone(study.backbone, weights=study.weights, **_input(study, manifest))
    backbone = dataclasses.replace(backbone, frame_head=frame_head)
    if study.recipe.get("batch_size") is None:
        recipe = dataclasses.replace(recipe, batch_size=usual_batch_size(manifest.task, backbone.contract))
    manifest = cut_windows(study.domain, manifest, backbone.contract)
    unreadable = "skip" if study.data["skip_unreadable"] else "stop"
    watch = None if study.domain.watch is None else study.domain.watch(backbone.contract, {}, "flag")
    examples = read_examples(manifest, watch or backbone.contract, unreadable=unreadable,  # type: ignore[arg-type]
                             frames=backbone.frames)  # fmt: skip
    examples = dataclasses.replace(examples, contract=backbone.contract)
    examples = same_on_all_processes(_of_classes_with_rows(examples), runtime)
    rows, alike = with_near_duplicates(study.domain, examples.manifest, study.data["near_duplicates"])
    examples = dataclasses.replace(examples, manifest=rows)  # of those that can be read
    if alike is not None and alike.sets:
        log.info("%s", alike)
    leaks = find_leaks(rows)
    if not study.data["allow_leaks"]:
        refuse_leaks(rows, leaks)
    if leaks:
        log.warning("%s", leaks)
    record = _record(study, backbone, examples, recipe)
    if study.resume:
        check_same_run(study.out, record)
    experiment = Experiment(backbone, strategy, recipe, study.domain.augment, study.out, study.resume,
                            study.data["random_split"])  # fmt: skip
    folds, val_fraction = study.data["folds"], study.data["val_fraction"]
    check_experiment(experiment, examples.manifest, folds, val_fraction, study.data["test_fraction"])
    runtime.wait()  # every process has looked at the folder before the first one writes into it
    with writing_run(study.out, record, study.resume) if runtime.rank == 0 else nullcontext():
        if folds is not None:
            outcome = cross_validate(experiment, examples, folds, val_fraction)
        else:
            outcome = hold_out(experiment, examples, val_fraction, study.data["test_fraction"])
        if runtime.rank == 0:
            learnt = _write(study, outcome, examples, watch, alike, leaks)
            proof = dataclasses.asdict(outcome.run.proof)
            mark(study.out, record | {"frozen": proof, DIGEST: learnt}, FINISHED)
        runtime.wait()
    device_mb = peak_device_memory_mb()
    log.info("%.1f s, peak memory %.0f MB%s", time.monotonic() - started, peak_memory_mb(),
             "" if device_mb is None else f", on the GPU {device_mb:.0f} MB")  # fmt: skip
    return dataclasses.replace(outcome, cautions=(str(leaks),) if leaks else ())


def _write(
    study: Study,
    outcome: Outcome,
    examples: Examples,
    watch: Watch | None,
    alike: NearDuplicates | None,
    leaks: Leaks,
) -> str:
    """Writes everything that a run's folder holds but its record; returns the digest of the list of learnt rows."""
    notes = {"left_out": [dataclasses.asdict(one) for one in examples.left_out],
             "shared_between_parts": len(leaks.identical), "leaks": leaks.to_json(),
             "near_duplicates": None if alike is None else alike.to_json()}  # fmt: skip
    if outcome.leakage is not None:
        notes |= outcome.leakage.to_json()
    write_judged(study.out, outcome.judged, notes)
    if examples.manifest.task.output == "maps" and study.data["folds"] is None:
        draw_worst_and_best(outcome.run.adapter, outcome.judged[-1], study.out, study.recipe.get("device") or "auto")
    if watch is not None:
        outcome.run.adapter.record["seen"] = watch.seen(outcome.run.rows.examples)
    outcome.run.adapter.save(study.out, outcome.judged[-1].evaluation)
    return write_learnt_rows(study.out, outcome.run.rows, outcome.run.val)


@undisturbed()
def evaluate_run(
    domain: Domain, run: str, manifest: str, *, weights: str | None, part: str | None, target: str | None,
    group: str | None, skip_unreadable: bool, out: str | None, batch_size: int, device: str,
    group_from: str | None = None,
) -> tuple[EvaluatedPart, tuple[Unreadable, ...], Overlap | None]:  # fmt: skip
    """What the adapter of a run is worth on a manifest, the examples that were left out on request, and what the rest
    shares with the rows that the run has learnt from, where its folder says which."""
    record = read_record(Path(run))
    if out is not None:
        claim_folder(Path(out), resume=False)
    rows = read_domain_manifest(
        domain, manifest, target=target or record["target"], group=group, group_from=group_from, task=record["task"],
        classes=record["classes"], split=None if part is None else "split",
    )  # fmt: skip
    if part is not None:
        rows = rows.subset(np.array([own == part for own in rows.parts or ()] or [False] * len(rows)))
        if not len(rows):
            raise ManifestError(manifest, [Problem(f"no row of the split column says {part!r}")])
    adapter = open_adapter(run, domain, weights)
    rows = cut_windows(domain, rows, adapter.backbone.contract)
    unreadable = "skip" if skip_unreadable else "stop"
    examples = read_examples(rows, adapter.backbone.contract, unreadable=unreadable)  # type: ignore[arg-type]
    overlap = find_overlap(run, examples.manifest)
    if overlap is None:
        log.info("%s: does not say which rows it has learnt from: whether these are new to it is not known", run)
    elif overlap.caution is not None:
        log.warning("%s", overlap.caution)
    found = predict(adapter, examples, batch_size=batch_size, device=device)
    judged = evaluate_part(part or "test", examples.manifest, found)
    if out is not None:
        notes = {"left_out": [dataclasses.asdict(one) for one in examples.left_out],
                 "overlap": None if overlap is None else overlap.to_json()}  # fmt: skip
        write_judged(Path(out), [judged], notes)
        if rows.task.output == "maps":
            draw_worst_and_best(adapter, judged, Path(out), device)
    return judged, examples.left_out, overlap


def manifest_digests(study: Study) -> dict[str, str]:
    """What the study's manifest holds now, row by row."""
    return _rows(study).fingerprints()


def _read(study: Study, frame_head: FrameHead | None) -> Manifest:
    """The manifest as the study needs it; a split column and folds exclude each other."""
    data = study.data
    if data["folds"] is not None and data["folds"] < 2:
        raise SettingsError(f"--folds: expected at least 2, found {data['folds']}")
    manifest = _rows(study, asked_classes(data["vocabulary"], frame_head))
    return with_mask_classes(study.domain, manifest, study.input.get("mask_values"), study.input.get("other_values"))


def _rows(study: Study, classes: Sequence[str] | None = None) -> Manifest:
    """The rows of the study's manifest."""
    data = study.data
    return read_domain_manifest(
        study.domain, study.manifest, target=data["target"], group=data["group"], group_from=data["group_from"],
        task=data["task"], order=split_order(data["order"]), split=None if data["folds"] is not None else "split",
        classes=classes, shared_groups="allow" if data["allow_leaks"] else "refuse",
    )  # fmt: skip


def cut_windows(domain: Domain, manifest: Manifest, contract: InputContract) -> Manifest:
    """A row for every window, where the contract cuts long recordings."""
    if domain.windows is None:
        return manifest
    windows = domain.windows(manifest.examples, contract)
    if all(len(own) == 1 for own in windows):
        return manifest
    if manifest.task.output == "frames":
        raise SettingsError("--window-seconds cuts words in two: transcripts need whole clips")
    return in_windows(manifest, windows)


def _of_classes_with_rows(examples: Examples) -> Examples:
    """The examples without the classes of which every file was left out: nothing can be learnt of them."""
    if not examples.left_out:
        return examples
    manifest, empty = examples.manifest.without_empty_classes()
    if empty:
        log.warning("no file of %s can be read: the run learns %d classes, not %d", ", ".join(map(repr, empty)),
                    len(manifest.classes), len(examples.manifest.classes))  # fmt: skip
    return dataclasses.replace(examples, manifest=manifest)


def _input(study: Study, manifest: Manifest) -> dict[str, Any]:
    """What the backbone is loaded with: what was asked for, beside what the target needs."""
    if manifest.task.output == "maps":
        return {"mask_values": ",".join(manifest.classes)} | _given(study.input)
    if manifest.task.output != "frames":
        return _given(study.input)
    if study.domain.text_input is None:
        raise SettingsError(f"{manifest.target!r} is text, which {study.domain.name} cannot learn: name another column")
    return study.domain.text_input | _given(study.input)


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _record(study: Study, backbone: Backbone, examples: Examples, recipe: Recipe) -> dict[str, Any]:
    """What was asked for, without where it is written or how long it took: equal commands give equal bytes."""
    return {
        "manifest": examples.manifest.source,
        "rows": len(examples),
        "examples": examples.manifest.fingerprints(),
        "backbone": {"id": backbone.id, "digest": backbone.digest(), "weights": backbone.weights},
        "strategy": study.strategy,
        "data": study.data,
        "input": backbone.contract.to_json(),
        "recipe": {name: getattr(recipe, name) for name in study.recipe if name not in EXECUTION_FIELDS},
    }
