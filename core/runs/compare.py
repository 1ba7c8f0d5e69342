"""The runs that are compared: each in a folder of its own, one after another, with what it cost kept beside it."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from graftwork.core.activation_cache.activations import timed_passes
from graftwork.core.compute.global_state import undisturbed
from graftwork.core.compute.memory import recent_peak_memory_mb, reset_peak_memory
from graftwork.core.compute.runtime import is_first
from graftwork.core.data.manifest import Manifest
from graftwork.core.errors import OutputError, SettingsError, TrainingError
from graftwork.core.evaluation.comparison import MARGIN, Comparison, Part, compare_parts
from graftwork.core.evaluation.evaluation import EvaluatedPart
from graftwork.core.evaluation.plots import draw_comparison
from graftwork.core.files import locked, plain_numbers, read_checked_json, write_checked_json, write_json
from graftwork.core.inference.adapter import Adapter, attach_adapter
from graftwork.core.inference.adapter_record import read_record
from graftwork.core.model.backbone import Backbone
from graftwork.core.model.strategies import Strategy, parse_strategy
from graftwork.core.recipe import Recipe
from graftwork.core.runs.provenance import provenance, write_costs
from graftwork.core.runs.report.document import REPORT, report_on_finished
from graftwork.core.runs.rows import RowOptions, Rows, read_rows
from graftwork.core.runs.run_folder import (
    FINISHED,
    RUN,
    UNFINISHED,
    claim_folder,
    mark,
    remove_run,
    run_record,
    run_state,
    strategy_folder,
)
from graftwork.core.runs.run_folder import STRATEGIES as STRATEGIES_FIELD
from graftwork.core.runs.setup import RandomSplit, Setup
from graftwork.core.runs.tracking import LogOptions, LogTo, check_tracker, tracking, with_ends
from graftwork.core.runs.train import Parts, prepared, run_settings_record, start_run, train_on
from graftwork.core.types import NearDuplicatesMode

log = logging.getLogger(__name__)

COMPARISON, PLOT, PARTS = "comparison.json", "comparison.png", "parts"
STRATEGIES = ("knn", "probe", "partial:1", "lora", "full", "scratch")
"""What is compared where nobody names strategies, in this order."""


@undisturbed()
def compare(
    backbone: Backbone, manifest: Manifest, strategies: Sequence[str] = STRATEGIES, *, tie_margin: float = MARGIN,
    recipe: Recipe | None = None, folds: int | None = None, leave_out: str | None = None, repeats: int = 1,
    val_fraction: float = 0.2, test_fraction: float = 0.2, random_split: RandomSplit = "auto",
    near_duplicates: NearDuplicatesMode = "together", allow_leaks: bool = False,
    skip_unreadable: bool = False, out: str | Path | None = None, resume: bool = False,
    restart: bool = False, log_to: LogTo | None = None, log_names: bool = False,
    command: Sequence[str] | None = None,
) -> Comparison | None:  # fmt: skip
    """Trains every strategy on the same rows as `train` would, and says which is best, what is left of that on rows
    that did not choose it, which is as good for less, and what each costs.

    A strategy that the backbone cannot carry, or whose training breaks off, is left out with its reason. tie_margin:
    how much less of the metric counts as good as the best. out: folder for a run per strategy, `comparison.json`,
    `comparison.png` and the report; by default nothing is kept; an unfinished comparison that is there goes on. resume:
    there must be one, or a finished one, which is extended. restart: it is removed, and begun anew. log_to: gets a run
    for every strategy and one for the comparison. Other arguments as of `train`. None in all processes but the first.

    Raises SettingsError for an unknown strategy, for one that is named twice, and where none can run; OutputError for
    a folder that holds something else; UnreadableError and ReportError as `train` does.

    >>> backbone = imaging.load_backbone("tiny:cnn2d", image_size=32)
    >>> compared = core.compare(backbone, imaging.read_manifest("scans.csv"), ["knn", "probe"], folds=3)
    >>> [row["strategy"] for row in compared.to_json()["strategies"]]
    ['knn', 'probe']
    """
    started = time.monotonic()
    if not tie_margin >= 0:
        raise SettingsError(f"--tie-margin: expected at least 0, found {tie_margin}")
    if isinstance(strategies, str) or not strategies:
        raise SettingsError(f"strategies: expected several names, as ['probe', 'lora'], found {strategies!r}")
    names = [str(parse_strategy(text)) for text in strategies]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SettingsError(f"--strategies: {', '.join(twice)} is there more than once")
    parts, recipe = Parts(folds, val_fraction, test_fraction, random_split, leave_out, repeats), recipe or Recipe()
    logged = LogOptions(log_to, log_names)
    check_tracker(logged, None if out is None else Path(out))
    resume = out is not None and claim_comparison(Path(out), resume=resume, restart=restart)
    runtime = start_run(recipe)
    backbone, manifest, recipe = prepared(backbone, manifest, recipe, parts)
    options = RowOptions(skip_unreadable, near_duplicates, allow_leaks, leave_out)
    rows = read_rows(backbone, manifest, runtime, options)
    with tempfile.TemporaryDirectory(prefix="graftwork-") if out is None else nullcontext(out) as folder:
        place = Path(folder)
        setup = Setup(backbone, Strategy(names[0]), recipe, place, resume, random_split=random_split)
        with locked(place) if is_first() else nullcontext():
            if restart and is_first():
                _remove_comparison(place)
            runtime.wait()  # every process has looked at the folder before the first one writes into it
            if is_first():
                mark(place, {STRATEGIES_FIELD: names, "manifest": manifest.source}, UNFINISHED)
            comparison = _compare(setup, place, rows, parts, names, tie_margin, logged)
        if comparison is not None and out is not None:
            asked = {STRATEGIES_FIELD: names, "manifest": manifest.source, "best": comparison.best}
            known = provenance("compare", command, rows.examples.manifest.fingerprints())
            mark(place, asked | known, FINISHED)
            write_costs(place, started)
            with tracking(logged, place.resolve().name) as tracked:
                tracked.begin(place, asked)
                found = [with_ends(f"{one.strategy}/", one.metrics) for one in comparison.results]
                tracked.values({name: value for one in found for name, value in one.items()}, comparison.cautions)
                tracked.files(place, [PLOT])
                report_on_finished(place, _best_adapter(place, comparison.best, backbone), domain=backbone.domain)
                tracked.files(place, [REPORT])
        return comparison


def _compare(
    setup: Setup, out: Path, rows: Rows, parts: Parts, names: Sequence[str], margin: float, logged: LogOptions
) -> Comparison | None:
    settings = settings_of(setup, rows, parts)
    known = {name: _known(out, name, settings) for name in names} if setup.resume else {}
    refused: dict[str, SettingsError | TrainingError] = {}
    for number, name in enumerate(names, start=1):
        if known.get(name) is not None:
            log.info("strategy %d of %d: %s has finished before", number, len(names), name)
            continue
        log.info("strategy %d of %d: %s", number, len(names), name)
        try:
            _run(setup, out, rows, parts, name, settings, logged)
        except (SettingsError, TrainingError) as error:
            log.warning("%s: left out: %s", name, error)
            refused[name] = error
    if len(refused) == len(names):
        if is_first() and not list(out.glob(f"*/{RUN}")):
            (out / RUN).unlink()  # nothing has begun
        raise refused[names[0]]
    if not is_first():
        return None
    finished = [_read_part(out, name) for name in names if name not in refused]
    _check_same_start(out, finished)
    comparison = compare_parts(finished, {name: str(error) for name, error in refused.items()}, margin)
    comparison = replace(comparison, cautions=rows.cautions + comparison.cautions)
    notes = {name: value for name, value in rows.notes().items() if name in ("leaks", "near_duplicates")}
    write_json(out / COMPARISON, comparison.to_json() | notes)
    draw_comparison(out / PLOT, comparison)
    return comparison


def _best_adapter(out: Path, best: str | None, backbone: Backbone) -> Adapter | None:
    """The adapter of the best strategy on a copy of the backbone, for the report's maps of what it looks at; None where
    nothing would be drawn by it."""
    if best is None or backbone.domain.explain is None:
        return None
    folder = strategy_folder(out, best)
    return attach_adapter(folder, read_record(folder), backbone.copy())


def claim_comparison(out: Path, *, resume: bool, restart: bool) -> bool:
    """Whether a comparison that is asked for goes on with one here; makes nothing. Arguments and errors as of
    `goes_on`; with `resume` a finished one goes on too."""
    if resume and restart:
        raise SettingsError("--resume goes on with a comparison, --restart begins it anew: give one of them")
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out}: --out must be a folder, this is a file")
    record = run_record(out) or {}
    state = record.get("state") if STRATEGIES_FIELD in record else None
    if resume:
        # One that an earlier version began has no record of its own.
        if state is None and (record or not list(out.glob(f"*/{RUN}"))):
            raise OutputError(f"{out}: --resume goes on with a comparison, found none")
        return True
    if state == UNFINISHED:
        return not restart
    if state == FINISHED:
        raise OutputError(f"{out}: holds a finished comparison; name another --out, or extend it with --resume")
    claim_folder(out)
    return False


def _remove_comparison(out: Path) -> None:
    """Removes an unfinished comparison with its runs; nothing where there is none."""
    if run_state(out) != UNFINISHED:
        return
    for record in list(out.glob(f"*/{RUN}")):
        remove_run(record.parent)
        with suppress(OSError):  # somebody has a file of their own in it
            record.parent.rmdir()
    shutil.rmtree(out / PARTS, ignore_errors=True)
    for name in (COMPARISON, PLOT):
        (out / name).unlink(missing_ok=True)
    remove_run(out)


def settings_of(setup: Setup, rows: Rows, parts: Parts) -> dict[str, Any]:
    """What was asked for, but for the strategy and the places that a resumed run may change; flat."""
    record = run_settings_record(setup, rows, parts)
    record.pop("strategy")
    flat = {key: value for name in ("data", "recipe", "examples") for key, value in record.pop(name).items()}
    plain: dict[str, Any] = json.loads(json.dumps(record | flat))
    return plain


def _known(out: Path, strategy: str, settings: dict[str, Any]) -> Part | None:
    """The kept result of a finished run; None if it has yet to finish. Raises OutputError for other settings."""
    folder = strategy_folder(out, strategy)
    if run_state(folder) != FINISHED:
        return None
    if not _part_path(out, strategy).exists():
        raise OutputError(
            f"{folder}: finished, but what it cost was not written down; delete this folder and give the command again"
        )
    part = _read_part(out, strategy)
    changed = sorted(name for name in settings.keys() | part.settings.keys()
                     if settings.get(name) != part.settings.get(name))  # fmt: skip
    if changed:
        raise OutputError(f"{folder}: the finished run had another {', '.join(changed)}; ask for the same, name "
                          "another --out, or begin anew with --restart")  # fmt: skip
    return part


def _run(
    setup: Setup, out: Path, rows: Rows, parts: Parts, strategy: str, settings: dict[str, Any], logged: LogOptions
) -> None:
    """One strategy from start to end, in its own folder, and what it cost beside it."""
    folder = strategy_folder(out, strategy)
    resumed = setup.resume and run_state(folder) == UNFINISHED
    alone, started = reset_peak_memory(), time.monotonic()
    with timed_passes() as passes, tracking(logged, f"{out.resolve().name}/{folder.name}") as tracked:
        asked = replace(setup, strategy=parse_strategy(strategy), folder=folder, resume=resumed, tracked=tracked)
        result = train_on(asked, rows, parts)
        seconds, peak = time.monotonic() - started, recent_peak_memory_mb()
    if is_first():
        part = Part(
            settings,
            strategy,
            None if resumed else seconds,
            peak,
            alone,
            result.adapter.record["parameters"],
            part_to_json(result.parts[-1]),
            sum(passes),
            len(passes),
            [one for one in result.cautions if one not in rows.cautions],
        )
        write_checked_json(_part_path(out, strategy), vars(part))


def part_to_json(evaluated: EvaluatedPart) -> dict[str, Any]:
    """An evaluated part as plain values: rows, truth, predictions, folds."""
    manifest = evaluated.manifest
    return {
        "part": evaluated.part,
        "task": manifest.task.name,
        "classes": list(manifest.classes),
        "paths": list(manifest.paths),
        "rows": list(manifest.rows),
        "values": plain_numbers(np.asarray(manifest.values)),
        "folds": None if evaluated.folds is None else evaluated.folds.tolist(),
        "repeats": [
            {"folds": one.folds.tolist(), "predictions": plain_numbers(one.predictions)} for one in evaluated.repeats
        ],
        "groups": None if manifest.groups is None else list(manifest.groups),
        "predictions": plain_numbers(evaluated.predictions),
    }


def _part_path(out: Path, strategy: str) -> Path:
    return out / PARTS / f"{strategy_folder(out, strategy).name}.json"


def _read_part(out: Path, strategy: str) -> Part:
    path = _part_path(out, strategy)
    try:
        return Part(**read_checked_json(path))
    except (OSError, ValueError, TypeError) as error:
        folder = strategy_folder(out, strategy)
        raise OutputError(f"{path}: cannot be read ({error}); delete {folder} and give the command again") from error


def _check_same_start(out: Path, parts: Sequence[Part]) -> None:
    """Raises OutputError where the table or the weights changed between runs: numbers would not be comparable."""
    folders = [strategy_folder(out, part.strategy) for part in parts]
    first, *others = [run_record(folder) or {} for folder in folders]
    for folder, record in zip(folders[1:], others, strict=True):
        changed = [name for name in ("manifest", "rows", "examples", "backbone", "input", "data", "recipe")
                   if record.get(name) != first.get(name)]  # fmt: skip
        if changed:
            raise OutputError(f"{folder}: was run with another {', '.join(changed)} than {folders[0]}; delete one of "
                              "them and give the command again")  # fmt: skip
