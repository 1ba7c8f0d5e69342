"""A run from the command line: trained, evaluated on other rows, applied to files."""

import json

import pandas as pd
import pytest

from graftwork.core.cli.app import build_app
from graftwork.core.errors import OutputError, SettingsError


@pytest.fixture
def run(commands, capsys):
    """Runs a verb; returns what it printed on stdout."""
    app = build_app(commands)

    def run(*arguments):
        app([str(one) for one in arguments], standalone_mode=False)
        return capsys.readouterr().out

    return run


@pytest.fixture
def folder(run, table, tmp_path):
    """A probe's run."""
    run("train", table, "--backbone", "tiny:net", "--out", tmp_path / "run", "--device", "cpu", "--workers", 0)
    return tmp_path / "run"


def test_the_metrics_printed_are_those_in_the_folder(run, table, tmp_path):
    shown = run("train", table, "--backbone", "tiny:net", "--out", tmp_path / "run", "--device", "cpu", "--json")
    assert shown == (tmp_path / "run" / "metrics.json").read_text()


def test_an_evaluation_is_a_table_or_json_and_writes_only_where_it_is_told(run, folder, table, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    assert "auroc" in run("evaluate", folder, table, "--device", "cpu")
    assert sorted(tmp_path.rglob("*")) == before
    found = json.loads(run("evaluate", folder, table, "--device", "cpu", "--out", tmp_path / "again", "--json"))
    assert (tmp_path / "again" / "predictions.csv").is_file()
    assert 0 <= found["test"]["auroc"]["value"] <= 1


def test_predictions_go_to_stdout_as_csv_or_json_or_into_a_file(run, folder, manifest, tmp_path):
    paths = manifest.paths[:3]
    text = run("predict", folder, *paths, "--device", "cpu")
    (tmp_path / "shown.csv").write_text(text)
    assert run("predict", folder, *paths, "--device", "cpu", "--out", tmp_path / "p.csv").startswith("3 predictions")
    assert (tmp_path / "p.csv").read_text() == text
    rows = json.loads(run("predict", folder, *paths, "--device", "cpu", "--json"))
    assert [row["prediction"] for row in rows] == pd.read_csv(tmp_path / "shown.csv")["prediction"].tolist()


def test_what_cannot_be_predicted_or_overwritten_is_refused(run, folder, table, manifest):
    with pytest.raises(SettingsError, match="nothing to predict: name files behind the runs"):
        run("predict", folder, folder, "--device", "cpu")
    with pytest.raises(OutputError):
        run("evaluate", folder, table, "--out", folder, "--device", "cpu")
