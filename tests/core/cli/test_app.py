"""The shared verbs: what the command line can do, Python can do by the same defaults."""

import inspect

import pytest

from graftwork import core
from graftwork.core.cli.app import build_app
from graftwork.core.cli.options import SOURCE
from graftwork.core.recipe import Recipe

OF_THE_COMMAND_LINE = {
    "manifest", "backbone", "weights", "target", "group", "group_from", "task", "order", "vocabulary", "json", "inputs",
    "run", "out", "by", "config", "watch", *(one.name for one in SOURCE),
    *Recipe.__dataclass_fields__,
}  # fmt: skip
"""Options that become a manifest, a backbone or a recipe, say where files are or what is printed, or call another
function, as `core.watch`."""


@pytest.mark.parametrize("verb", ["train", "compare", "rank", "stages", "predict"])
def test_the_options_of_a_verb_are_arguments_of_its_function_with_the_same_defaults(commands, verb):
    command = next(one for one in build_app(commands).registered_commands if one.name == verb)
    options = inspect.signature(command.callback).parameters
    arguments = inspect.signature(getattr(core, verb)).parameters
    shared = options.keys() - OF_THE_COMMAND_LINE
    assert shared <= arguments.keys()
    for name in shared:
        default = options[name].default
        if name == "strategies":
            default = tuple(default.split(","))
        assert arguments[name].default == default, name


def test_every_verb_has_a_function(commands):
    verbs = {one.name for one in build_app(commands).registered_commands} - {"backbones", "cache"}
    assert verbs <= set(core.__all__)


def test_help_cuts_no_word_on_a_narrow_terminal(commands, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        build_app(commands)(["compare", "--help"])
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 80
    words = "".join(line.rstrip(" │").split("  ")[-1] for line in said.splitlines())
    assert "none,mild,moderate,severe" in words
    assert "knn,probe,partial:1,lora,full,scratch" in words
