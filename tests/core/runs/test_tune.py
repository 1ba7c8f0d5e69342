"""A search for settings: what is tried, what is ended early, what goes on, and what is said of the best."""

import csv
import dataclasses
import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from graftwork.core.data.tables import read_manifest
from graftwork.core.errors import MissingPackageError, OutputError, SettingsError
from graftwork.core.runs import search_study
from graftwork.core.runs import tune as module
from graftwork.core.runs.compare import compare
from graftwork.core.runs.run_folder import UNFINISHED, mark
from graftwork.core.runs.search_space import SearchSpace
from graftwork.core.runs.search_study import OWNER, ask, ended_trials, open_study
from graftwork.core.runs.tune import tune

with_optuna = pytest.mark.skipif(
    importlib.util.find_spec("optuna") is None, reason="optuna, the extra tune, is missing"
)


@pytest.fixture(autouse=True)
def _without_report(monkeypatch):
    monkeypatch.setattr(module, "report_on_finished", lambda *given, **named: None)


@pytest.fixture
def search(load_backbone, table, recipe, tmp_path):
    def run(strategies, trials, out="tuned", manifest=None, **changes):
        return tune(load_backbone("tiny:net"), manifest or read_manifest(table), strategies, trials=trials,
                    out=tmp_path / out, **{"recipe": recipe, "folds": 2} | changes)  # fmt: skip

    return run


