"""Stages and rank from the command line: tables, JSON, and folders that hold something."""

import json

import pytest

from graftwork.core.cli.app import build_app
from graftwork.core.errors import GraftworkError, OutputError

OPTIONS = ("--folds", "3", "--device", "cpu", "--workers", "0")


@pytest.fixture
def run(commands, capsys):
    """Runs a verb; returns what it printed on stdout."""
    app = build_app(commands)

    def run(*arguments):
        app([str(one) for one in arguments], standalone_mode=False)
        return capsys.readouterr().out

    return run


def test_every_stage_is_in_the_file_which_is_what_json_prints(run, table, tmp_path):
    text = run("stages", table, "--backbone", "tiny:net", *OPTIONS, "--out", tmp_path / "out", "--json")
    assert json.loads(text) == json.loads((tmp_path / "out" / "stages.json").read_text())
    assert all(f'"{name}"' in text for name in ("stem", "layer1", "layer10", "auroc"))


def test_backbones_are_ranked_with_weights_of_their_own(run, table):
    found = run("rank", table, "--backbone", "tiny:net", "--backbone", "tiny:net=random", *OPTIONS)
    assert found.count("tiny:net") >= 2
    assert "random" in found


def test_a_folder_that_holds_something_is_refused_before_anything_is_read(run, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("x")
    for verb in ("stages", "rank"):
        with pytest.raises(OutputError, match="full"):
            run(verb, tmp_path / "none.csv", "--backbone", "tiny:net", "--out", tmp_path / "full")


def test_a_table_that_is_not_there_is_named(run, tmp_path):
    with pytest.raises(GraftworkError, match=r"none\.csv"):
        run("stages", tmp_path / "none.csv", "--backbone", "tiny:net")
