"""Whose folder it is, and what is written into it."""

import json

import numpy as np
import pandas as pd
import pytest

from graftwork.core.data.manifest import Manifest
from graftwork.core.errors import OutputError, SettingsError
from graftwork.core.evaluation.evaluation import EvaluatedPart, evaluate_predictions
from graftwork.core.runs.run_folder import (
    FINISHED,
    SCHEMA,
    UNFINISHED,
    check_same_run,
    claim_folder,
    goes_on,
    mark,
    run_record,
    write_predictions,
    writing_run,
)


@pytest.mark.parametrize(
    ("state", "asked", "found"),
    [
        ("none", {}, False),
        ("empty", {}, False),
        ("file", {}, "must be a folder, this is a file"),
        ("other", {}, "is not empty"),
        (FINISHED, {}, "holds a finished run"),
        (UNFINISHED, {}, True),
        (UNFINISHED, {"resume": True}, True),
        (UNFINISHED, {"restart": True}, False),
        ("none", {"restart": True}, False),
        (FINISHED, {"restart": True}, "holds a finished run"),
        ("other", {"restart": True}, "is not empty"),
        (FINISHED, {"resume": True}, "found a finished run"),
        ("none", {"resume": True}, "found no run"),
        (UNFINISHED, {"resume": True, "restart": True}, "give one of them"),
        ("comparison", {}, "holds a comparison"),
        ("comparison", {"restart": True}, "holds a comparison"),
        ("broken", {}, r"run\.json: cannot be read"),
    ],
)
def test_a_run_goes_on_only_with_an_unfinished_one_and_overwrites_nothing(tmp_path, state, asked, found):
    folder = tmp_path / "run"
    if state == "file":
        folder.write_text("")
    elif state != "none":
        folder.mkdir()
    if state == "other":
        (folder / "thesis.tex").write_text("")
    elif state == "broken":
        (folder / "run.json").write_text("{")
    elif state == "comparison":
        mark(folder, {"strategies": ["probe"]}, UNFINISHED)
    elif state in (FINISHED, UNFINISHED):
        mark(folder, {"a": 1}, state)
    asked = {"resume": False, "restart": False} | asked
    if isinstance(found, bool):
        assert goes_on(folder, **asked) is found
    else:
        with pytest.raises((OutputError, SettingsError), match=found):
            goes_on(folder, **asked)


def test_what_only_begins_anew_is_not_written_beside_an_unfinished_run(tmp_path):
    claim_folder(tmp_path / "absent")
    mark(tmp_path, {"a": 1}, UNFINISHED)
    with pytest.raises(OutputError, match="holds an unfinished run; name another --out"):
        claim_folder(tmp_path)


def test_while_a_run_writes_its_folder_is_its_own_and_rid_of_leftovers(tmp_path):
    folder = tmp_path / "run"
    mark(folder, {"a": 1}, UNFINISHED)
    (folder / ".graftwork-12.json").write_text("half")
    with writing_run(folder, {"a": 1}, resume=True):
        assert not (folder / ".graftwork-12.json").exists()
        with pytest.raises(OutputError, match="another run is writing here"), writing_run(folder, {}, resume=True):
            pass
    with pytest.raises(OutputError, match="has just been begun"), writing_run(folder, {"a": 1}, resume=False):
        pass


def test_a_run_that_is_begun_anew_removes_what_runs_write_and_nothing_else(tmp_path):
    mark(tmp_path, {"a": 1}, UNFINISHED)
    for name in ("folds/1/fold.json", "folds-2/1/checkpoint.safetensors", "history.csv", "checkpoint.safetensors",
                 "checkpoint-before.safetensors", "round1/units.npz"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "folds-of-mine.txt").write_text("mine")
    with writing_run(tmp_path, {"a": 2}, resume=False, restart=True):
        left = {path.name for path in tmp_path.iterdir() if not path.name.startswith(".graftwork")}
        assert left == {"run.json", "folds-of-mine.txt"}
        assert run_record(tmp_path) == {"a": 2, "schema": SCHEMA, "state": UNFINISHED}


@pytest.mark.parametrize("content", ['{"recipe": [1]}', '{"data": null}', "[" * 100_000, "[]", '{"a'])
def test_a_damaged_record_is_named(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(OutputError, match=r"run\.json: cannot be read .*name another --out"):
        check_same_run(tmp_path, {"recipe": {}})


def test_a_record_without_a_schema_as_earlier_versions_wrote_it_goes_on(tmp_path):
    record = {"recipe": {"seed": 0}, "data": {"folds": 3}, "rows": 9}
    (tmp_path / "run.json").write_text(json.dumps(record | {"state": UNFINISHED}))
    check_same_run(tmp_path, record)
    assert goes_on(tmp_path, resume=False, restart=False)
    with writing_run(tmp_path, record, resume=True):
        assert json.loads((tmp_path / "run.json").read_text())["schema"] == SCHEMA


def test_a_record_of_a_newer_version_says_to_upgrade(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"schema": SCHEMA + 1, "state": FINISHED}))
    with pytest.raises(OutputError, match=rf"expected schema {SCHEMA}, found {SCHEMA + 1}: .*upgrade graftwork"):
        run_record(tmp_path)


def test_a_run_asked_for_otherwise_is_not_gone_on_with(tmp_path):
    record = {
        "strategy": "probe",
        "recipe": {"seed": 0, "device": "cpu", "workers": 2},
        "data": {"folds": 3},
        "rows": 9,
    }
    mark(tmp_path, record, UNFINISHED)
    check_same_run(tmp_path, record)
    check_same_run(tmp_path, record | {"recipe": {"seed": 0, "device": "cuda", "workers": 0}})
    changed = record | {"recipe": {"seed": 1}, "data": {"folds": 5}, "rows": 8}
    with pytest.raises(OutputError, match="the interrupted run had another folds, rows, seed; ask for the same"):
        check_same_run(tmp_path, changed)


def test_every_judged_row_is_a_row_of_the_predictions(tmp_path):
    manifest = Manifest(
        "t", ("p", "q"), "single-label", "label", ("x", "y"), np.array([0, 1]), ("g", "h"), None, (5, 9)
    )
    predictions = np.array([[0.25, 0.75], [1 / 3, 2 / 3]])
    evaluated = EvaluatedPart("test", manifest, predictions,
                    evaluate_predictions("single-label", ("x", "y"), manifest.values, predictions),
                    np.array([0, 2]))  # fmt: skip
    write_predictions(tmp_path / "p.csv", [evaluated])
    found = pd.read_csv(tmp_path / "p.csv")
    expected = pd.DataFrame({"path": ["p", "q"], "row": [5, 9], "part": "test", "fold": [1, 3], "group": ["g", "h"],
                             "target": ["x", "y"], "prediction": ["y", "y"], "probability_x": [0.25, 0.333333333],
                             "probability_y": [0.75, 0.666666667]})  # fmt: skip
    pd.testing.assert_frame_equal(found, expected)
