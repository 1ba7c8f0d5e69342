"""`--by`, `--leave-out` and `--repeats` at both command lines."""

import json

import pandas as pd
import pytest


def with_sites(bench):
    """The bench's table with a column of sites, each of whole groups, and one of scanners."""
    table = pd.read_csv(bench.table)
    groups = sorted(table["group"].unique())
    site = {group: "north" if place // 2 % 2 else "south" for place, group in enumerate(groups)}
    table = table.assign(site=table["group"].map(site), scanner=["A", "B", ""] * (len(table) // 3))
    table.to_csv(bench.table, index=False)


def test_leaving_out_sites_with_subgroups_of_scanners(imaging_bench):
    bench = imaging_bench
    with_sites(bench)
    ran = bench.run(
        "train", bench.table, *bench.backbone, "--leave-out", "site", "--by", "scanner, site", "--out", "run"
    )
    assert ran.code == 0, ran.err
    assert "2-fold cross-validation, out-of-fold" in ran.out
    assert "largest of all pairs" in ran.out
    metrics = json.loads((bench.folder / "run" / "metrics.json").read_text())
    assert list(metrics["subgroups"]) == ["scanner", "site"]
    assert set(metrics["subgroups"]["scanner"]["groups"]) == {"A", "B", "(blank)"}
    predictions = pd.read_csv(bench.folder / "run" / "predictions.csv")
    sites = pd.read_csv(bench.table)["site"].map({"north": 1, "south": 2})
    assert predictions["fold"].tolist() == sites.tolist()
    again = bench.run("evaluate", "run", bench.table, "--by", "scanner", "--json")
    assert set(json.loads(again.out)["subgroups"]["scanner"]["groups"]) == {"A", "B", "(blank)"}


@pytest.mark.reports
@pytest.mark.long(reason="nine seconds, for which tests of repeats stand")
def test_repeats_in_train_and_compare(audio_bench):
    bench = audio_bench
    ran = bench.run("train", bench.table, *bench.backbone, "--folds", "2", "--repeats", "2", "--out", "run")
    assert ran.code == 0, ran.err
    assert "2-fold cross-validation repeated 2 times" in ran.out
    assert pd.read_csv(bench.folder / "run" / "predictions.csv")["repeat"].tolist().count(2) == 24
    assert "all folds of the first drawing of folds together" in (bench.folder / "run" / "report.html").read_text()
    ran = bench.run("compare", bench.table, *bench.backbone, "--folds", "2", "--repeats", "2", "--strategies",
                    "knn,probe", "--out", "both")  # fmt: skip
    assert ran.code == 0, ran.err
    kept = json.loads((bench.folder / "both" / "comparison.json").read_text())
    alone = json.loads((bench.folder / "run" / "metrics.json").read_text())["out-of-fold"]["auroc"]
    assert kept["strategies"][1]["metrics"]["auroc"] == alone


def test_groups_in_two_sites_and_columns_that_are_not_there_are_errors(imaging_bench):
    bench = imaging_bench
    with_sites(bench)
    table = pd.read_csv(bench.table)
    table.loc[0, "site"] = {"north": "south", "south": "north"}[table.loc[0, "site"]]
    table.to_csv(bench.table, index=False)
    ran = bench.run("train", bench.table, *bench.backbone, "--leave-out", "site", "--out", "run")
    assert ran.code == 2
    assert f"group {table.loc[0, 'group']!r} is in several parts" in ran.err
    ran = bench.run("train", bench.table, *bench.backbone, "--leave-out", "site", "--allow-leaks", "--out", "run")
    assert ran.code == 0
    assert "parts are not apart (1 group in several)" in ran.out
    ran = bench.run("train", bench.table, *bench.backbone, "--by", "colour", "--out", "other")
    assert (ran.code, "no column 'colour'" in ran.err) == (2, True)
    ran = bench.run("train", bench.table, *bench.backbone, "--folds", "2", "--leave-out", "site", "--out", "other")
    assert (ran.code, "two ways" in ran.err) == (2, True)