@with_optuna
def test_the_best_is_corrected_as_a_comparison_of_the_same_settings_corrects_it(
    search, load_backbone, table, recipe, tmp_path
):
    found = search(["knn", "probe"], 2)
    expected = compare(load_backbone("tiny:net"), read_manifest(table), ["knn", "probe"], folds=2, random_split="off",
                       recipe=recipe)  # fmt: skip
    assert [one.params["strategy"] for one in found.trials] == ["knn", "probe"]
    assert found.corrected == expected.corrected
    own = [result.metrics[found.metric].value for result in expected.results]
    assert [one.value for one in found.trials] == pytest.approx(own, abs=1e-12)
    assert found.best_trial.params["strategy"] == expected.best
    metrics = json.loads((tmp_path / "tuned" / "best" / "metrics.json").read_text())
    assert metrics["out-of-fold"]["auroc"]["value"] == pytest.approx(found.best_trial.value, abs=1e-12)
    assert f"publish, {found.corrected}" in metrics["cautions"][0]
    assert list(pd.read_csv(tmp_path / "tuned" / "trials.csv")["strategy"]) == ["knn", "probe"]
    assert (tmp_path / "tuned" / "search.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "tuned" / "tuning.json").read_text())["corrected"]["value"] == found.corrected.value
    written = (tmp_path / "tuned" / "best" / "adapter.safetensors").stat().st_mtime_ns
    assert search(["knn", "probe"], 2).trials == found.trials
    assert (tmp_path / "tuned" / "best" / "adapter.safetensors").stat().st_mtime_ns == written


class EndedError(BaseException):
    pass


@with_optuna
def test_a_trial_that_somebody_interrupts_is_asked_for_again_by_the_same_process(search, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_train_best", lambda *given: None)

    def interrupted(*given, **named):
        raise EndedError

    with monkeypatch.context() as patched:
        patched.setattr(module, "cross_validate_setup", interrupted)
        with pytest.raises(EndedError):
            search(["knn", "probe"], 2)
    journal = (tmp_path / "tuned" / "trials.journal").read_text()
    assert '"state":3' in journal, "the interrupted trial is FAIL, not RUNNING"
    found = search(["knn", "probe"], 2)
    assert sorted(one.params["strategy"] for one in found.trials) == ["knn", "probe"]
    assert [one.state for one in found.trials] == ["finished", "finished"]


@with_optuna
def test_the_training_of_the_best_goes_on_where_it_was_ended(search, monkeypatch):
    resumed = []

    def ended(setup, *given, **named):
        resumed.append(setup.resume)
        mark(setup.folder, {}, UNFINISHED)
        raise EndedError

    monkeypatch.setattr(module, "train_on", ended)
    for _ in range(2):
        with pytest.raises(EndedError):
            search(["knn"], 1)
    assert resumed == [False, True]


@with_optuna
@pytest.mark.long(reason="three searches, of which one would say less")
def test_a_search_that_goes_on_chooses_what_one_in_a_single_call_does(search, monkeypatch):
    monkeypatch.setattr(module, "_train_best", lambda *given: None)
    whole = search(["probe", "bias"], 4, "whole")
    first = search(["probe", "bias"], 2, "parts")
    more = search(["probe", "bias"], 4, "parts")
    assert [one.params for one in more.trials] == [one.params for one in whole.trials]
    assert [one.value for one in more.trials] == [one.value for one in whole.trials]
    assert more.trials[:2] == first.trials


@with_optuna
def test_other_settings_are_refused_by_name(search, recipe, monkeypatch):
    monkeypatch.setattr(module, "_train_best", lambda *given: None)
    search(["probe"], 1)
    with pytest.raises(OutputError, match="had another epochs, weight_decay"):
        search(["probe"], 2, recipe=dataclasses.replace(recipe, epochs=9, weight_decay=0.5))


@with_optuna
def test_rows_of_the_test_part_are_left_out_and_their_files_not_opened(search, table, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_train_best", lambda *given: None)
    rows = pd.read_csv(table)
    rows["path"] = [str(table.parent / path) for path in rows["path"]]
    rows["split"] = ["test" if int(group[1:]) % 4 == 0 else "train" for group in rows["group"]]
    for place in rows.index[rows["split"] == "test"]:
        (tmp_path / f"{place}.npy").write_bytes(b"no array")
        rows.loc[place, "path"] = str(tmp_path / f"{place}.npy")
    rows.to_csv(tmp_path / "split.csv", index=False)
    found = search(["probe"], 1, manifest=read_manifest(tmp_path / "split.csv"))
    assert found.rows == (rows["split"] == "train").sum() < len(rows)


@with_optuna
def test_a_trial_below_the_median_of_the_others_ends_after_a_fold(search, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_train_best", lambda *given: None)
    monkeypatch.setattr(search_study, "FIRST_TRIALS", 1)
    values = iter([0.9, 0.9, 0.9, 0.9, 0.2, 0.95, 0.95, 0.1])
    monkeypatch.setattr(module, "_metric", lambda *given: next(values))
    found = search(["probe", "knn", "bias", "norm"], 5)
    assert [one.state for one in found.trials] == ["finished", "finished", "pruned", "finished", "pruned"]
    assert [one.folds for one in found.trials] == [2, 2, 1, 2, 1]
    assert found.trials[2].value == 0.2
    assert {int(path.stem) for path in (tmp_path / "tuned" / "parts").iterdir()} == {0, 1, 3}
    assert "2 of them ended early" in found.sentence()


@with_optuna
def test_no_trial_ends_early_behind_its_last_fold(search, monkeypatch):
    monkeypatch.setattr(module, "_train_best", lambda *given: None)
    monkeypatch.setattr(search_study, "FIRST_TRIALS", 1)
    values = iter([0.5, 1.3, 0.5, 1.3, 0.6, 0.6])  # the last is above the median after one fold, and below after two
    monkeypatch.setattr(module, "_metric", lambda *given: next(values))
    found = search(["probe", "knn", "bias"], 3)
    assert [one.state for one in found.trials] == ["finished"] * 3


@with_optuna
def test_the_image_size_is_searched_with_a_backbone_for_each(search, load_backbone, monkeypatch):
    monkeypatch.setattr(module, "_train_best", lambda *given: None)
    loaded = []

    def resized(size):
        loaded.append(size)
        return load_backbone("tiny:net", weights=str(size))

    found = search(["probe"], 6, image_sizes=[8, 16], resized=resized)
    assert sorted(loaded) == [8, 16]
    assert {one.params["image_size"] for one in found.trials} == {8, 16}
    assert len(found.trials) == 2  # there is nothing else to try


@with_optuna
def test_what_ended_with_its_process_is_asked_for_again(recipe, tmp_path):
    space = SearchSpace(("probe", "bias"), frozenset({"bias"}), recipe)
    study = open_study(tmp_path, space, {})
    trial, choice = ask(study, space, 0)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    machine, _, began = trial.user_attrs[OWNER]
    trial.set_user_attr(OWNER, [machine, ended.pid, began - 1000])
    again = open_study(tmp_path, space, {})
    assert ended_trials(again) == []
    chosen = [ask(again, space, 0)[1] for _ in range(2)]
    assert [one.strategy for one in chosen] == ["bias", "probe"]
    assert choice in chosen


@with_optuna
def test_a_strategy_that_the_backbone_cannot_carry_is_said_and_not_searched(search, caplog, monkeypatch):
    monkeypatch.setattr(module, "_train_best", lambda *given: None)
    found = search(["partial:9", "probe"], 1)
    assert "partial:9: left out:" in caplog.text
    assert [one.params["strategy"] for one in found.trials] == ["probe"]


@pytest.mark.parametrize(("changes", "said"), [
    ({"trials": None}, "give --trials or --seconds"),
    ({"trials": 0}, "--trials: expected at least 1, found 0"),
    ({"seconds": -1.0}, "--seconds: expected above 0"),
    ({"image_sizes": [8]}, "needs `resized`"),
])  # fmt: skip
def test_what_cannot_be_searched_is_said_before_anything_is_read(load_backbone, table, tmp_path, changes, said):
    with pytest.raises(SettingsError, match=said):
        tune(load_backbone("tiny:net"), read_manifest(table), out=tmp_path / "out", **{"trials": 1} | changes)
    assert not (tmp_path / "out").exists()


def test_without_optuna_the_extra_is_named(search, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'graftwork\[tune\]'"):
        search(["probe"], 1)


@with_optuna
@pytest.mark.long(reason="two processes that load torch")
@pytest.mark.slow(reason="two processes that load torch")
def test_processes_that_are_given_the_same_command_share_the_search(tmp_path):
    generator = np.random.default_rng(0)
    lines = ["path,label"]
    for number in range(24):
        pixels = generator.integers(0, 120, (32, 32)) + 60 * (number % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{'ab'[number % 2]}")
    (tmp_path / "scans.csv").write_text("\n".join(lines))
    words = ("tune scans.csv --backbone tiny:cnn2d --image-size 32 --strategies knn,probe,bias --epochs 2 --folds 2 "
             "--trials 6 --out tuned")  # fmt: skip
    command = [sys.executable, "-m", "graftwork.imaging", *words.split()]
    settings = os.environ | {"GRAFTWORK_CACHE": str(tmp_path / "cache")}
    begun = [subprocess.Popen(command, cwd=tmp_path, env=settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True) for _ in range(2)]  # fmt: skip
    said = [one.communicate(timeout=300) for one in begun]
    assert [one.returncode for one in begun] == [0, 0], said
    with (tmp_path / "tuned" / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert 6 <= len(rows) <= 7
    assert len({tuple(row[name] for name in ("strategy", "learning_rate", "epochs", "augment")) for row in rows}) > 3
    assert all("Best of" in out for out, _ in said)
    assert json.loads((tmp_path / "tuned" / "best" / "run.json").read_text())["state"] == "finished"
