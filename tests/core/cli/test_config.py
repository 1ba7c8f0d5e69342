"""`--config`: options out of YAML, JSON and the record of an earlier run."""

import json

import pytest

from graftwork.audio import cli as audio
from graftwork.core.cli.app import build_app
from graftwork.core.errors import SettingsError
from graftwork.imaging import cli as imaging


@pytest.fixture
def asked(commands, monkeypatch):
    """The options that `train` is given for these words."""
    found = {}

    def run(*words):
        found.clear()
        app = build_app(commands)
        train = next(one for one in app.registered_commands if one.name == "train")
        signature = train.callback.__signature__

        def callback(**options):
            found.update(options)

        callback.__signature__, callback.__annotations__ = signature, train.callback.__annotations__
        train.callback = callback
        app(["train", *words], standalone_mode=False)
        return dict(found)

    return run


def test_options_of_a_file_stand_beneath_those_of_the_command_line(asked, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("strategy: lora\nlearning-rate: 0.01\nfolds: 4\nby: [sex, site]\nresume: true\nout: runs/a\n")
    found = asked("scans.csv", "--config", str(path), "--folds", "3")
    assert (found["manifest"], found["out"], found["resume"], found["by"]) == ("scans.csv", "runs/a", True, "sex,site")
    assert (found["strategy"], found["learning_rate"], found["folds"]) == ("lora", 0.01, 3)
    assert found["epochs"] == asked("scans.csv", "--out", "b")["epochs"]


def test_the_record_of_a_run_gives_its_options(asked, tmp_path):
    path = tmp_path / "run.json"
    words = ["graftwork-toy", "train", "~/scans.csv", "--strategy=lora", "--epochs", "7", "--resume"]
    path.write_text(json.dumps({"command": words, "state": "finished"}))
    found = asked("--config", str(path), "--out", "again", "--epochs", "2")
    assert (found["strategy"], found["epochs"], found["resume"], found["out"]) == ("lora", 2, True, "again")
    assert found["manifest"].endswith("/scans.csv")
    assert not found["manifest"].startswith("~")


@pytest.mark.parametrize(("name", "text", "said"), [
    ("a.yaml", "stratgy: lora", "train has no option 'stratgy'; meant: strategy"),
    ("a.yaml", "- strategy", "expected options by name"), ("a.yaml", "a: [", "cannot be read"),
    ("a.json", "{", "cannot be read"),
    ("a.json", '{"command": ["p", "compare"]}', "was written by compare, not by train"),
    ("a.json", '{"command": ["p", "train", "--colour", "x"]}', "has no option --colour"),
    ("a.json", '{"command": ["p", "train", "a", "b"]}', "takes no 'b'"),
])  # fmt: skip
def test_what_is_no_configuration_is_said(asked, tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(SettingsError, match=said):
        asked("scans.csv", "--out", "x", "--config", str(tmp_path / name))
    with pytest.raises(SettingsError, match="cannot be read"):
        asked("scans.csv", "--out", "x", "--config", str(tmp_path / "absent.yaml"))


def test_options_that_say_nothing_in_a_domain_are_not_there():
    for commands, there in ((imaging.COMMANDS, False), (audio.COMMANDS, True)):
        verbs = {one.name: one.callback.__signature__.parameters for one in build_app(commands).registered_commands}
        assert [name in verbs["train"] for name in ("vocabulary", "batch_seconds")] == [there, there]
        assert ("timeline" in verbs["predict"]) == there
