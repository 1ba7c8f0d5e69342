"""What both command lines do when all is well."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

METRICS = {"auroc", "average_precision", "accuracy", "balanced_accuracy", "f1", "brier", "ece"}


def contents(folder: Path) -> dict[str, bytes]:
    """Of all files but those with seconds and memory, in which equal runs differ."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*")
            if file.is_file() and file.name not in ("costs.json", "report.html")}  # fmt: skip


def test_backbones_are_listed_for_people_and_machines(bench):
    everything = bench.run("backbones")
    assert everything.code == 0
    assert bench.commands.default_backbone in everything.out
    chosen = json.loads(bench.run("backbones", bench.commands.default_backbone.lower(), "--json").out)
    assert bench.commands.default_backbone in [row["id"] for row in chosen]
    assert set(chosen[0]) == {"id", "source", "parameters", "licence", "here", "note"}


def test_a_text_that_no_backbone_contains_is_answered(bench):
    found = bench.run("backbones", "zzz")
    assert (found.code, found.out) == (0, "")
    assert "no backbone's id contains 'zzz'" in found.err
    assert json.loads(bench.run("backbones", "zzz", "--json").out) == []


def test_check_counts_classes_and_groups(bench):
    found = bench.run("check", "table.csv")
    assert found.code == 0
    assert "24 rows, single-label target 'label'" in found.out
    assert "12 groups" in found.out
    plain = json.loads(bench.run("check", "table.csv", "--json").out)
    assert plain["rows"] == 24
    assert plain["classes"]["marked"]["all"] == 12
    assert plain["groups"]["count"] == 12


def test_a_probe_in_folds_evaluates_every_row_and_writes_its_folder(bench):
    done = bench.train("--folds", 3)
    assert done.code == 0
    assert "24 rows in 12 groups" in done.out
    assert "auroc" in done.out
    folder = bench.folder / "run"
    numbers = json.loads((folder / "metrics.json").read_text())
    assert set(numbers["out-of-fold"]) >= METRICS
    assert numbers["out-of-fold"]["ece"]["method"] == "fewer than 100 groups"
    for name in METRICS - {"ece"}:
        assert (
            numbers["out-of-fold"][name]["low"]
            <= numbers["out-of-fold"][name]["value"]
            <= numbers["out-of-fold"][name]["high"]
        )
    assert numbers["out-of-fold"]["auroc"]["value"] > 0.9
    assert (numbers["left_out"], numbers["shared_between_parts"]) == ([], 0)
    rows = list(csv.DictReader((folder / "predictions.csv").open()))
    assert len(rows) == 24
    assert {row["fold"] for row in rows} == {"1", "2", "3"}
    assert len({(row["group"], row["fold"]) for row in rows}) == 12
    assert json.loads((folder / "run.json").read_text())["state"] == "finished"
    for name in ("adapter.safetensors", "adapter.json", "README.md", "evaluation.png"):
        assert (folder / name).stat().st_size


def test_train_prints_the_numbers_as_json_when_asked(bench):
    done = bench.train("--folds", 2, "--json")
    assert done.out == (bench.folder / "run" / "metrics.json").read_text()


def test_a_split_column_decides_who_is_tested(bench):
    parts = ["train"] * 12 + ["val"] * 6 + ["test"] * 6
    rows = [(*row, part) for row, part in zip(bench.labelled(), parts, strict=True)]
    assert bench.train(table=bench.write_table(rows, "path,label,split")).code == 0
    evaluated = list(csv.DictReader((bench.folder / "run" / "predictions.csv").open()))
    assert [(Path(row["path"]).name, row["part"]) for row in evaluated] == [
        (path, part) for path, _, part in rows if part != "train"
    ]


def test_a_drawn_split_takes_the_fractions(bench):
    assert bench.train("--val-fraction", 0, "--test-fraction", 0.5).code == 0
    numbers = json.loads((bench.folder / "run" / "metrics.json").read_text())
    assert "val" not in numbers
    assert numbers["test"]["about"]["rows"] == 12


