"""`train`, `evaluate` and `predict` with files around them."""

import dataclasses
import filecmp
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from graftwork.core.cli.inputs import read_inputs
from graftwork.core.data.characters import check_vocabulary
from graftwork.core.data.tables import read_manifest
from graftwork.core.errors import ManifestError, OutputError, SettingsError, UnreadableError
from graftwork.core.inference.adapter import load_adapter
from graftwork.core.inference.inputs import find_inputs
from graftwork.core.recipe import Recipe
from graftwork.core.runs import setup
from graftwork.core.runs.evaluate import evaluate_run
from graftwork.core.runs.predict import predict
from graftwork.core.runs.train import train


@dataclasses.dataclass(frozen=True)
class Asked:
    """A `train` that is begun by `run`. data: options beside the recipe."""

    load: Callable
    manifest: str
    out: Path
    strategy: str
    data: dict
    recipe: Recipe
    resume: bool

    def run(self):
        own = dict(self.data)
        manifest = read_manifest(self.manifest, target=own.pop("target", None))
        return train(self.load("tiny:net"), manifest, strategy=self.strategy, recipe=self.recipe, out=self.out,
                     resume=self.resume, **{"random_split": "off"} | own)  # fmt: skip


@pytest.fixture
def make_run(load_backbone, table, recipe, tmp_path):
    def make(name, strategy="partial:1", resume=False, manifest=table, data=None, **changes):
        return Asked(load_backbone, str(manifest), tmp_path / name, strategy, data or {},
                     dataclasses.replace(recipe, **changes), resume)  # fmt: skip

    return make


MEASURED = ("costs.json", "report.html")
"""Files with seconds and memory, in which equal runs differ."""


def files_under(folder: Path):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*")
                  if path.is_file() and path.name not in MEASURED)  # fmt: skip


def assert_same_folders(one: Path, other: Path):
    names = files_under(one)
    assert names == files_under(other)
    assert filecmp.cmpfiles(one, other, names, shallow=False) == (names, [], [])


EVALUATION = ["adapter.json", "adapter.safetensors", "data.json", "evaluation.png", "learnt_rows.csv", "metrics.json",
              "predictions.csv", "README.md", "run.json"]  # fmt: skip
COURSE = ["history.csv", "loss.png"]


def unfinished(study):
    record = study.out / "run.json"
    record.write_text(record.read_text().replace('"finished"', '"unfinished"'))


@pytest.mark.parametrize(("old", "new", "named"), [
    ("07.npy,b", "07.npy,c", "targets"), (",p3,", ",p4,", "groups"), ("07.npy", "twin.npy", "contents of files"),
])  # fmt: skip
def test_a_run_over_a_table_that_changed_is_not_gone_on_with(make_run, table, tmp_path, old, new, named):
    """Under the same name, with as many rows."""
    for file in table.parent.glob("*.npy"):
        shutil.copy(file, tmp_path)
    np.save(tmp_path / "twin.npy", np.zeros((1, 8, 8), np.float32))
    copy = Path(shutil.copy(table, tmp_path))
    study = make_run("run", "probe", manifest=copy, data={"folds": 3})
    study.run()
    unfinished(study)
    copy.write_text(table.read_text().replace(old, new))
    with pytest.raises(OutputError, match=f"the interrupted run had another {named}"):
        dataclasses.replace(study, resume=True).run()
    copy.write_text(table.read_text())
    dataclasses.replace(study, resume=True).run()


@pytest.mark.reports
@pytest.mark.parametrize(("strategy", "data", "more"), [
    ("probe", {}, []),
    ("partial:1", {}, COURSE),
    ("partial:1", {"target": "age"}, COURSE),
    ("full", {"target": "bright,striped"}, COURSE),
    ("probe", {"folds": 2}, ["folds/1/fold.json", "folds/2/fold.json"]),
])  # fmt: skip
def test_two_equal_runs_write_the_same_bytes(make_run, strategy, data, more):
    studies = [make_run(name, strategy, data=data) for name in ("one", "two")]
    for study in studies:
        study.run()
    assert_same_folders(*(study.out for study in studies))
    assert files_under(studies[0].out) == sorted(EVALUATION + more)
    assert all((studies[0].out / name).stat().st_size for name in MEASURED)
    assert json.loads((studies[0].out / "run.json").read_text())["state"] == "finished"


