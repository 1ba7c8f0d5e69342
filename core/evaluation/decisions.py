"""From probabilities to decisions: recalibrated, cut at an operating point, or left open where a set holds no single
class; each fitted on rows that the model did not learn from, and evaluated on rows that it was not fitted on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from graftwork.core.data.manifest import Manifest
from graftwork.core.errors import SettingsError
from graftwork.core.evaluation.evaluation import EvaluatedPart, plain_intervals
from graftwork.core.metrics.conformal import Conformal, conformal_from_json, fit_conformal
from graftwork.core.metrics.intervals import Interval, intervals
from graftwork.core.metrics.operating_point import (
    OperatingPoint,
    Rule,
    choose_threshold,
    decision_curve,
    net_benefit,
)
from graftwork.core.metrics.recalibration import (
    Kind,
    Recalibration,
    calibration_line,
    choose_recalibration,
    log_losses,
    recalibration_from_json,
)
from graftwork.core.metrics.scales import DIFFERENCE, SHARE

Floats = NDArray[np.float64]
Recalibrate = Literal["off", "auto", "temperature", "isotonic"]

ALPHAS = (0.05, 0.1, 0.2)
"""Shares of wrong sets at which abstention is evaluated."""
UNDECIDED = ""
"""What is decided where the set of classes holds none, or several."""


@dataclass(frozen=True)
class DecisionOptions:
    """sensitivity, specificity: what an operating point has to reach, 0 to 1; youden: the largest sum of both; at most
    one of the three. positive: the class that is decided for; by default the last of two. recalibrate: what is tried,
    "auto" for all; kept where it is better on held-out folds.

    Raises SettingsError for several points, and for shares that are none.
    """

    sensitivity: float | None = None
    specificity: float | None = None
    youden: bool = False
    positive: str | None = None
    recalibrate: Recalibrate = "off"

    def __post_init__(self) -> None:
        for name in ("sensitivity", "specificity"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 1:
                raise SettingsError(f"--{name}: expected above 0 and at most 1, found {value}")
        if (self.sensitivity is not None) + (self.specificity is not None) + self.youden > 1:
            raise SettingsError("--sensitivity, --specificity and --youden choose the operating point: give one")
        if self.positive is not None and self.rule is None:
            raise SettingsError("--positive: only an operating point has a positive class; give --sensitivity, "
                                "--specificity or --youden")  # fmt: skip

    @property
    def rule(self) -> tuple[Rule, float | None] | None:
        """By what the operating point is chosen; None for none."""
        if self.sensitivity is not None:
            return "sensitivity", self.sensitivity
        if self.specificity is not None:
            return "specificity", self.specificity
        return ("youden", None) if self.youden else None

    @property
    def asks(self) -> bool:
        """Whether anything has to be fitted on held-out predictions."""
        return self.rule is not None or self.recalibrate != "off"

    def positive_class(self, classes: Sequence[str]) -> int:
        """The number of the positive class. Raises SettingsError for an unknown one, and where it has to be named."""
        if self.positive is None:
            if len(classes) != 2:
                raise SettingsError(f"--positive: name the class to decide for, one of {', '.join(map(repr, classes))}")
            return 1
        if self.positive not in classes:
            raise SettingsError(f"--positive: no class {self.positive!r}, there are {', '.join(map(repr, classes))}")
        return list(classes).index(self.positive)


def check_decisions(options: DecisionOptions, manifest: Manifest) -> None:
    """Raises SettingsError for decisions that this target has none of."""
    if not options.asks:
        return
    if not manifest.task.one_class:
        raise SettingsError(f"--sensitivity, --specificity, --youden and --recalibrate take one class a row; "
                            f"{manifest.target!r} is {manifest.task}")  # fmt: skip
    if options.rule is not None:
        options.positive_class(manifest.classes)
    if options.recalibrate == "isotonic" and len(manifest.classes) != 2:
        raise SettingsError(
            f"--recalibrate isotonic is for two classes, found {len(manifest.classes)}: try temperature"
        )


@dataclass(frozen=True, eq=False)
class Decisions:
    """What an adapter does with probabilities. point, conformal: None where there is none."""

    recalibration: Recalibration = field(default_factory=Recalibration)
    point: OperatingPoint | None = None
    conformal: Conformal | None = None

    def columns(self, probabilities: Floats, classes: Sequence[str], abstain: float | None) -> dict[str, Any]:
        """Columns of a table of recalibrated probabilities (rows, classes): `decision` by the operating point; with
        `abstain`, a share, `prediction_set` with the classes that may be meant, and the decision is the single one in
        it, or empty. Rows that are no number have none."""
        known = [bool(np.isfinite(row).all()) for row in probabilities]
        if abstain is not None and self.conformal is not None:
            inside = self.conformal.sets(probabilities, abstain)
            names = [[name for name, has in zip(classes, row, strict=True) if has and ok]
                     for row, ok in zip(inside.tolist(), known, strict=True)]  # fmt: skip
            return {"decision": [one[0] if len(one) == 1 else UNDECIDED for one in names],
                    "prediction_set": ["|".join(one) for one in names]}  # fmt: skip
        if self.point is None:
            return {}
        decided = self.point.decide(np.nan_to_num(probabilities)).tolist()
        return {"decision": [classes[place] if ok else UNDECIDED
                             for place, ok in zip(decided, known, strict=True)]}  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """Plain values for `adapter.json`."""
        return {"recalibration": self.recalibration.to_json(),
                "operating_point": None if self.point is None else vars(self.point),
                "conformal": None if self.conformal is None else self.conformal.to_json()}  # fmt: skip


def decisions_from_json(record: Mapping[str, Any] | None, classes: int) -> Decisions:
    """What `Decisions.to_json` has written for so many classes; None, as of an adapter that decides nothing, is
    Decisions(). Raises KeyError, TypeError or ValueError for anything else."""
    if record is None:
        return Decisions()
    point, conformal = record["operating_point"], record["conformal"]
    if point is not None and point["positive"] not in range(classes):
        raise ValueError(f"no such class: {point['positive']!r}")
    if conformal is not None and len(conformal) != classes:
        raise ValueError(f"expected conformal scores of {classes} classes, found {len(conformal)}")
    return Decisions(recalibration_from_json(record["recalibration"]),
                     None if point is None else OperatingPoint(**point | {"threshold": float(point["threshold"])}),
                     None if conformal is None else conformal_from_json(conformal))  # fmt: skip


def fit_decisions(options: DecisionOptions, part: EvaluatedPart) -> Decisions:
    """Decisions that suit the probabilities of rows that the model did not learn from."""
    manifest, chances = part.manifest, part.predictions
    truth = np.asarray(manifest.values, dtype=np.int64)
    recalibration = Recalibration()
    if options.recalibrate != "off":
        folds = part.folds if part.folds is not None else drawn_folds(manifest)
        kinds: list[Kind] = ["temperature", "isotonic"] if options.recalibrate == "auto" else [options.recalibrate]
        if len(np.unique(folds)) > 1:
            recalibration = choose_recalibration(kinds, chances, truth, folds)
    chances = recalibration.apply(chances)
    point = None
    if options.rule is not None:
        place = options.positive_class(manifest.classes)
        is_positive = truth == place
        if is_positive.any() and not is_positive.all():
            rule, least = options.rule
            threshold = choose_threshold(chances[:, place], is_positive, rule, least)
            point = OperatingPoint(place, threshold, rule, least)
    return Decisions(recalibration, point, fit_conformal(chances, truth, manifest.groups))


def drawn_folds(manifest: Manifest) -> NDArray[np.int64]:
    """The fold (rows,) of every row: five, or as many as there are groups."""
    count = min(5, int(manifest.units().max()) + 1)
    return manifest.fold_numbers(count) if count > 1 else np.zeros(len(manifest), dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Applied:
    """Decisions applied to rows that they were not fitted on, (rows,) or (rows, classes). sets: by alpha."""

    probabilities: Floats
    decided: NDArray[np.int64] | None
    sets: dict[float, NDArray[np.bool_]]


def apply_decisions(decisions: Decisions, probabilities: Floats) -> Applied:
    """Decisions applied to raw probabilities (rows, classes)."""
    chances = decisions.recalibration.apply(probabilities)
    decided = None if decisions.point is None else decisions.point.decide(chances)
    conformal = decisions.conformal
    return Applied(chances, decided, {} if conformal is None else {one: conformal.sets(chances, one) for one in ALPHAS})


def apply_out_of_fold(options: DecisionOptions, part: EvaluatedPart) -> Applied:
    """Every fold of a cross-validated part with the decisions that the other folds give. Raises ValueError for a part
    without folds."""
    folds = part.folds
    if folds is None:
        raise ValueError(f"the rows of {part.part} have no folds")
    chances, decided = part.predictions.copy(), np.zeros(len(folds), dtype=np.int64)
    sets = {alpha: np.ones(chances.shape, dtype=bool) for alpha in ALPHAS}
    pointed = options.rule is not None
    for fold in np.unique(folds):
        own = folds == fold
        others = replace(part, manifest=part.manifest.subset(~own), predictions=part.predictions[~own],
                         folds=folds[~own], repeats=())  # fmt: skip
        found = apply_decisions(fit_decisions(options, others), part.predictions[own])
        chances[own] = found.probabilities
        for alpha, inside in found.sets.items():
            sets[alpha][own] = inside
        if found.decided is None:
            pointed = False
        else:
            decided[own] = found.decided
    return Applied(chances, decided if pointed else None, sets)


@dataclass(frozen=True, eq=False)
class DecisionReport:
    """What decisions are worth on rows that they were not fitted on. point: by its name, sensitivity, specificity, ppv,
    npv and net benefit; empty without an operating point. abstention: by alpha, coverage of all rows and of each class,
    the share that is decided, and the accuracy of these. calibration: slope and intercept of two classes."""

    decisions: Decisions
    classes: tuple[str, ...]
    positive: int
    point: dict[str, Interval]
    abstention: dict[float, dict[str, Interval]]
    calibration: dict[str, Interval]
    log_loss: tuple[float, float]
    curve: list[dict[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """Fields `decision`, `abstention` and `recalibration` of `metrics.json`."""
        found: dict[str, Any] = {
            "abstention": {f"{alpha:g}": plain_intervals(one) for alpha, one in self.abstention.items()},
            "recalibration": {"kept": str(self.decisions.recalibration), "log_loss_before": self.log_loss[0],
                              "log_loss_after": self.log_loss[1], **plain_intervals(self.calibration)},
        }  # fmt: skip
        if self.point:
            point = self.decisions.point
            found["decision"] = {
                "positive": self.classes[self.positive],
                "rule": None if point is None else str(point),
                "threshold": None if point is None else point.threshold,
                **plain_intervals(self.point),
                "decision_curve": self.curve,
            }
        return found

    def __str__(self) -> str:
        lines = []
        if self.point:
            point = self.decisions.point
            chosen = "" if point is None else f", {point}: decided from a probability of {point.threshold:.3f}"
            lines.append(f"operating point for {self.classes[self.positive]!r}{chosen}")
            width = max(map(len, self.point))
            lines += [f"{name:<{width}}  {interval}" for name, interval in self.point.items()]
        if self.decisions.recalibration.kind != "none":
            lines.append(f"recalibrated: {self.decisions.recalibration}, log loss {self.log_loss[0]:.3f} before, "
                         f"{self.log_loss[1]:.3f} after, on rows that it was not fitted on")  # fmt: skip
        return "\n".join(lines)


def evaluate_decisions(part: EvaluatedPart, applied: Applied, decisions: Decisions, positive: int) -> DecisionReport:
    """The report of decisions on the rows of a part, whose own predictions are those before recalibration."""
    manifest = part.manifest
    truth, groups = np.asarray(manifest.values, dtype=np.int64), manifest.groups
    line, curve = {}, []
    if len(manifest.classes) == 2:
        line = intervals(calibration_line(applied.probabilities[:, 1], truth == 1), len(truth), groups,
                         scale=DIFFERENCE)  # fmt: skip
    point = {}
    if applied.decided is not None:
        point = _at_point(applied.decided == positive, truth == positive, groups, decisions.point)
        curve = decision_curve(applied.probabilities[:, positive], truth == positive)
    losses = [float(log_losses(own, truth).mean()) for own in (part.predictions, applied.probabilities)]
    abstention = {alpha: _of_sets(inside, truth, groups, manifest.classes) for alpha, inside in applied.sets.items()}
    return DecisionReport(decisions, manifest.classes, positive, point, abstention, line, (losses[0], losses[1]), curve)


def _at_point(
    decided: NDArray[np.bool_], has: NDArray[np.bool_], groups: Sequence[str] | None, chosen: OperatingPoint | None
) -> dict[str, Interval]:
    """Shares of rows (rows,) that are decided for the positive class, or have it. chosen: whose threshold is the one of
    the net benefit."""
    found = {
        "sensitivity": _share(decided, has, groups),
        "specificity": _share(~decided, ~has, groups),
        "ppv": _share(has, decided, groups),
        "npv": _share(~has, ~decided, groups),
    }
    level = 0.5 if chosen is None else min(chosen.threshold, 0.99)
    odds = np.full(len(has), level / (1 - level))

    def benefit(weights: Floats) -> dict[str, Floats]:
        return {"net_benefit": net_benefit(decided, has, odds, weights)}

    return found | intervals(benefit, len(has), groups, scale=DIFFERENCE)


def _of_sets(
    inside: NDArray[np.bool_], truth: NDArray[np.int64], groups: Sequence[str] | None, classes: Sequence[str]
) -> dict[str, Interval]:
    covered, single = inside[np.arange(len(truth)), truth], inside.sum(1) == 1
    everywhere = np.ones(len(truth), dtype=bool)
    return {
        "coverage": _share(covered, everywhere, groups),
        **{f"coverage_{name}": _share(covered, truth == place, groups) for place, name in enumerate(classes)},
        "decided": _share(single, everywhere, groups),
        "accuracy_of_decided": _share(covered, single, groups),
    }


def _share(true: NDArray[np.bool_], among: NDArray[np.bool_], groups: Sequence[str] | None) -> Interval:
    """The share of the rows `among` that are `true`; undefined where there are none."""
    if not among.any():
        return Interval(math.nan, math.nan, math.nan)
    own = true[among].astype(np.float64)

    def measure(weights: Floats) -> dict[str, Floats]:
        with np.errstate(invalid="ignore"):  # without its only row or group there is no share
            return {"share": weights @ own / weights.sum(1)}

    some = None if groups is None else [group for group, kept in zip(groups, among, strict=True) if kept]
    return intervals(measure, len(own), some, scale=SHARE)["share"]
