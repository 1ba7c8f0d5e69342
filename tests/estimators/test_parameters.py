"""Parameters of the estimators: every option of the backbone, every field of the recipe, as scikit-learn sets them."""

import functools
import inspect
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import Pipeline

from graftwork import audio, core, imaging
from graftwork.core.errors import SettingsError

KINDS = (
    imaging.ImageClassifier, imaging.ImageRegressor, imaging.ImageFeatures,
    audio.ClipClassifier, audio.ClipRegressor, audio.ClipFeatures,
)  # fmt: skip

OF_MASKS = {"mask_values", "other_values", "patch_size", "overlap", "largest_component", "mask_order", "ignore_value",
            "mask_colours", "structures"}  # fmt: skip
"""Options of `load_backbone` that make it give maps: no estimator has a vector to learn from then."""


@pytest.mark.parametrize("kind", KINDS)
def test_every_option_of_the_backbone_is_a_parameter_with_the_same_default(kind: Any) -> None:
    domain = imaging if kind.domain.name == "imaging" else audio
    options = dict(inspect.signature(domain.load_backbone).parameters)
    del options["id"]
    own = inspect.signature(kind).parameters
    assert options.keys() - own.keys() == (OF_MASKS if domain is imaging else set())
    assert all(own[name].default == options[name].default for name in options.keys() & own.keys())


@pytest.mark.parametrize("kind", KINDS)
def test_every_option_that_is_not_none_reaches_the_backbone(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    own = [name for name in inspect.signature(kind).parameters
           if name in inspect.signature(kind.load_backbone).parameters.keys() - {"weights"}]  # fmt: skip
    asked: dict[str, Any] = {}

    class Reached(Exception):  # noqa: N818
        pass

    @functools.wraps(kind.load_backbone)
    def load_backbone(id: str, **options: Any) -> None:
        asked.update(options, id=id)
        raise Reached

    monkeypatch.setattr(kind, "load_backbone", staticmethod(load_backbone))
    given = {name: f"value of {name}" for name in own}
    with pytest.raises(Reached):
        kind("source:name", weights="file", **given).fit([__file__] * 2, [0, 1])
    assert asked == given | {"id": "source:name", "weights": "file"}


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_of_the_recipe_is_a_parameter(kind: Any) -> None:
    model = kind(recipe=core.Recipe(epochs=3))
    deep = model.get_params()
    assert {
        f"recipe__{one.name}": getattr(model.recipe, one.name) for one in fields(core.Recipe)
    }.items() <= deep.items()
    assert not any("__" in name for name in model.get_params(deep=False))
    assert kind().get_params()["recipe__epochs"] == core.Recipe().epochs


@pytest.mark.parametrize("kind", KINDS)
def test_setting_a_field_changes_this_estimator_alone(kind: Any) -> None:
    recipe = core.Recipe(epochs=3)
    model, other = kind(recipe=recipe), kind(recipe=recipe)
    assert model.set_params(recipe__learning_rate=0.5) is model
    assert model.recipe == core.Recipe(epochs=3, learning_rate=0.5)
    assert other.recipe == recipe == core.Recipe(epochs=3)
    assert clone(model).recipe == model.recipe
    assert kind().set_params(recipe__epochs=2).recipe == core.Recipe(epochs=2)
    assert model.set_params(recipe=None, recipe__epochs=4).recipe == core.Recipe(epochs=4)
    assert "learning_rate=0.5" in repr(kind(recipe=core.Recipe(learning_rate=0.5)))
    assert "epochs" in model._repr_html_()


def test_a_field_or_a_value_that_no_recipe_has_is_refused() -> None:
    with pytest.raises(ValueError, match="Invalid parameter 'epoch' of the recipe"):
        imaging.ImageClassifier().set_params(recipe__epoch=3)
    with pytest.raises(SettingsError, match="epochs: expected at least 0"):
        imaging.ImageClassifier().set_params(recipe__epochs=-1)
    with pytest.raises(ValueError, match="Invalid parameter"):
        imaging.ImageClassifier().set_params(recipes=3)


def test_a_search_varies_fields_of_the_recipe(case: Any) -> None:
    model = case.make("Classifier", strategy="partial:1")
    epochs, rate = "graft__recipe__epochs", "graft__recipe__learning_rate"
    grid = [{epochs: [1], rate: [1e-4]}, {epochs: [2], rate: [1e-2]}]
    search = GridSearchCV(Pipeline([("graft", model)]), grid, cv=2).fit(np.array(case.paths), case.levels)
    best = search.best_estimator_["graft"]
    assert best.adapter_.record["training"]["recipe"]["epochs"] == search.best_params_[epochs]
    assert best.recipe.learning_rate == search.best_params_[rate]
    assert model.recipe.epochs == 1


@pytest.mark.parametrize("kind", KINDS)
def test_scikit_learn_is_told_what_is_taken_and_given(kind: Any) -> None:
    tags = kind().__sklearn_tags__()
    assert (tags.input_tags.one_d_array, tags.input_tags.two_d_array, tags.input_tags.string) == (True, False, True)
    assert tags.classifier_tags is None or tags.classifier_tags.multi_label
    assert tags.transformer_tags is None or tags.transformer_tags.preserves_dtype == []


def test_groups_reach_fit_by_routing(case: Any) -> None:
    with config_context(enable_metadata_routing=True):
        model = case.make("Classifier").set_fit_request(groups=True)
        search = GridSearchCV(model, {"strategy": ["probe"]}, cv=GroupKFold(2))
        search.fit(np.array(case.paths), case.levels, groups=case.groups)
    assert search.best_estimator_.adapter_.record["training"]["groups"] == 8