@pytest.mark.parametrize("strategy", ["partial:1", "full", "scratch"])
def test_every_strategy_trains_in_epochs(bench, strategy):
    assert bench.train("--strategy", strategy, "--epochs", 2).code == 0
    folder = bench.folder / "run"
    assert set(json.loads((folder / "metrics.json").read_text())) >= {"val", "test"}
    epochs = [row["epoch"] for row in csv.DictReader((folder / "history.csv").open())]
    assert epochs == (["1", "2"] if strategy == "scratch" else ["0", "1", "2"])  # 0: the solved head
    frozen = json.loads((folder / "run.json").read_text())["frozen"]
    assert (frozen["tensors"] > 0) == (strategy == "partial:1")
    assert bench.run("predict", "run", bench.file(0)).code == 0


def test_folds_of_a_strategy_with_epochs_end_with_the_median_of_their_best(bench):
    done = bench.train("--strategy", "partial:1", "--epochs", 2, "--folds", 2)
    assert done.code == 0
    assert "the median of the folds' best" in done.err
    best = [json.loads((bench.folder / f"run/folds/{fold}/fold.json").read_text())["best_epoch"] for fold in (1, 2)]
    history = bench.folder / "run" / "history.csv"
    epochs = len(list(csv.DictReader(history.open()))) if history.exists() else 0
    assert epochs == round(sum(best) / 2)


@pytest.mark.parametrize("options", [("--folds", "3"), ("--strategy", "partial:1", "--epochs", "1")])
def test_the_same_command_writes_the_same_bytes(bench, options):
    assert bench.train(*options, out="first").code == 0
    assert bench.train(*options, out="second").code == 0
    first, second = contents(bench.folder / "first"), contents(bench.folder / "second")
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


def test_evaluate_repeats_what_train_said_of_the_test_part(bench):
    parts = ["train"] * 12 + ["test"] * 12
    rows = [(*row, part) for row, part in zip(bench.labelled(), parts, strict=True)]
    table = bench.write_table(rows, "path,label,split")
    assert bench.train("--val-fraction", 0, table=table).code == 0
    said = json.loads((bench.folder / "run" / "metrics.json").read_text())["test"]
    evaluated = bench.run("evaluate", "run", table, "--part", "test", "--out", "evaluated", "--json")
    assert evaluated.code == 0
    again = json.loads(evaluated.out)["test"]
    assert json.loads((bench.folder / "evaluated" / "metrics.json").read_text())["test"] == again
    assert again.pop("about") == said.pop("about")
    # Not to the last digit everywhere: some processors add up in an order that depends on the size of the batch.
    for name, numbers in said.items():
        assert again[name].pop("method") == numbers.pop("method")
        assert again[name] == {end: number and pytest.approx(number, rel=1e-4) for end, number in numbers.items()}
    assert again.keys() == said.keys()
    assert (bench.folder / "evaluated" / "evaluation.png").exists()
    assert "12 rows" in bench.run("evaluate", "run", table, "--part", "test").out


def test_evaluate_says_what_the_run_has_learnt_from(bench):
    assert bench.train("--val-fraction", 0, "--test-fraction", 0.5).code == 0
    table = bench.write_table(bench.labelled(), "path,label", "again.csv")
    evaluated = bench.run("evaluate", "run", table, "--json")
    assert json.loads(evaluated.out)["overlap"] == {"rows": 24, "training": 12, "validation": 0,
                                                 "rows_of_known_groups": None, "known_groups": None}  # fmt: skip
    assert "12 of 24 rows hold what the run learnt from" in evaluated.err
    (bench.folder / "run" / "learnt_rows.csv").unlink()
    unknown = bench.run("evaluate", "run", table, "--json")
    assert json.loads(unknown.out)["overlap"] is None
    assert "whether these are new to it is not known" in unknown.err


@pytest.fixture
def trained(bench):
    assert bench.train("--folds", 2).code == 0
    return bench


def test_predict_takes_files_patterns_and_tables(trained):
    names = [trained.file(number) for number in range(10)]
    paths = trained.write_table([(name,) for name in names], "path", "paths.csv")
    by_name = trained.run("predict", "run", *names).out
    assert trained.run("predict", "run", f"0*{trained.suffix}").out == by_name
    assert trained.run("predict", "run", paths).out == by_name
    rows = list(csv.DictReader(io.StringIO(by_name)))
    assert [Path(row["path"]).name for row in rows] == names
    for row in rows:
        chances = {name: float(row[f"probability_{name}"]) for name in ("plain", "marked")}
        assert sum(chances.values()) == pytest.approx(1, abs=1e-6)
        assert row["prediction"] == max(chances, key=chances.__getitem__)


