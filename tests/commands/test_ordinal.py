"""Grades on both command lines: learnt by every kind of strategy, predicted, evaluated again, and mistakes named."""

import json

import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

ORDER = "none,mild,severe"


@pytest.fixture
def graded(bench):
    """Marked files are severe, the others none or mild."""
    rows = [(bench.file(number), "severe" if number % 2 else ("none", "mild")[number % 4 // 2]) for number in range(24)]
    bench.write_table(rows, "path,grade", "graded.csv")
    return bench


def train(bench, *options, out="run"):
    return bench.train("--target", "grade", "--task", "ordinal", "--device", "cpu", *options, table="graded.csv",
                       out=out)  # fmt: skip


def test_grades_are_learnt_predicted_and_evaluated_again(graded):
    done = train(graded, "--order", ORDER, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)["test"]
    assert {"quadratic_kappa", "mae", "auroc", "auroc_above_none", "auroc_above_mild"} <= set(found)
    assert found["about"]["classes"] == ORDER.split(",")
    table = pd.read_csv(graded.folder / "run" / "predictions.csv", keep_default_na=False)
    assert list(table.columns)[-5:] == ["target", "prediction", *(f"probability_{name}" for name in ORDER.split(","))]
    places = {name: place for place, name in enumerate(ORDER.split(","))}
    kappa = cohen_kappa_score(table["target"].map(places), table["prediction"].map(places), weights="quadratic")
    assert found["quadratic_kappa"]["value"] == pytest.approx(kappa)
    assert (graded.folder / "run" / "evaluation.png").stat().st_size > 5000
    record = json.loads((graded.folder / "run" / "adapter.json").read_text())
    assert (record["task"], record["classes"]) == ("ordinal", ORDER.split(","))
    again = graded.run("evaluate", "run", "graded.csv", "--device", "cpu", "--json")
    assert again.code == 0, again.err
    assert json.loads(again.out)["test"]["quadratic_kappa"]["value"] > 0.5
    assert graded.run("predict", "run", graded.file(1), "--device", "cpu").out.splitlines()[1].split(",")[1] == "severe"


@pytest.mark.parametrize("strategy", ["knn", "partial:1", "lpft"])
def test_every_kind_of_strategy_learns_grades(graded, strategy):
    done = train(graded, "--order", ORDER, "--strategy", strategy, "--epochs", "2", "--class-weights", "balanced")
    assert done.code == 0, done.err
    assert "quadratic_kappa" in done.out


@pytest.mark.long(reason="six seconds")
def test_folds_stages_and_check_take_grades(graded):
    order = ("--target", "grade", "--task", "ordinal", "--order", ORDER)
    assert train(graded, "--order", ORDER, "--folds", "3").code == 0
    checked = graded.run("check", "graded.csv", *order)
    assert (checked.code, "ordinal target 'grade'" in checked.out) == (0, True)
    staged = graded.run("stages", "graded.csv", *order, "--folds", "2", *graded.backbone, "--device", "cpu")
    assert staged.code == 0, staged.err
    assert "quadratic_kappa" in staged.out


@pytest.mark.long(reason="six seconds")
def test_grades_are_exported_and_explained(imaging_bench):
    bench = imaging_bench
    rows = [(bench.file(number), ("none", "mild", "severe")[number % 3]) for number in range(24)]
    bench.write_table(rows, "path,grade", "graded.csv")
    assert train(bench, "--order", ORDER).code == 0
    exported = bench.run("export", "run", "--format", "onnx", "--out", "grades.onnx", "--weights", "random")
    assert exported.code == 0, exported.err
    explained = bench.run(
        "explain", "run", bench.file(1), "--out", "explained", "--weights", "random", "--device", "cpu"
    )
    assert explained.code == 0, explained.err


def test_mistakes_in_grades_are_explained(graded):
    done = train(graded)
    assert (done.code, "and not as here: mild,none,severe" in done.err) == (2, True)
    done = train(graded, "--order", "none,mild")
    assert (done.code, "unknown label 'severe'" in done.err) == (2, True)
    done = train(graded, "--order", ORDER, "--head", "aam", "--strategy", "full")
    assert (done.code, "needs single labels" in done.err) == (2, True)
    assert not graded.left()
