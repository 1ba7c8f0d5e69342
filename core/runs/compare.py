"""The runs that are compared: each in a folder of its own, one after another, with what it cost kept beside it."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from graftwork.core.compute.global_state import undisturbed
from graftwork.core.compute.runtime import is_first, recent_peak_memory_mb, reset_peak_memory
from graftwork.core.errors import OutputError, SettingsError, TrainingError
from graftwork.core.evaluation.comparison import MARGIN, Comparison, Part, compare_parts
from graftwork.core.evaluation.evaluation import EvaluatedPart
from graftwork.core.files import OURS, locked, plain_numbers, read_checked_json, write_checked_json, write_json
from graftwork.core.model.strategies import parse_strategy
from graftwork.core.recipe import EXECUTION_FIELDS
from graftwork.core.runs.run_folder import FINISHED, RUN, UNFINISHED, run_record, run_state
from graftwork.core.runs.train import Study, manifest_digests, run_study

log = logging.getLogger(__name__)

COMPARISON, PICTURE, PARTS = "comparison.json", "comparison.png", "parts"


@undisturbed()
def compare_strategies(study: Study, strategies: Sequence[str], margin: float = MARGIN) -> Comparison | None:
    """Runs every strategy as `train` would, into a folder of its own under the study's `out`, and compares them.

    A strategy that the backbone cannot carry, or whose training breaks off, is left out with its reason. None in all
    processes but the first, which writes `comparison.json` and `comparison.png`. margin: how much less of the metric
    counts as good as the best.

    Raises SettingsError for an unknown strategy, for one that is named twice, and where none can run; OutputError for
    a folder that holds something else.
    """
    if not margin >= 0:
        raise SettingsError(f"--tie-margin: expected at least 0, found {margin}")
    names = [str(parse_strategy(text)) for text in strategies]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SettingsError(f"--strategies: {', '.join(twice)} is there more than once")
    _claim(study.out, study.resume)
    settings = _settings(study)
    with locked(study.out) if is_first() else nullcontext():
        return _compare(study, names, settings, margin)


def _compare(study: Study, names: Sequence[str], settings: dict[str, Any], margin: float) -> Comparison | None:
    known = {name: _known(study.out, name, settings) for name in names} if study.resume else {}
    refused: dict[str, SettingsError | TrainingError] = {}
    for number, name in enumerate(names, start=1):
        if known.get(name) is not None:
            log.info("strategy %d of %d: %s has finished before", number, len(names), name)
            continue
        log.info("strategy %d of %d: %s", number, len(names), name)
        try:
            _run(study, name, settings)
        except (SettingsError, TrainingError) as error:
            log.warning("%s: left out: %s", name, error)
            refused[name] = error
    if len(refused) == len(names):
        raise refused[names[0]]
    if not is_first():
        return None
    parts = [_read_part(study.out, name) for name in names if name not in refused]
    _check_same_start(study.out, parts)
    comparison = compare_parts(parts, {name: str(error) for name, error in refused.items()}, margin)
    metrics = json.loads((run_folder(study.out, parts[0].strategy) / "metrics.json").read_text(encoding="utf-8"))
    notes = {name: metrics.get(name) for name in ("leaks", "near_duplicates")}  # the same rows, so the same for all
    write_json(study.out / COMPARISON, comparison.to_json() | notes)
    from graftwork.core.evaluation.plots import draw_comparison

    draw_comparison(study.out / PICTURE, comparison)
    return comparison


def run_folder(out: Path, strategy: str) -> Path:
    """Where the run of a strategy is; a colon is not allowed in file names everywhere."""
    return out / strategy.replace(":", "-")


def _claim(out: Path, resume: bool) -> None:
    """Checks that a comparison may write here; makes nothing."""
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out}: --out must be a folder, this is a file")
    if out.exists() and any(not path.name.startswith(OURS) for path in out.iterdir()):
        if not resume:
            raise OutputError(f"{out}: is not empty; go on with the comparison in it with --resume, or name another "
                              "--out")  # fmt: skip
        if not list(out.glob(f"*/{RUN}")):
            raise OutputError(f"{out}: --resume goes on with a comparison, found none")
    elif resume:
        raise OutputError(f"{out}: --resume goes on with a comparison, found none")


def _settings(study: Study) -> dict[str, Any]:
    """What was asked for, but for the strategy and the places that a resumed run may change."""
    recipe = {name: value for name, value in study.recipe.items() if name not in EXECUTION_FIELDS}
    asked = {"manifest": str(Path(study.manifest).expanduser().resolve()), "backbone": study.backbone,
             "weights": study.weights, **study.data, **study.input, **recipe, **manifest_digests(study)}  # fmt: skip
    plain: dict[str, Any] = json.loads(json.dumps(asked))
    return plain


def _known(out: Path, strategy: str, settings: dict[str, Any]) -> Part | None:
    """The kept result of a finished run; None if it has yet to finish. Raises OutputError for other settings."""
    folder = run_folder(out, strategy)
    if run_state(folder) != FINISHED:
        return None
    if not _part_path(out, strategy).exists():
        raise OutputError(f"{folder}: finished, but what it cost was not written down; delete this folder and resume")
    part = _read_part(out, strategy)
    changed = sorted(name for name in settings.keys() | part.settings.keys()
                     if settings.get(name) != part.settings.get(name))  # fmt: skip
    if changed:
        raise OutputError(f"{folder}: the finished run had another {', '.join(changed)}; resume with the same")
    return part


def _run(study: Study, strategy: str, settings: dict[str, Any]) -> None:
    """One strategy from start to end, in its own folder, and what it cost beside it."""
    folder = run_folder(study.out, strategy)
    resumed = study.resume and run_state(folder) == UNFINISHED
    alone, started = reset_peak_memory(), time.monotonic()
    outcome = run_study(replace(study, strategy=strategy, out=folder, resume=resumed))
    seconds, peak = time.monotonic() - started, recent_peak_memory_mb()
    if is_first():
        part = Part(
            settings,
            strategy,
            None if resumed else seconds,
            peak,
            alone,
            outcome.run.adapter.record["parameters"],
            _judged_to_json(outcome.judged[-1]),
        )
        write_checked_json(_part_path(study.out, strategy), vars(part))


def _judged_to_json(judged: EvaluatedPart) -> dict[str, Any]:
    manifest = judged.manifest
    return {
        "part": judged.part,
        "task": manifest.task.name,
        "classes": list(manifest.classes),
        "paths": list(manifest.paths),
        "rows": list(manifest.rows),
        "values": np.asarray(manifest.values).tolist(),
        "groups": None if manifest.groups is None else list(manifest.groups),
        "predictions": plain_numbers(judged.predictions),
    }


def _part_path(out: Path, strategy: str) -> Path:
    return out / PARTS / f"{run_folder(out, strategy).name}.json"


def _read_part(out: Path, strategy: str) -> Part:
    path = _part_path(out, strategy)
    try:
        return Part(**read_checked_json(path))
    except (OSError, ValueError, TypeError) as error:
        folder = run_folder(out, strategy)
        raise OutputError(f"{path}: cannot be read ({error}); delete {folder} and resume") from error


def _check_same_start(out: Path, parts: Sequence[Part]) -> None:
    """Raises OutputError where the table or the weights changed between runs: numbers would not be comparable."""
    folders = [run_folder(out, part.strategy) for part in parts]
    first, *others = [run_record(folder) or {} for folder in folders]
    for folder, record in zip(folders[1:], others, strict=True):
        changed = [name for name in ("manifest", "rows", "examples", "backbone", "input", "data", "recipe")
                   if record.get(name) != first.get(name)]  # fmt: skip
        if changed:
            raise OutputError(f"{folder}: was run with another {', '.join(changed)} than {folders[0]}; delete one of "
                              "them and resume")  # fmt: skip