class PowerCutError(Exception):
    """The power goes out."""


def test_a_run_interrupted_within_its_second_fold_ends_with_the_same_bytes(make_run, monkeypatch):
    options = {"data": {"folds": 3}, "epochs": 3}
    make_run("whole", **options).run()
    finetune, calls = setup.finetune, []

    def interrupted(*arguments, **keywords):
        calls.append(1)

        def stop(row):
            if len(calls) == 2 and row["epoch"] == 2:
                raise PowerCutError

        return finetune(*arguments, **keywords, on_epoch=stop)

    monkeypatch.setattr(setup, "finetune", interrupted)
    with pytest.raises(PowerCutError):
        make_run("cut", **options).run()
    monkeypatch.setattr(setup, "finetune", lambda *a, **k: calls.append(2) or finetune(*a, **k))
    cut = make_run("cut", resume=True, **options)
    assert (cut.out / "folds" / "2" / "checkpoint.safetensors").exists()
    with pytest.raises(OutputError, match="the interrupted run had another learning_rate"):
        make_run("cut", learning_rate=0.5, **options).run()
    make_run("cut", **options).run()  # the same asked for again goes on
    assert calls == [1, 1, 2, 2, 2]  # the first fold was not computed again
    assert_same_folders(cut.out, cut.out.parent / "whole")


def test_the_numbers_are_those_of_the_predictions(make_run):
    study = make_run("run", "partial:1")
    outcome = study.run()
    metrics = json.loads((study.out / "metrics.json").read_text())
    table = pd.read_csv(study.out / "predictions.csv")
    for part in ("val", "test"):
        rows = table[table["part"] == part]
        assert (rows["target"] == rows["prediction"]).mean() == pytest.approx(metrics[part]["accuracy"]["value"])
        assert metrics[part]["about"]["rows"] == len(rows)
    assert (metrics["left_out"], metrics["shared_between_parts"]) == ([], 0)
    assert str(outcome.evaluation) in (study.out / "README.md").read_text()


def test_classes_of_which_no_file_can_be_read_are_not_learnt(make_run, table, tmp_path, caplog):
    lines = table.read_text().splitlines()
    rows = [f"{table.parent}/{line}" for line in lines[1:]]
    for number in range(2):
        (tmp_path / f"bad{number}.npy").write_bytes(b"nothing")
        rows.append(f"{tmp_path}/bad{number}.npy,absent,q{number},1,0,0")
    (tmp_path / "with.csv").write_text("\n".join([lines[0], *rows]) + "\n")
    study = make_run("run", "probe", manifest=tmp_path / "with.csv", data={"skip_unreadable": True})
    outcome = study.run()
    assert outcome.adapter.classes == ("a", "b", "c")
    assert json.loads((study.out / "adapter.json").read_text())["classes"] == ["a", "b", "c"]
    assert "no file of 'absent' can be read: the run learns 3 classes, not 4" in caplog.text
    other = make_run("other", "probe")
    other.run()
    assert (other.out / "adapter.safetensors").read_bytes() == (study.out / "adapter.safetensors").read_bytes()


def test_nothing_is_written_before_everything_is_checked(make_run, tmp_path):
    (tmp_path / "bad.csv").write_text("path,label\nnone.npy,x\n")
    for study, error in [
        (make_run("run", manifest=tmp_path / "bad.csv"), ManifestError),
        (make_run("run", precision="fp16"), SettingsError),
        (make_run("run", strategy="partial"), SettingsError),
        (make_run("run", data={"folds": 1}), SettingsError),
    ]:
        with pytest.raises(error):
            study.run()
        assert not study.out.exists()


