"""Operating points, recalibration and abstention at both command lines."""

import io
import json

import numpy as np
import pandas as pd
import pytest


def predicted(bench, *more):
    ran = bench.run("predict", "run", bench.table, *more)
    assert ran.code == 0, ran.err
    return pd.read_csv(io.StringIO(ran.out), keep_default_na=False)


def test_an_operating_point_travels_from_training_into_predictions_and_evaluations(imaging_bench):
    bench = imaging_bench
    ran = bench.run("train", bench.table, *bench.backbone, "--folds", "3", "--sensitivity", "0.9", "--recalibrate",
                    "auto", "--out", "run")  # fmt: skip
    assert ran.code == 0, ran.err
    assert "sensitivity of at least 0.9: decided from a probability of" in ran.out
    metrics = json.loads((bench.folder / "run" / "metrics.json").read_text())
    point = metrics["decision"]
    table = predicted(bench)
    positive = table[f"probability_{point['positive']}"] >= point["threshold"]
    assert (table["decision"] == point["positive"]).tolist() == positive.tolist()
    again = json.loads(bench.run("evaluate", "run", bench.table, "--json").out)
    assert again["decision"]["threshold"] == point["threshold"]
    truth = pd.read_csv(bench.table)["label"].astype(str)
    assert again["decision"]["sensitivity"]["value"] == pytest.approx(positive[truth == point["positive"]].mean())


def test_abstaining_writes_sets_and_leaves_open_what_is_not_one_class(audio_bench):
    bench = audio_bench
    assert bench.run("train", bench.table, *bench.backbone, "--folds", "3", "--out", "run").code == 0
    table = predicted(bench, "--abstain", "0.2")
    single = ~table["prediction_set"].str.contains("|", regex=False) & (table["prediction_set"] != "")
    np.testing.assert_array_equal(table["decision"], table["prediction_set"].where(single, ""))
    assert "decision" not in predicted(bench)


def test_a_solved_probe_without_a_validation_part_is_calibrated_in_folds_of_its_training_rows(imaging_bench):
    bench = imaging_bench
    ran = bench.run("train", bench.table, *bench.backbone, "--youden", "--out", "run")
    assert ran.code == 0, ran.err
    assert "training rows in" in ran.err
    assert {"decision", "abstention"} <= json.loads((bench.folder / "run" / "metrics.json").read_text()).keys()
    predicted(bench, "--abstain", "0.2")


def test_a_validation_part_is_what_gradient_strategies_are_calibrated_on(audio_bench):
    bench = audio_bench
    ran = bench.run("train", bench.table, *bench.backbone, "--strategy", "partial:1", "--epochs", "1", "--youden",
                    "--out", "run")  # fmt: skip
    assert ran.code == 0, ran.err
    assert "training rows in" not in ran.err
    assert "decision" in json.loads((bench.folder / "run" / "metrics.json").read_text())


def test_what_cannot_be_decided_is_said(imaging_bench):
    bench = imaging_bench
    ran = bench.run("train", bench.table, *bench.backbone, "--target", "age", "--task", "regression", "--youden",
                    "--out", "run")  # fmt: skip
    assert (ran.code, "take one class a row" in ran.err) == (2, True)
    assert bench.run("train", bench.table, *bench.backbone, "--out", "run").code == 0
    ran = bench.run("predict", "run", bench.table, "--abstain", "0.1")
    assert (ran.code, "train it with --folds" in ran.err) == (2, True)
    ran = bench.run("predict", "run", bench.table, "--abstain", "1.5")
    assert (ran.code, "expected above 0 and below 1" in ran.err) == (2, True)
    record = json.loads((bench.folder / "run" / "adapter.json").read_text())
    record.pop("digest", None)
    path = bench.folder / "run" / "adapter.json"
    path.write_text(json.dumps({name: value for name, value in record.items() if "digest" not in name}
                               | {"decisions": {"recalibration": {"kind": "magic"}}}))  # fmt: skip
    ran = bench.run("predict", "run", bench.table)
    assert (ran.code, "decisions: not what this version writes" in ran.err) == (2, True)


def test_corruptions_are_evaluated_beside_the_files_as_they_are(audio_bench):
    bench = audio_bench
    assert bench.run("train", bench.table, *bench.backbone, "--out", "run").code == 0
    ran = bench.run("evaluate", "run", bench.table, "--corruptions", "--out", "worse")
    assert ran.code == 0, ran.err
    names = {one.name for one in bench.commands.domain.corruptions}
    metrics = json.loads((bench.folder / "worse" / "metrics.json").read_text())
    assert set(metrics["corruptions"]) == names
    assert set(metrics["corruptions"]["noise"]) == {"1", "2", "3"}
    assert "difference in auroc" in ran.out
