"""Options as they are declared: flags, defaults and help texts."""

import dataclasses
from inspect import Parameter, signature

import pytest

from graftwork.core.cli.options import argument, option, recipe_options, with_parameters
from graftwork.core.recipe import Recipe


def declared(parameter):
    return parameter.annotation.__metadata__[0]


@pytest.mark.parametrize(("name", "kind", "default", "flag"), [
    ("batch_size", int, 16, "--batch-size"), ("json", bool, False, "--json"),
    ("cache", bool, True, "--cache/--no-cache"),
])  # fmt: skip
def test_a_flag_is_the_name_with_dashes_and_can_be_turned_off_where_it_is_on(name, kind, default, flag):
    found = option(name, kind, default, "Help.")
    assert declared(found).default == flag  # Typer takes the first flag of an annotation for a default
    assert (found.name, found.default, declared(found).help) == (name, default, "Help.")


def test_every_field_of_the_recipe_is_an_option_with_its_default_and_help():
    found = {parameter.name: parameter for parameter in recipe_options()}
    assert list(found) == [field.name for field in dataclasses.fields(Recipe)]
    for field in dataclasses.fields(Recipe):
        assert found[field.name].default == field.default
        assert declared(found[field.name]).help
        if field.name not in ("head", "head_start"):  # whose help lists the records of a table
            assert declared(found[field.name]).help == field.metadata["help"]


def test_a_command_has_the_parameters_that_it_is_given_arguments_first():
    def verb(**options):
        return options

    made = with_parameters(verb, option("b", int, 1, ""), argument("a", str, ""))
    assert list(signature(made).parameters) == ["a", "b"]
    assert signature(made).parameters["a"].kind is Parameter.POSITIONAL_OR_KEYWORD
    assert made(a="x", b=2) == {"a": "x", "b": 2}