@pytest.fixture
def trained(make_run):
    study = make_run("trained", "probe")
    study.run()
    return study.out


@pytest.fixture
def evaluate(load_backbone, trained):
    def evaluate(manifest, **changes):
        adapter = load_adapter(trained, load_backbone)
        rows = read_manifest(manifest, classes=adapter.classes, split=None)
        return evaluate_run(trained, adapter, rows, device="cpu", **changes)

    return evaluate


def test_a_run_judged_again_on_its_test_rows_has_the_same_numbers(evaluate, trained, tmp_path):
    rows = pd.read_csv(trained / "predictions.csv")
    rows = rows[rows["part"] == "test"].rename(columns={"target": "label"})
    rows[["path", "label", "group"]].to_csv(tmp_path / "test.csv", index=False)
    found = evaluate(tmp_path / "test.csv", out=tmp_path / "evaluated")
    assert found.overlap.caution is None
    again, first = found.part.evaluation.to_json(), json.loads((trained / "metrics.json").read_text())["test"]
    assert again.pop("about") == first.pop("about")
    # Not to the last digit everywhere: some processors add up in an order that depends on the size of the batch.
    for name, numbers in first.items():
        assert again[name].pop("method") == numbers.pop("method")
        assert again[name] == {end: number and pytest.approx(number, rel=1e-5) for end, number in numbers.items()}
    assert again.keys() == first.keys()
    assert found.left_out == ()
    assert files_under(tmp_path / "evaluated") == [
        "data.json",
        "evaluation.png",
        "metrics.json",
        "predictions.csv",
        "run.json",
    ]


def test_rows_that_a_run_has_learnt_from_are_not_judged_without_a_word(evaluate, trained, table, tmp_path, caplog):
    learnt = pd.read_csv(trained / "learnt_rows.csv")
    tested = pd.read_csv(trained / "predictions.csv")
    assert set(learnt["path"]) | set(tested["path"]) == {str(path) for path in table.parent.glob("*.npy")}
    assert not set(learnt["path"]) & set(tested["path"])
    overlap = evaluate(table, out=tmp_path / "evaluated").overlap
    assert (overlap.rows, overlap.training, overlap.validation, overlap.known_groups) == (60, len(learnt), 0, ())
    assert f"{len(learnt)} of 60 rows hold what the run learnt from" in caplog.text
    assert json.loads((tmp_path / "evaluated" / "metrics.json").read_text())["overlap"]["training"] == len(learnt)


@pytest.mark.parametrize(("strategy", "data", "parts"), [
    ("full", {"folds": 2}, {"train"}),
    ("full", {}, {"train", "val"}),
    ("probe", {"test_fraction": 0.0}, {"train"}),
])  # fmt: skip
def test_a_run_says_what_it_has_learnt_from_and_what_chose_its_epoch(make_run, strategy, data, parts):
    study = make_run("run", strategy, data=data, epochs=1)
    study.run()
    learnt, evaluated = (pd.read_csv(study.out / name) for name in ("learnt_rows.csv", "predictions.csv"))
    assert set(learnt["part"]) == parts
    if "val" in parts:
        chosen = learnt[learnt["part"] == "val"]
        assert set(chosen["path"]) == set(evaluated[evaluated["part"] == "val"]["path"])
    else:
        assert len(learnt) == (60 if "folds" in data else 48)


def test_a_part_of_the_split_is_named(table, tmp_path):
    rows = pd.read_csv(table).assign(split=["val"] * 6 + ["train"] * 54)
    rows["path"] = [str(table.parent / path) for path in rows["path"]]
    rows.to_csv(tmp_path / "parts.csv", index=False)
    manifest = read_manifest(tmp_path / "parts.csv")
    assert manifest.part("val").paths == manifest.paths[:6]
    with pytest.raises(ManifestError, match="no row of the split column says 'test'"):
        manifest.part("test")


