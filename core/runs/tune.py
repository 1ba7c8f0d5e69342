"""`tune`: a search for strategy, learning rate, epochs, rank, random changes and image size, by folds."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graftwork.core.compute.global_state import undisturbed
from graftwork.core.data.manifest import Manifest
from graftwork.core.data.windows import has_windows, join_windows
from graftwork.core.errors import BackboneError, OutputError, SettingsError, TrainingError
from graftwork.core.evaluation.evaluation import measured, point_metrics
from graftwork.core.evaluation.selection import corrected_choice
from graftwork.core.files import WRITING, locked, read_checked_json, read_json, write_checked_json, write_json
from graftwork.core.model.backbone import Backbone
from graftwork.core.model.graft import plan_run
from graftwork.core.model.strategies import parse_strategy
from graftwork.core.progress import progress
from graftwork.core.recipe import Recipe
from graftwork.core.runs.compare import part_to_json, settings_of
from graftwork.core.runs.cross_validation import cross_validate_setup
from graftwork.core.runs.report.document import report_on_finished
from graftwork.core.runs.rows import RowOptions, Rows, read_rows
from graftwork.core.runs.run_folder import FINISHED, UNFINISHED, claim_folder, remove_run, run_record, run_state
from graftwork.core.runs.search_space import Choice, SearchSpace
from graftwork.core.runs.search_study import (
    BEST_BEGUN,
    INTERVAL,
    JOURNAL,
    REASON,
    SAME,
    ask,
    ended_trials,
    give_up,
    open_study,
    same_before,
)
from graftwork.core.runs.setup import Setup, check_setup
from graftwork.core.runs.train import Parts, TrainResult, prepared, start_run, train_on
from graftwork.core.runs.tuning import Tuning, draw_search, settings_text, write_trials
from graftwork.core.types import NearDuplicatesMode

if TYPE_CHECKING:
    import optuna

log = logging.getLogger(__name__)

STRATEGIES = ("knn", "probe", "partial:1", "lora", "full")
"""What is searched where nobody names strategies."""

RESULT, TABLE, PLOT, PARTS, BEST = "tuning.json", "trials.csv", "search.png", "parts", "best"
REPETITIONS = 20
"""A search that chooses so often in turn what it had chosen before has nothing left to try."""


@dataclass(frozen=True, eq=False)
class Search:
    """A search under way. load: from an image size, None for the backbone's own, to the backbone and its rows."""

    study: optuna.Study
    space: SearchSpace
    parts: Parts
    out: Path
    load: Callable[[int | None], tuple[Backbone, Rows]]
    refused: list[Exception] = field(default_factory=list)


