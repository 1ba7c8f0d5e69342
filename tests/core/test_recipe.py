"""A recipe says what its fields mean once: in its documentation and in help texts."""

from dataclasses import fields

import pytest

from graftwork.core.cli.options import recipe_options
from graftwork.core.errors import SettingsError
from graftwork.core.recipe import Recipe


@pytest.mark.parametrize("word", ["off", "none", "no"])
def test_a_cache_that_is_not_wanted_is_no_folder(word):
    with pytest.raises(
        SettingsError, match=f"cache: expected a folder; views 0 computes without a cache, found '{word}'"
    ):
        Recipe(cache=word)


@pytest.mark.parametrize("field", fields(Recipe), ids=lambda field: field.name)
def test_every_field_is_explained_where_people_look(field):
    assert f"{field.name}: {field.metadata['help']}" in Recipe.__doc__
    (option,) = [one for one in recipe_options() if one.name == field.name]
    assert len(option.annotation.__metadata__[0].help) > 5