@pytest.mark.parametrize(
    ("target", "task", "named"),
    [
        (None, None, "'label'"),
        ("bright,striped", None, "'bright', 'striped'"),
        ("text", "single-label", "'text'"),
        ("mask", None, "'mask'"),
    ],
)
def test_a_vocabulary_belongs_to_text_which_is_said_before_anything_is_read(commands, target, task, named):
    options = {"manifest": "nowhere.csv", "vocabulary": "no.json", "target": target, "task": task}
    with pytest.raises(SettingsError) as caught:
        read_inputs(commands, options, 0)
    said = str(caught.value)
    assert said.startswith(f"--vocabulary no.json: gives the characters of a text, and {named} is not learnt as text")
    assert "leave it out, or name the column of the transcripts with --target" in said


@pytest.mark.parametrize(
    ("asked", "target", "task"), [(None, None, None), ("v", "sentence", None), ("v", "said", "text")]
)
def test_a_vocabulary_for_text_is_welcome(asked, target, task):
    check_vocabulary(asked, target, task)


@pytest.fixture
def guess(load_backbone, trained):
    def guess(*inputs, **changes):
        return predict(str(trained), inputs, load_backbone, **{"device": "cpu"} | changes)

    return guess


def test_files_are_predicted_as_they_were_judged(guess, trained, tmp_path):
    rows = pd.read_csv(trained / "predictions.csv")
    found = guess(*rows["path"], out=str(tmp_path / "out.csv"))
    columns = ["prediction", "probability_a", "probability_b", "probability_c"]
    assert found["path"].tolist() == rows["path"].tolist()
    pd.testing.assert_frame_equal(found[columns], rows[columns], atol=1e-6)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "out.csv"), found, atol=1e-8)


def test_files_that_cannot_be_read_stop_or_have_an_error(guess, table, tmp_path):
    (tmp_path / "bad.npy").write_bytes(b"x")
    inputs = (table.parent / "03.npy", tmp_path / "bad.npy", table.parent / "01.npy")
    with pytest.raises(UnreadableError, match=r"bad\.npy"):
        guess(*inputs)
    found = guess(*inputs, skip_unreadable=True)
    assert found["path"].tolist() == [str(one) for one in inputs]
    assert found["error"].isna().tolist() == [True, False, True]
    assert found["prediction"].isna().tolist() == [False, True, False]


def test_inputs_are_files_patterns_tables_and_rows_of_archives(tmp_path, monkeypatch, domain):
    def found(*names):
        return list(map(str, find_inputs(names, domain)))

    for name in ("b.npy", "a.npy", "c[1].npy"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "list.csv").write_text("path\nb.npy\n")
    np.savez(tmp_path / "set.npz", train_images=np.zeros((2, 3, 3)))
    monkeypatch.chdir(tmp_path)
    here = os.fspath(tmp_path)
    assert found("a.npy", "[ab].npy") == [f"{here}/a.npy", f"{here}/b.npy"]
    assert found("list.csv", "c[1].npy") == [f"{here}/b.npy", f"{here}/c[1].npy"]
    assert found("set.npz#train/1") == [f"{here}/set.npz#train/1"]
    with pytest.raises(UnreadableError, match=r"no such file, and no file matches: z\.npy, y\*$"):
        found("a.npy", "z.npy", "y*")


@pytest.mark.parametrize(("data", "said"), [
    ({}, "the last epoch was the best: more"), ({"folds": 3}, "the last epoch was the best in 3 of 3 folds: more"),
])  # fmt: skip
def test_a_run_whose_last_epoch_was_the_best_says_so_wherever_it_is_looked_at(make_run, data, said):
    study = make_run("run", "full", data=data, epochs=1, learning_rate=0.02, head_start="random")
    study.run()
    written = {
        name: (study.out / name).read_text() for name in ("data.json", "metrics.json", "adapter.json", "README.md")
    }
    assert all(said in text for text in written.values()), written.keys()


def test_a_run_whose_best_epoch_came_before_the_last_says_nothing(make_run):
    study = make_run("run", "full", data={}, epochs=3, learning_rate=1e-12)
    study.run()
    assert "last epoch" not in (study.out / "metrics.json").read_text()