@undisturbed()
def tune(
    backbone: Backbone, manifest: Manifest, strategies: Sequence[str] = STRATEGIES, *, out: str | Path,
    trials: int | None = None, seconds: float | None = None, recipe: Recipe | None = None, folds: int | None = None,
    leave_out: str | None = None, val_fraction: float = 0.2, image_sizes: Sequence[int] = (),
    resized: Callable[[int], Backbone] | None = None, near_duplicates: NearDuplicatesMode = "together",
    skip_unreadable: bool = False, command: Sequence[str] | None = None,
) -> Tuning:  # fmt: skip
    """Searches for the settings that evaluate best by cross-validation, and trains with them.

    Every strategy begins with the recipe's own settings; Optuna's TPE sampler goes on from there with learning rate,
    epochs (from a quarter of the recipe's to all of them), rank of `lora`, random changes, and image size. A trial
    whose metric, as a mean over its folds so far, has never been above the median of the others' after as many folds
    ends early (Optuna's MedianPruner). Rows whose split says
    test are left out, and no file of theirs is opened.

    trials: how many in all, those of earlier calls and of other processes with the same `out` among them. seconds: no
    trial begins later than so many after the call; one of both is needed. out: folder of the search; the same call goes
    on with it, and several processes may share it. image_sizes: that are searched, with `resized`, which loads the
    backbone for one. Other arguments as of `train`; folds are 5 by default.

    `out` then holds `trials.csv`, `search.png`, `tuning.json`, and in `best` a run with the best settings, as `train`
    writes it. Its own metrics chose it: publish the corrected one.

    Raises SettingsError for what cannot be searched, MissingPackageError without optuna, OutputError for a folder that
    holds something else or a search that was asked for otherwise; if no trial finishes, what refused the first.
    """
    started, out = time.monotonic(), Path(out)
    asked_recipe = recipe or Recipe()
    names = _checked(strategies, trials, seconds, asked_recipe, image_sizes, resized)
    if not (out / JOURNAL).exists():
        claim_folder(out)
    if leave_out is None and folds is None:
        folds = 5
    parts = Parts(folds, val_fraction, random_split="off", leave_out=leave_out)
    runtime = start_run(asked_recipe)
    held_out = np.zeros(len(manifest), dtype=bool) if manifest.parts is None else np.asarray(manifest.parts) == "test"
    if held_out.any():
        log.info("%d rows of the test part are left out of the search", held_out.sum())
    manifest = replace(manifest.subset(~held_out), parts=None)
    options = RowOptions(skip_unreadable, near_duplicates, leave_out=leave_out)
    loaded: dict[int | None, tuple[Backbone, Rows]] = {}
    batches: dict[int | None, Recipe] = {}

    def load(size: int | None) -> tuple[Backbone, Rows]:
        if size not in loaded:
            own = backbone if size is None or resized is None else resized(size)
            own, rows_of, batches[size] = prepared(own, manifest, asked_recipe, parts)
            loaded[size] = own, read_rows(own, rows_of, runtime, options)
        return loaded[size]

    first = image_sizes[0] if image_sizes else None
    own, rows = load(first)
    recipe = batches[first]
    trained, refused = _trained(own, names, recipe, rows)
    space = SearchSpace(tuple(name for name in names if name not in refused), frozenset(trained), recipe,
                        tuple(image_sizes), own.domain.augment is not None)  # fmt: skip
    first_setup = Setup(own, parse_strategy(space.strategies[0]), recipe)
    check_setup(first_setup, rows.examples.manifest, parts.drawn, val_fraction, 0.0)
    asked = settings_of(replace(first_setup, strategy=parse_strategy(names[0])), rows, parts) | space.to_json()
    try:
        with locked(out, wait=True):
            study = open_study(out, space, asked)
        search = Search(study, space, parts, out, load)
        _run_trials(search, recipe.seed, trials, None if seconds is None else started + seconds)
        with locked(out, wait=True):
            return _finish(search, command)
    except OSError as error:
        if error.errno not in WRITING:
            raise
        raise OutputError(f"{out / JOURNAL}: cannot be written ({error.strerror}); make room, and the same search goes "
                          "on") from error  # fmt: skip


