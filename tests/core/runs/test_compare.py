"""Several strategies on the same rows: what is run, what is kept, and what goes on after an interruption."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from graftwork.core.data.tables import read_manifest
from graftwork.core.errors import OutputError, SettingsError
from graftwork.core.evaluation.evaluation import compare_predictions
from graftwork.core.model.backbone import Backbone
from graftwork.core.recipe import Recipe
from graftwork.core.runs import compare as compared_runs
from graftwork.core.runs.compare import compare


@dataclasses.dataclass(frozen=True)
class Asked:
    """A `compare` that is begun by `run`. data: options beside the recipe."""

    backbone: Backbone
    manifest: str
    out: Path
    data: dict
    recipe: Recipe
    resume: bool
    restart: bool = False

    def run(self, strategies):
        own = dict(self.data)
        manifest = read_manifest(self.manifest, target=own.pop("target", None))
        return compare(self.backbone, manifest, strategies, recipe=self.recipe, out=self.out, resume=self.resume,
                       restart=self.restart, **{"random_split": "off"} | own)  # fmt: skip


@pytest.fixture
def make_run(load_backbone, table, recipe, tmp_path):
    def make(resume=False, data=None, **changes):
        return Asked(load_backbone("tiny:net"), str(table), tmp_path / "out", data or {},
                     dataclasses.replace(recipe, **changes), resume)  # fmt: skip

    return make


def part(out: Path, name: str):
    return json.loads((out / "parts" / f"{name}.json").read_text())


@pytest.mark.parametrize("data", [{}, {"folds": 2}, {"target": "age"}, {"target": "bright,striped", "folds": 2}])
def test_all_are_evaluated_on_the_same_rows_and_differ_from_the_best_by_what_a_paired_bootstrap_says(make_run, data):
    study = make_run(data=data)
    found = study.run(["probe", "partial:1"])
    one, other = part(study.out, "probe")["evaluated"], part(study.out, "partial-1")["evaluated"]
    for name in ("paths", "rows", "values", "groups"):
        assert one[name] == other[name]
    assert found.rows == (60 if data.get("folds") else len(one["paths"]))
    assert found.metric == ("r2" if data.get("target") == "age" else "auroc")
    results = {result.strategy: result for result in found.results}
    assert list(results) == ["probe", "partial:1"]
    best = results.pop(found.best)
    assert {(d.value, d.low, d.high) for d in best.differences.values()} == {(0.0, 0.0, 0.0)}
    (worse,) = results.values()
    assert worse.metrics[found.metric].value <= best.metrics[found.metric].value
    folder = {"probe": "probe", "partial:1": "partial-1"}
    own, ahead = (np.array(part(study.out, folder[r.strategy])["evaluated"]["predictions"]) for r in (worse, best))
    expected = compare_predictions(one["task"], np.array(one["values"]), own, ahead, one["groups"],
                                   classes=one["classes"], folds=one["folds"] and np.array(one["folds"]))  # fmt: skip
    assert worse.differences == expected
    for result in found.results:
        written = json.loads((study.out / folder[result.strategy] / "metrics.json").read_text())[found.part]
        assert result.metrics[found.metric].value == pytest.approx(written[found.metric]["value"], abs=1e-12)


def test_a_strategy_that_the_backbone_cannot_carry_is_listed_with_its_reason(make_run):
    study = make_run()
    found = study.run(["partial:9", "probe"])
    assert list(found.refused) == ["partial:9"]
    assert "has 3 stages with weights" in found.refused["partial:9"]
    assert (found.best, found.cheapest) == ("probe", "probe")
    assert not (study.out / "partial-9").exists()
    columns, rows = found.table()
    assert {len(row) for row in rows} == {len(columns)}
    assert rows[-1][:2] == ("partial:9", f"cannot: {found.refused['partial:9']}")


def test_where_no_strategy_can_run_the_first_reason_is_raised_and_nothing_written(make_run):
    for study, names in ((make_run(), ["partial:9", "partial:8"]), (make_run(data={"folds": 1}), ["probe"])):
        with pytest.raises(SettingsError, match=r"partial:9|--folds"):
            study.run(names)
        assert not study.out.exists()


@pytest.mark.parametrize(("names", "said"), [(["probe", "porbe"], "unknown strategy 'porbe'"),
                                             (["layers", "layers:32"], "layers:32 is there more")])  # fmt: skip
def test_names_are_checked_before_anything_runs(make_run, names, said):
    study = make_run()
    with pytest.raises(SettingsError, match=said):
        study.run(names)
    assert not study.out.exists()


@pytest.mark.parametrize("names", [[], "probe"])
def test_what_names_no_several_strategies_is_refused_with_an_example(make_run, names):
    with pytest.raises(SettingsError, match="expected several names, as"):
        make_run().run(names)


def test_the_file_is_whole_and_the_picture_there(make_run):
    study = make_run()
    found = study.run(["knn", "probe"])
    written = json.loads((study.out / "comparison.json").read_text())
    assert written.pop("leaks") == {"groups": 0, "same_content_pairs": 0, "near_duplicate_pairs": 0}
    assert written.pop("near_duplicates") is None
    assert written == json.loads(json.dumps(found.to_json()))
    assert {written["best"], written["cheapest"]} <= {"knn", "probe"}
    for one in written["strategies"]:
        assert one["seconds"] > 0
        assert one["peak_memory_mb"] > 50
        assert set(one["metrics"]) == set(one["differences"])
    assert [one["parameters"]["trained"] > 0 for one in written["strategies"]][1]
    assert (study.out / "comparison.png").read_bytes().startswith(b"\x89PNG")
    for name in ("knn", "probe"):
        assert json.loads((study.out / name / "run.json").read_text())["state"] == "finished"


class PowerCutError(Exception):
    """The power goes out."""


def test_a_resumed_comparison_keeps_what_has_finished(make_run, monkeypatch):
    train_on, ran = compared_runs.train_on, []

    def run(setup, rows, parts):
        ran.append((str(setup.strategy), setup.resume))
        if str(setup.strategy) == "probe" and len(ran) == 2:
            raise PowerCutError
        return train_on(setup, rows, parts)

    monkeypatch.setattr(compared_runs, "train_on", run)
    with pytest.raises(PowerCutError):
        make_run().run(["knn", "probe"])
    out = make_run().out
    with pytest.raises(OutputError, match="the finished run had another seed; ask for the same"):
        make_run(seed=3).run(["knn", "probe"])
    before = (out / "parts" / "knn.json").read_bytes()
    found = make_run().run(["knn", "probe"])
    with pytest.raises(OutputError, match="holds a finished comparison; name another --out, or extend it"):
        make_run().run(["knn", "probe"])
    assert ran == [("knn", False), ("probe", False), ("probe", False)]
    assert (out / "parts" / "knn.json").read_bytes() == before
    assert [one.strategy for one in found.results] == ["knn", "probe"]
    assert make_run(resume=True).run(["knn", "probe"]) == found
    assert len(ran) == 3


def test_a_comparison_that_is_begun_anew_keeps_nothing_of_the_unfinished_one(make_run, monkeypatch):
    train_on = compared_runs.train_on

    def run(setup, rows, parts):
        train_on(setup, rows, parts)
        raise PowerCutError

    with monkeypatch.context() as patched:
        patched.setattr(compared_runs, "train_on", run)
        with pytest.raises(PowerCutError):
            make_run().run(["partial:1", "knn"])
    study = make_run(seed=3)
    (study.out / "mine.txt").write_text("")
    dataclasses.replace(study, restart=True).run(["knn"])
    kept = {path.name for path in study.out.iterdir()}
    assert kept == {"knn", "mine.txt", "parts", "comparison.json", "comparison.png", "run.json", "costs.json"}


def test_a_finished_run_over_a_table_that_changed_is_not_compared_again(make_run, table, tmp_path):
    copy = tmp_path / "copy.csv"
    rows = table.read_text().replace("\n0", f"\n{table.parent}/0")
    copy.write_text("\n".join(rows.splitlines()[:11]) + "\n")
    study = make_run(data={"folds": 2})
    dataclasses.replace(study, manifest=str(copy)).run(["knn", "probe"])
    copy.write_text(copy.read_text().replace("04.npy,b", "04.npy,c"))
    with pytest.raises(OutputError, match="the finished run had another targets; ask for the same"):
        dataclasses.replace(study, manifest=str(copy), resume=True).run(["knn", "probe"])


def test_an_unfinished_run_goes_on_and_its_seconds_are_not_known(make_run):
    study = make_run()
    study.run(["knn", "probe"])
    record = study.out / "probe" / "run.json"
    record.write_text(record.read_text().replace('"finished"', '"unfinished"'))
    found = make_run(resume=True).run(["knn", "probe"])
    assert [one.seconds is None for one in found.results] == [False, True]
    assert found.table()[1][1][-3] == "resumed"


def test_the_seconds_of_the_frozen_pass_are_apart_and_those_of_what_was_kept_are_few(make_run):
    asked = make_run(epochs=1)
    compared = asked.run(["probe", "knn", "full"])
    kept = {name: part(asked.out, name) for name in ("probe", "knn", "full")}
    assert kept["probe"]["passes"] > 0
    assert kept["knn"]["passes"] > 0
    assert 0 < kept["probe"]["pass_seconds"] < kept["probe"]["seconds"]
    own = {one.strategy: one.seconds for one in compared.results}
    assert sum(own.values()) == pytest.approx(sum(one["seconds"] for one in kept.values()))


def test_a_strategy_whose_last_epoch_was_the_best_is_named(make_run):
    asked = make_run(epochs=1, learning_rate=0.02, head_start="random")
    compared = asked.run(["probe", "full"])
    (said,) = compared.cautions
    assert said == "full: the last epoch was the best: more of them (--epochs, --updates) may give a better model"
