"""Train and compare from the command line: what is said, and folders that hold a run."""

import json

import pytest

from graftwork.core.cli.app import build_app
from graftwork.core.errors import OutputError, SettingsError

OPTIONS = ("--backbone", "tiny:net", "--device", "cpu", "--workers", "0")


@pytest.fixture
def run(commands, capsys):
    """Runs a verb; returns what it printed on stdout."""
    app = build_app(commands)

    def run(*arguments):
        app([str(one) for one in arguments], standalone_mode=False)
        return capsys.readouterr().out

    return run


def test_a_folder_that_holds_a_run_is_refused_before_anything_is_read(run, table, tmp_path):
    said = run("train", table, "--out", tmp_path / "run", *OPTIONS)
    assert "auroc" in said
    assert str(tmp_path / "run") in said
    before = (tmp_path / "run" / "adapter.safetensors").read_bytes()
    with pytest.raises(OutputError, match="run"):
        run("train", tmp_path / "none.csv", "--out", tmp_path / "run", *OPTIONS)
    assert (tmp_path / "run" / "adapter.safetensors").read_bytes() == before


def test_a_comparison_prints_what_its_file_holds_and_names_the_best(run, table, tmp_path):
    options = ("--strategies", "knn,probe", "--folds", "3", *OPTIONS)
    text = run("compare", table, "--out", tmp_path / "one", *options, "--json")
    assert text == (tmp_path / "one" / "comparison.json").read_text()
    assert {"knn", "probe"} <= {path.name for path in (tmp_path / "one").iterdir()}
    assert json.loads(text)


def test_a_strategy_that_is_not_there_leaves_no_folder(run, table, tmp_path):
    with pytest.raises(SettingsError, match="strategy"):
        run("train", table, "--out", tmp_path / "run", "--strategy", "magic", *OPTIONS)
    assert not (tmp_path / "run" / "adapter.json").exists()