def _checked(
    strategies: Sequence[str], trials: int | None, seconds: float | None, recipe: Recipe, sizes: Sequence[int],
    resized: Callable[[int], Backbone] | None,
) -> list[str]:  # fmt: skip
    """The strategies' names. Raises SettingsError for what cannot be searched."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise SettingsError("tune: a search is shared by processes that are given the same command, each begun by "
                            "itself; found torchrun")  # fmt: skip
    if trials is None and seconds is None:
        raise SettingsError("tune: give --trials or --seconds, which say when to end")
    if trials is not None and trials < 1:
        raise SettingsError(f"--trials: expected at least 1, found {trials}")
    if seconds is not None and not seconds > 0:
        raise SettingsError(f"--seconds: expected above 0, found {seconds}")
    if recipe.updates is not None:
        raise SettingsError("--updates: tune searches epochs; give the most of them as --epochs")
    if sizes and resized is None:
        raise SettingsError("image_sizes: needs `resized`, which loads the backbone for a size")
    if any(size < 1 for size in sizes):
        raise SettingsError(f"--image-sizes: expected sizes of at least 1, found {', '.join(map(str, sizes))}")
    if isinstance(strategies, str) or not strategies:
        raise SettingsError(f"strategies: expected several names, as ['probe', 'lora'], found {strategies!r}")
    return list(dict.fromkeys(str(parse_strategy(text)) for text in strategies))


def _trained(backbone: Backbone, names: Sequence[str], recipe: Recipe, rows: Rows) -> tuple[list[str], list[str]]:
    """Which strategies train in epochs here, and which the backbone cannot carry; these are said. Raises what refused
    the first where none is left."""
    trained, refused = [], dict[str, SettingsError]()
    for name in names:
        try:
            plan = plan_run(backbone, parse_strategy(name), recipe, rows.examples.manifest)
        except SettingsError as error:
            log.warning("%s: left out: %s", name, error)
            refused[name] = error
            continue
        if plan.solver == "gradient":
            trained.append(name)
    if len(refused) == len(names):
        raise refused[names[0]]
    return trained, list(refused)


def _run_trials(search: Search, seed: int, trials: int | None, end: float | None) -> None:
    """Trials until there are so many, or the time is over (of `time.monotonic`)."""
    import optuna

    repeated, known = 0, len(ended_trials(search.study))
    with progress("trials", trials or 0) as advance:
        advance(known, "")
        while (trials is None or known < trials) and (end is None or time.monotonic() < end):
            trial, choice = ask(search.study, search.space, seed)
            same = same_before(search.study, trial, choice)
            if same is not None:
                trial.set_user_attr(SAME, same.number)
                if same.state == optuna.trial.TrialState.COMPLETE:
                    search.study.tell(trial, same.value)
                else:
                    search.study.tell(trial, state=optuna.trial.TrialState.FAIL)
                repeated += 1
                if repeated == REPETITIONS:
                    log.info("the search ends: its last %d choices had been tried before", repeated)
                    return
                continue
            repeated = 0
            log.info("trial %d: %s", trial.number, settings_text(trial.params, strategy=True))
            _run_trial(search, trial, choice)
            before, known = known, len(ended_trials(search.study))
            advance(known - before, "")


def _run_trial(search: Search, trial: optuna.Trial, choice: Choice) -> None:
    """One trial, evaluated fold by fold, and what it predicted kept in the search's folder."""
    import optuna

    state = optuna.trial.TrialState
    values: list[float] = []
    try:
        backbone, rows = search.load(choice.image_size)
        examples, drawn = rows.examples, search.parts.drawn
        assert drawn is not None
        setup = Setup(backbone, parse_strategy(choice.strategy), choice.recipe)
        count = len(drawn.names(examples.manifest))

        def on_fold(fold: int, own: NDArray[np.int64], predictions: NDArray[np.float64]) -> None:
            value = _metric(examples.manifest.subset(own), predictions)
            if math.isnan(value):
                return
            values.append(value)
            trial.report(float(np.mean(values)), fold)
            if len(values) < count and trial.should_prune():  # after the last fold nothing would be spared
                raise optuna.TrialPruned

        found = cross_validate_setup(setup, examples, drawn, search.parts.val_fraction, on_fold)
        metric = found.evaluation.metrics[found.part.manifest.task.metric]
        if math.isnan(metric.value):
            raise TrainingError(f"{found.part.manifest.task.metric} is undefined on these rows")
    except optuna.TrialPruned:
        log.info("trial %d: ended after %d folds, below the median of the others", trial.number, len(values))
        search.study.tell(trial, state=state.PRUNED)
        return
    except (SettingsError, TrainingError, BackboneError) as error:
        log.warning("trial %d: left out: %s", trial.number, error)
        search.refused.append(error)
        trial.set_user_attr(REASON, str(error))
        search.study.tell(trial, state=state.FAIL)
        return
    except BaseException:  # somebody interrupts a search in a notebook, whose process lives on
        give_up(search.study, trial)
        raise
    write_checked_json(_part_path(search.out, trial.number), part_to_json(found.part))
    trial.set_user_attr(INTERVAL, str(metric))
    search.study.tell(trial, metric.value)
    log.info("trial %d: %s", trial.number, metric)


