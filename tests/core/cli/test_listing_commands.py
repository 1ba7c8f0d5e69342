"""Backbones and manifests as they are: tables for people, JSON for machines."""

import json

import pytest

from graftwork.core.cli.app import build_app
from graftwork.core.errors import ManifestError


@pytest.fixture
def run(commands, capsys):
    """Runs a verb; returns what it printed on stdout and stderr."""
    app = build_app(commands)

    def run(*arguments):
        app([str(one) for one in arguments], standalone_mode=False)
        return capsys.readouterr()

    return run


def test_backbones_are_listed_with_their_size_licence_and_whether_they_are_here(run):
    for said in ("tiny:net", "0.0 M", "Apache-2.0", "yes"):
        assert said in run("backbones").out
    assert json.loads(run("backbones", "tiny", "--json").out)[0]["parameters"] == 1234


def test_a_text_that_no_id_contains_is_answered_on_stderr(run):
    found = run("backbones", "resnet")
    assert (found.out, found.err) == ("", "no backbone's id contains 'resnet'\n")


def test_check_counts_what_is_there_and_writes_it_as_json(run, table):
    assert "60" in run("check", table).out
    found = json.loads(run("check", table, "--json").out)
    assert found["classes"] == {name: {"all": 20} for name in "abc"}


def test_a_column_that_is_not_there_is_an_error_of_the_manifest(run, table):
    with pytest.raises(ManifestError, match="no column 'grade'"):
        run("check", table, "--target", "grade")
