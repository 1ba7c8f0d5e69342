"""The trials of a search as Optuna's study keeps them: in a journal in its folder, which several processes share."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from graftwork.core.errors import MissingPackageError, OutputError
from graftwork.core.files import WRITING
from graftwork.core.runs.search_space import Choice, SearchSpace

if TYPE_CHECKING:
    import optuna

JOURNAL = "trials.journal"
FIRST_TRIALS = 5
"""Finished trials before any is ended early. The sampler learns from so many beside the first of every strategy."""

CLOCK_SECONDS = 60.0
"""A process of the same number that began so much later is another one."""

ASKED, OWNER, CHOICE, REASON, INTERVAL = "asked", "owner", "choice", "reason", "interval"
"""Attributes of the study, and of its trials."""

BEST_BEGUN = "best begun"
"""Attribute of the study: the trial with whose settings the last training has begun."""

SAME = "same as"
"""Attribute of a trial that chose what an earlier one had chosen: it counts as no trial."""


@dataclass(frozen=True)
class Trial:
    """One trial that has ended. state: "finished", "pruned" (ended early) or "refused", with the reason. params: what
    was searched. folds: how many were evaluated. value: the metric of all rows, of a pruned one the mean of its folds;
    None where there is none. interval: of a finished one, as text. seconds: wall time."""

    number: int
    state: str
    params: dict[str, Any]
    folds: int
    value: float | None
    interval: str
    seconds: float
    reason: str = ""


def open_study(folder: Path, space: SearchSpace, asked: dict[str, Any]) -> optuna.Study:
    """The study of a folder, begun where there is none. Trials of processes of this machine that have ended are asked
    for again.

    Raises MissingPackageError without optuna, OutputError where the study was asked for otherwise or cannot be read.
    """
    try:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
    except ImportError as error:
        raise MissingPackageError(f"tune needs {error.name}: pip install 'graftwork[tune]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = str(folder / JOURNAL)
    try:
        storage = JournalStorage(JournalFileBackend(path, lock_obj=JournalFileOpenLock(path)))
        study = optuna.create_study(
            storage=storage, study_name="graftwork", direction="maximize", load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=FIRST_TRIALS),
        )  # fmt: skip
    except (ValueError, KeyError, OSError) as error:
        if isinstance(error, OSError) and error.errno in WRITING:
            raise
        raise OutputError(f"{path}: cannot be read ({error}); name another --out") from error
    begun = study.user_attrs.get(ASKED)
    if begun is None:
        for point in space.first_points():
            study.enqueue_trial(point)
        study.set_user_attr(ASKED, asked)  # last: without it they are asked for once more
    elif begun != asked:
        changed = sorted(name for name in begun.keys() | asked.keys() if begun.get(name) != asked.get(name))
        raise OutputError(f"{folder}: the search had another {', '.join(changed)}; ask for the same, or name another "
                          "--out")  # fmt: skip
    _ask_again(study)
    return study


def ask(study: optuna.Study, space: SearchSpace, seed: int) -> tuple[optuna.Trial, Choice]:
    """The next trial and what it chooses: the same for a number whichever process asks, given the same trials."""
    import optuna

    trial = study.ask()
    drawn = int(np.random.SeedSequence([seed, trial.number]).generate_state(1)[0])
    study.sampler = optuna.samplers.TPESampler(seed=drawn, n_startup_trials=FIRST_TRIALS + len(space.strategies))
    trial.set_user_attr(OWNER, _this_process())
    choice = space.choose(trial)
    trial.set_user_attr(CHOICE, _key(choice))
    return trial, choice


def same_before(study: optuna.Study, trial: optuna.Trial, choice: Choice) -> optuna.trial.FrozenTrial | None:
    """An ended trial of the same choice, which need not be computed again."""
    ended = [one for one in study.get_trials(deepcopy=False) if one.state.is_finished() and told(one)
             and SAME not in one.user_attrs]  # fmt: skip
    return next(
        (one for one in ended if one.number != trial.number and one.user_attrs.get(CHOICE) == _key(choice)), None
    )


def told(one: optuna.trial.FrozenTrial) -> bool:
    """Whether a trial has ended by itself: one that failed without a reason was ended with its process."""
    return one.state.name != "FAIL" or REASON in one.user_attrs


def ended_trials(study: optuna.Study) -> list[Trial]:
    """All that have ended, but for those that chose what an earlier one had."""
    found = []
    for one in study.get_trials(deepcopy=False):
        if not one.state.is_finished() or SAME in one.user_attrs or CHOICE not in one.user_attrs or not told(one):
            continue
        steps = one.intermediate_values
        state = {"COMPLETE": "finished", "PRUNED": "pruned"}.get(one.state.name, "refused")
        value = one.value if state == "finished" else steps[max(steps)] if steps and state == "pruned" else None
        seconds = 0.0 if one.duration is None else one.duration.total_seconds()
        interval, reason = (str(one.user_attrs.get(name, "")) for name in (INTERVAL, REASON))
        found.append(Trial(one.number, state, dict(one.params), len(steps), value, interval, seconds, reason))
    return found


def give_up(study: optuna.Study, trial: optuna.Trial) -> None:
    """Marks a trial that was interrupted as failed, and asks for what it had chosen once more."""
    import optuna

    study.tell(trial, state=optuna.trial.TrialState.FAIL)
    study.enqueue_trial(dict(trial.params))


def _ask_again(study: optuna.Study) -> None:
    """Trials of processes that have ended are marked as failed, and what they had chosen is asked for once more."""
    import optuna

    for one in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        if _has_ended(one.user_attrs.get(OWNER)):
            study.tell(one.number, state=optuna.trial.TrialState.FAIL)
            study.enqueue_trial(dict(one.params))


def _this_process() -> list[Any]:
    import psutil

    return [platform.node(), os.getpid(), psutil.Process().create_time()]


def _has_ended(owner: list[Any] | None) -> bool:
    """Whether a process of this machine is no more; those of other machines are taken to go on."""
    import psutil

    if owner is None:
        return False
    machine, number, began = owner
    if machine != platform.node():
        return False
    try:
        # Times are counted from the machine's start, which its clock may set anew meanwhile.
        return bool(abs(psutil.Process(number).create_time() - began) > CLOCK_SECONDS)
    except psutil.NoSuchProcess:
        return True


def _key(choice: Choice) -> str:
    return f"{choice.strategy} {choice.image_size} {choice.recipe}"
