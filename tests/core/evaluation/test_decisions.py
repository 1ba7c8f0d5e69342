"""Decisions: fitted on some rows, worth on others."""

from dataclasses import replace

import numpy as np
import pytest

from graftwork.core.data.manifest import Manifest
from graftwork.core.errors import SettingsError
from graftwork.core.evaluation.decisions import (
    DecisionOptions,
    Decisions,
    apply_decisions,
    apply_out_of_fold,
    check_decisions,
    decisions_from_json,
    evaluate_decisions,
    fit_decisions,
)
from graftwork.core.inference.predict import evaluate_part
from graftwork.core.metrics.operating_point import OperatingPoint, choose_threshold


@pytest.fixture
def part(tmp_path):
    def make(rows=300, seed=0, classes=2, signal=1.2, sure=1.0):
        generator = np.random.default_rng(seed)
        truth = generator.integers(0, classes, rows)
        logits = sure * (generator.normal(size=(rows, classes)) + signal * np.eye(classes)[truth])
        chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        paths = tuple(f"{row}.npy" for row in range(rows))
        names = tuple("abcdef"[:classes])
        manifest = Manifest("t.csv", paths, "single-label", "label", names, truth,
                            digests=lambda examples: [str(one) for one in examples])  # fmt: skip
        return evaluate_part("out-of-fold", manifest, chances, np.arange(rows) % 5)

    return make


def test_every_fold_is_cut_at_the_threshold_of_the_others(part):
    own, options = part(), DecisionOptions(sensitivity=0.9)
    found = apply_out_of_fold(options, own)
    for fold in range(5):
        others, inside = own.folds != fold, own.folds == fold
        threshold = choose_threshold(own.predictions[others, 1], own.manifest.values[others] == 1, "sensitivity", 0.9)
        assert found.decided[inside].tolist() == (own.predictions[inside, 1] >= threshold).astype(int).tolist()


def test_what_a_point_is_worth_is_counted_on_the_rows_that_it_is_a_share_of(part):
    own, options = part(), DecisionOptions(youden=True, positive="a")
    applied = apply_out_of_fold(options, own)
    report = evaluate_decisions(own, applied, fit_decisions(options, own), 0)
    decided, has = applied.decided == 0, own.manifest.values == 0
    expected = {"sensitivity": decided[has].mean(), "specificity": (~decided)[~has].mean(), "ppv": has[decided].mean(),
                "npv": (~has)[~decided].mean()}  # fmt: skip
    for name, value in expected.items():
        assert report.point[name].value == pytest.approx(value)
        assert report.point[name].low < value < report.point[name].high
    plain = report.to_json()["decision"]
    assert (plain["positive"], plain["rule"], len(plain["decision_curve"])) == ("a", "the largest Youden index", 99)
    assert "operating point for 'a'" in str(report)


def test_a_sensitivity_asked_for_is_kept_on_new_rows_on_average(part):
    options, reached = DecisionOptions(sensitivity=0.9), []
    for seed in range(30):
        decisions, new = fit_decisions(options, part(seed=seed)), part(seed=100 + seed)
        decided = apply_decisions(decisions, new.predictions).decided
        reached.append((decided == 1)[new.manifest.values == 1].mean())
    assert np.mean(reached) == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize("classes", [2, 4])
def test_abstaining_keeps_its_promise_on_held_out_rows_and_says_how_often_it_decides(part, classes):
    covered, decided, right = [], [], []
    for seed in range(20):
        own = part(rows=200, seed=seed, classes=classes)
        report = evaluate_decisions(own, apply_out_of_fold(DecisionOptions(), own), Decisions(), 0)
        found = report.abstention[0.1]
        covered.append(found["coverage"].value)
        decided.append(found["decided"].value)
        right.append(found["accuracy_of_decided"].value)
        assert set(found) == {"coverage", "decided", "accuracy_of_decided",
                              *(f"coverage_{name}" for name in own.manifest.classes)}  # fmt: skip
    assert 0.89 < np.mean(covered) < 0.93
    assert 0 < np.mean(decided) < 1
    accuracy = np.mean([part(rows=200, seed=seed, classes=classes).evaluation.metrics["accuracy"].value
                        for seed in range(20)])  # fmt: skip
    assert np.mean(right) > accuracy + 0.02


def test_recalibration_is_fitted_on_other_folds_and_lowers_the_loss_of_what_is_too_sure(part):
    own, options = part(sure=4.0), DecisionOptions(recalibrate="auto")
    report = evaluate_decisions(own, apply_out_of_fold(options, own), fit_decisions(options, own), 0)
    assert report.log_loss[1] < report.log_loss[0]
    assert report.decisions.recalibration.kind == "temperature"
    assert report.calibration["calibration_slope"].value == pytest.approx(1.0, abs=0.25)
    assert "recalibrated: temperature" in str(report)
    raw = evaluate_decisions(own, apply_out_of_fold(DecisionOptions(), own), Decisions(), 0)
    assert raw.calibration["calibration_slope"].value < 0.6
    assert raw.to_json()["recalibration"]["kept"] == "none"


def test_columns_of_a_table(part):
    own = part()
    chances = np.array([[0.7, 0.3], [0.5, 0.5], [np.nan, np.nan], [0.001, 0.999]])
    pointed = replace(fit_decisions(DecisionOptions(), own), point=OperatingPoint(1, 0.25, "youden"))
    assert pointed.columns(chances, ("x", "y"), None) == {"decision": ["y", "y", "", "y"]}
    found = pointed.columns(chances, ("x", "y"), 0.05)
    assert found["prediction_set"][1:] == ["x|y", "", "y"]
    assert (found["decision"][1:], found["decision"][0] in ("", "x")) == (["", "", "y"], True)
    assert Decisions().columns(chances, ("x", "y"), None) == {}


def test_what_was_written_is_read_again(part):
    found = fit_decisions(DecisionOptions(specificity=0.8, recalibrate="temperature"), part(sure=3.0))
    again, chances = decisions_from_json(found.to_json(), 2), part(seed=1).predictions
    for alpha in (None, 0.1):
        assert again.columns(chances, ("x", "y"), alpha) == found.columns(chances, ("x", "y"), alpha)
    assert decisions_from_json(None, 2).columns(chances, ("x", "y"), None) == {}


def test_options_that_make_no_sense_are_refused(part):
    manifest = part().manifest
    three = part(classes=3).manifest
    for arguments, said in [
        ({"sensitivity": 0.0}, "--sensitivity: expected above 0"),
        ({"specificity": 1.5}, "--specificity: expected above 0"),
        ({"sensitivity": 0.9, "youden": True}, "give one"),
        ({"positive": "a"}, "--positive: only"),
    ]:
        with pytest.raises(SettingsError, match=said):
            DecisionOptions(**arguments)
    for options, rows, said in [(DecisionOptions(youden=True), three, "name the class to decide for, one of 'a', 'b'"),
                                (DecisionOptions(youden=True, positive="z"), manifest, "no class 'z'"),
                                (DecisionOptions(recalibrate="isotonic"), three, "is for two classes, found 3"),
                                (DecisionOptions(youden=True), replace(manifest, task="regression", classes=()),
                                 "take one class a row")]:  # fmt: skip
        with pytest.raises(SettingsError, match=said):
            check_decisions(options, rows)
    check_decisions(DecisionOptions(), replace(manifest, task="regression", classes=()))