def test_predict_writes_a_file_or_json(trained):
    done = trained.run("predict", "run", trained.file(0), trained.file(1), "--out", "new/predictions.csv")
    assert (done.code, done.out) == (0, "2 predictions: new/predictions.csv\n")
    table = (trained.folder / "new" / "predictions.csv").read_text()
    assert table == trained.run("predict", "run", trained.file(0), trained.file(1)).out
    plain = json.loads(trained.run("predict", "run", trained.file(0), "--json").out)
    assert plain[0]["prediction"] == "plain"


def test_predictions_do_not_depend_on_the_batch(trained):
    def chances(size: int) -> list[float]:
        found = trained.run("predict", "run", f"*{trained.suffix}", "--batch-size", size).out
        return [float(row["probability_marked"]) for row in csv.DictReader(io.StringIO(found))]

    assert chances(1) == pytest.approx(chances(24), abs=1e-5)


@pytest.mark.long(reason="eight seconds, for which test_preemption.py stands")
def test_a_finished_run_is_not_resumed_and_an_unfinished_one_is(bench):
    assert "found no run" in bench.train("--resume").err
    assert bench.train("--strategy", "partial:1", "--epochs", 1, "--folds", 2).code == 0
    finished = contents(bench.folder / "run")
    assert "found a finished run" in bench.train("--resume", "--strategy", "partial:1").err
    record = bench.folder / "run" / "run.json"
    unfinished = json.loads(record.read_text()) | {"state": "unfinished"}
    record.write_text(json.dumps(unfinished))
    (bench.folder / "run" / "folds" / "2" / "fold.json").unlink()
    assert "the interrupted run had another epochs, folds; ask" in bench.train("--strategy", "partial:1").err
    assert bench.train("--strategy", "partial:1", "--epochs", 1, "--folds", 2, "--resume").code == 0
    assert contents(bench.folder / "run") == finished


def test_help_of_every_verb_gives_an_example(bench):
    for verb in ("backbones", "check", "train", "evaluate", "report", "predict"):
        shown = bench.run(verb, "--help")
        assert shown.code == 0
        assert "Example" in shown.out


def test_the_module_runs_as_a_program(bench):
    def program(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", f"graftwork.{bench.commands.domain.name}", *arguments]
        return subprocess.run(command, cwd=bench.folder, capture_output=True, text=True, timeout=300)

    good = program("check", "table.csv", "--json")
    assert (good.returncode, json.loads(good.stdout)["rows"], good.stderr) == (0, 24, "")
    bad = program("check", "absent.csv")
    assert (bad.returncode, bad.stdout) == (2, "")
    assert bad.stderr == "error: absent.csv: 1 problem\n  no such file or folder\n"


def test_strategies_are_compared_for_people_and_machines(bench):
    options = ("compare", "table.csv", *bench.backbone, "--folds", 2, "--strategies", "knn,probe,partial:99")
    done = bench.run(*options, "--out", "compared")
    assert done.code == 0
    written = json.loads((bench.folder / "compared" / "comparison.json").read_text())
    assert [one["strategy"] for one in written["strategies"]] == ["knn", "probe"]
    assert f"Best by auroc: {written['best']}, " in done.out
    assert "cannot: partial:99: " in " ".join(done.out.split())
    assert (
        bench.run(*options, "--out", "compared", "--resume", "--json").out
        == (bench.folder / "compared" / "comparison.json").read_text()
    )


def test_a_comparison_of_a_strategy_that_is_not_known_writes_nothing(bench):
    found = bench.run("compare", "table.csv", *bench.backbone, "--strategies", "probe,porbe", "--out", "compared")
    assert (found.code, found.out) == (2, "")
    assert "unknown strategy 'porbe'" in found.err
    assert not bench.left("compared")


def test_the_version_is_printed(bench):
    from graftwork import core

    done = bench.run("--version")
    assert (done.code, done.out.strip()) == (0, core.__version__)
