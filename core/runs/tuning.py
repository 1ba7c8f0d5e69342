"""What a search for settings has found: its trials, the best of them, and what is left of that on other rows."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graftwork.core.csv_cells import escaped
from graftwork.core.files import atomic_write
from graftwork.core.metrics.intervals import Interval
from graftwork.core.runs.search_study import Trial
from graftwork.core.tasks.plots import new_figure, plot_style

if TYPE_CHECKING:
    from graftwork.core.runs.train import TrainResult

SHOWN = 10


@dataclass(frozen=True, eq=False)
class Tuning:
    """metric: what decided. trials: all that have ended, in their order. best: number of the best finished one.
    corrected: the metric of the best on rows that did not choose it. rows, groups: that were evaluated. run: the
    training with the best settings; None where nothing is written, or another process has made it."""

    metric: str
    trials: tuple[Trial, ...]
    best: int
    corrected: Interval
    rows: int
    groups: int | None
    run: TrainResult | None = None

    @property
    def best_trial(self) -> Trial:
        return next(one for one in self.trials if one.number == self.best)

    def count(self, state: str) -> int:
        """How many trials have ended so."""
        return sum(one.state == state for one in self.trials)

    def to_json(self) -> dict[str, Any]:
        """Plain values; an undefined number is None."""
        corrected = {name: None if isinstance(value, float) and math.isnan(value) else value
                     for name, value in asdict(self.corrected).items()}  # fmt: skip
        return {"metric": self.metric, "rows": self.rows, "groups": self.groups, "best": self.best,
                "corrected": corrected, "trials": [asdict(one) for one in self.trials]}  # fmt: skip

    def table(self) -> tuple[list[str], list[tuple[str, ...]]]:
        """Column names and rows of the best trials for people."""
        finished = sorted((one for one in self.trials if one.state == "finished"), key=lambda one: -_number(one.value))
        columns = ["trial", "strategy", self.metric, "settings", "seconds"]
        return columns, [(str(one.number), str(one.params["strategy"]), one.interval, settings_text(one.params),
                          f"{one.seconds:.1f}") for one in finished[:SHOWN]]  # fmt: skip

    def sentence(self) -> str:
        """The best, and what to publish."""
        best = self.best_trial
        said = (f"Best of {len(self.trials)} trials by {self.metric}, {self.count('pruned')} of them ended early: "
                f"trial {best.number}, {best.params['strategy']}")  # fmt: skip
        settings = settings_text(best.params)
        said += f" ({settings})" * bool(settings) + f", {best.interval}."
        if self.count("finished") < 2 or math.isnan(self.corrected.value):
            return said
        high = _number(best.value) - self.corrected.value
        return (f"{said} It is the best of {self.count('finished')} on the rows that chose it: on new ones expect, and "
                f"publish, {self.corrected}, {abs(high):.3f} {'less' if high >= 0 else 'more'}.")  # fmt: skip


def settings_text(params: dict[str, Any], *, strategy: bool = False) -> str:
    """What was searched, in one line; strategy: with its name."""
    shown = {name.replace("_", " "): value for name, value in params.items() if strategy or name != "strategy"}
    return ", ".join(f"{name} {value:.2g}" if isinstance(value, float) else f"{name} {value}"
                     for name, value in shown.items())  # fmt: skip


def write_trials(path: Path, trials: tuple[Trial, ...], metric: str) -> None:
    """All trials as CSV: number, state, what was searched, folds, the metric, its interval, seconds, reason."""
    import pandas as pd

    names = list(dict.fromkeys(name for one in trials for name in one.params))
    rows = [{"trial": one.number, "state": one.state, **{name: one.params.get(name) for name in names},
             "folds": one.folds, metric: one.value, "interval": one.interval, "seconds": round(one.seconds, 2),
             "reason": one.reason} for one in trials]  # fmt: skip
    with atomic_write(path) as temporary:
        escaped(pd.DataFrame(rows)).to_csv(temporary, index=False, float_format="%.9g")


def draw_search(path: Path, tuning: Tuning) -> None:
    """The metric by trial with the best so far, and by strategy; trials that were ended early are crosses."""
    shown = [one for one in tuning.trials if one.value is not None and not math.isnan(one.value)]
    strategies = list(dict.fromkeys(str(one.params["strategy"]) for one in shown))
    with plot_style():
        figure = new_figure(10, 4)
        by_trial, by_strategy = figure.subplots(1, 2, sharey=True)
        best: list[tuple[int, float]] = []
        for one in shown:
            place, value = strategies.index(str(one.params["strategy"])), _number(one.value)
            marker = "o" if one.state == "finished" else "x"
            for axes, along in ((by_trial, one.number), (by_strategy, place)):
                axes.plot([along], [value], marker, color=f"C{place % 10}")
            if one.state == "finished":
                best.append((one.number, max([value, *(known for _, known in best)])))
        by_trial.step(*zip(*best, strict=True), where="post", color="grey", linewidth=1)
        by_trial.axhline(tuning.corrected.value, color="black", linestyle=":", linewidth=1)
        by_trial.set(xlabel="trial (cross: ended early)", ylabel=f"{tuning.metric}, out-of-fold",
                     title="line: best so far; dotted: corrected for the choice")  # fmt: skip
        by_strategy.set_xticks(range(len(strategies)), strategies, rotation=30, ha="right")
        by_strategy.set_xlim(-0.5, len(strategies) - 0.5)
        by_strategy.set(title="by strategy")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110, metadata={"Software": None})


def _number(value: float | None) -> float:
    return math.nan if value is None else value