def _metric(manifest: Manifest, predictions: NDArray[np.float64]) -> float:
    """The metric that decides, of these rows."""
    if has_windows(manifest):
        manifest, predictions, _ = join_windows(manifest, predictions)
    task = manifest.task
    return point_metrics(task, np.asarray(manifest.values), predictions, manifest.classes)[task.metric]


def _finish(search: Search, command: Sequence[str] | None) -> Tuning:
    """The choice among all trials that have ended by now, of whatever process, and a run with it."""
    ended = ended_trials(search.study)
    finished = [one for one in ended if one.state == "finished"]
    if not finished:
        if search.refused:
            raise search.refused[0]
        raise SettingsError(f"{search.out}: no trial has finished; give the search more time, or more trials")
    evaluated = [_read_part(search.out, one.number) for one in finished]
    _, rows = search.load(search.space.image_sizes[0] if search.space.image_sizes else None)
    task, about = rows.examples.manifest.task, evaluated[0]
    truth, groups = np.asarray(about["values"]), about["groups"]
    if truth.dtype == object:  # a label that is not known is written as null
        truth = truth.astype(np.float64)
    models = [measured(task, about["classes"], truth, np.asarray(one["predictions"], dtype=np.float64),
                       np.asarray(one["folds"]), strict=False) for one in evaluated]  # fmt: skip
    corrected = corrected_choice(models, task.metric, len(truth), groups)
    best = max(finished, key=lambda one: (-math.inf if one.value is None else one.value, -one.number))
    tuning = Tuning(task.metric, tuple(ended), best.number, corrected, len(truth),
                    None if groups is None else len(set(groups)))  # fmt: skip
    write_trials(search.out / TABLE, tuning.trials, tuning.metric)
    draw_search(search.out / PLOT, tuning)
    tuning = replace(tuning, run=_train_best(search, tuning, command))
    write_json(search.out / RESULT, tuning.to_json())
    return tuning


def _train_best(search: Search, tuning: Tuning, command: Sequence[str] | None) -> TrainResult | None:
    """A run with the best settings in the search's folder; None where it is there already."""
    import optuna

    folder, said = search.out / BEST, tuning.sentence()
    written = search.out / RESULT
    before = read_json(written).get("best") if written.exists() else None
    if run_state(folder) == FINISHED and before == tuning.best:
        return None
    resume = run_state(folder) == UNFINISHED and search.study.user_attrs.get(BEST_BEGUN) == tuning.best
    if not resume and run_record(folder) is not None:
        remove_run(folder)
    search.study.set_user_attr(BEST_BEGUN, tuning.best)
    frozen = search.study.get_trials(deepcopy=False)[tuning.best]
    choice = search.space.choose(optuna.trial.FixedTrial(frozen.params))
    backbone, rows = search.load(choice.image_size)
    log.info("training with the settings of trial %d", tuning.best)
    setup = Setup(backbone, parse_strategy(choice.strategy), choice.recipe, folder, resume, random_split="auto")
    caution = f"these settings were chosen by the metrics below. {said}"
    result = train_on(setup, rows, replace(search.parts, random_split="auto"), command=command, known=(caution,))
    report_on_finished(folder, result.adapter)
    return result


def _part_path(out: Path, number: int) -> Path:
    return out / PARTS / f"{number}.json"


def _read_part(out: Path, number: int) -> dict[str, Any]:
    path = _part_path(out, number)
    try:
        return read_checked_json(path)
    except (OSError, ValueError) as error:
        raise OutputError(f"{path}: cannot be read ({error}); name another --out, and begin anew") from error
