"""What a scikit-learn estimator is asked about itself: its parameters, its state in a pickle, an adapter's folder.

The functions with `self` are methods: a domain's estimators take them one by one, and share no base class.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

from sklearn.base import BaseEstimator

from graftwork.core.compute.global_state import undisturbed
from graftwork.core.compute.runtime import seed_everything
from graftwork.core.errors import AdapterError, BackboneError
from graftwork.core.inference.adapter import WEIGHTS, Adapter, load_adapter
from graftwork.core.inference.adapter_record import RECORD, recipe_of
from graftwork.core.model.backbone import Backbone
from graftwork.core.recipe import Recipe
from graftwork.core.runs.estimator_targets import CLASSIFIED, NUMBERS, labels_of
from graftwork.core.tasks import Task

Estimator = TypeVar("Estimator")

# A recipe stays one frozen value and one parameter, so that there is one list of its fields. They are parameters of the
# estimator beside it (`recipe__epochs`), as those of a nested estimator are; but a search sets them by putting a
# changed copy in place of the recipe: nested estimators are changed in place, and one recipe may serve several.
RECIPE = "recipe__"


def get_params(self: Any, deep: bool = True) -> dict[str, Any]:
    """Parameters by name; if `deep`, also every field of the recipe, as `recipe__epochs`."""
    params: dict[str, Any] = BaseEstimator.get_params(self, deep=deep)
    if deep and (self.recipe is None or isinstance(self.recipe, Recipe)):
        recipe = self.recipe or Recipe()
        params |= {f"{RECIPE}{one.name}": getattr(recipe, one.name) for one in fields(Recipe)}
    return params


def set_params(self: Estimator, **params: Any) -> Estimator:
    """Sets parameters by name, fields of the recipe as `recipe__epochs`. Returns self.

    Raises ValueError for a name that is none, SettingsError for a value that no recipe has.
    """
    changes = {name.removeprefix(RECIPE): value for name, value in params.items() if name.startswith(RECIPE)}
    unknown = sorted(changes.keys() - {one.name for one in fields(Recipe)})
    if unknown:
        raise ValueError(f"Invalid parameter {unknown[0]!r} of the recipe of {type(self).__name__}; valid are "
                         f"{', '.join(one.name for one in fields(Recipe))}")  # fmt: skip
    BaseEstimator.set_params(self, **{name: value for name, value in params.items() if not name.startswith(RECIPE)})
    if changes:
        given: Any = self
        given.recipe = replace(given.recipe or Recipe(), **changes)
    return self


def getstate(self: Any) -> dict[str, Any]:
    """What a pickle holds: parameters and what was learnt, but not the backbone, which is loaded again where it is
    needed. Networks with parametrised weights cannot be pickled, and pretrained ones are large."""
    state = dict(BaseEstimator.__getstate__(self))
    if "adapter_" in state:
        state["adapter_"] = _adapter_files(state["adapter_"])
    if "backbone_" in state:
        backbone: Backbone = state["backbone_"]
        state["backbone_"] = {"id": backbone.id, "weights": backbone.weights, "options": backbone.options,
                              "seed": (self.recipe or Recipe()).seed, "digest": backbone.digest()}  # fmt: skip
    return state


def setstate(self: Any, state: dict[str, Any]) -> None:
    """Loads the backbone that the pickled estimator had. Raises AdapterError or BackboneError where its weights are no
    longer the same, and what `load_backbone` raises where they are not there."""
    state = dict(state)
    if "adapter_" in state:
        state["adapter_"] = _adapter_of(state["adapter_"], self.load_backbone)
    if "backbone_" in state:
        state["backbone_"] = _backbone_of(state["backbone_"], self.load_backbone)
    BaseEstimator.__setstate__(self, state)


def _adapter_files(adapter: Adapter) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory(prefix="graftwork-") as folder:
        adapter.save(folder)
        return {name: Path(folder, name).read_bytes() for name in (WEIGHTS, RECORD)}


def _adapter_of(files: dict[str, bytes], load_backbone: Callable[..., Backbone]) -> Adapter:
    with tempfile.TemporaryDirectory(prefix="graftwork-") as folder:
        for name, content in files.items():
            Path(folder, name).write_bytes(content)
        return load_adapter(folder, load_backbone)


@undisturbed()
def _backbone_of(about: dict[str, Any], load_backbone: Callable[..., Backbone]) -> Backbone:
    seed_everything(about["seed"])  # weights may be asked for at random
    backbone = load_backbone(about["id"], weights=about["weights"], **about["options"])
    if backbone.digest() != about["digest"]:
        raise BackboneError(f"{about['id']}: its weights are no longer those that this estimator was fitted with")
    return backbone


def open_classifier(kind: type[Estimator], folder: str | Path, weights: str | None) -> Estimator:
    """A classifier with the parameters by which the adapter of that folder was trained, fitted as it was then."""
    made = _opened(kind, CLASSIFIED, folder, weights)
    made.classes_ = labels_of(made.adapter_)
    if made.adapter_.task.ordered:
        place = {str(label): label for label in made.classes_.tolist()}
        made.order = [place[name] for name in made.adapter_.classes]
    found: Estimator = made
    return found


def open_regressor(kind: type[Estimator], folder: str | Path, weights: str | None) -> Estimator:
    """A regressor with the parameters by which the adapter of that folder was trained, fitted as it was then."""
    found: Estimator = _opened(kind, NUMBERS, folder, weights)
    return found


def _opened(kind: Any, tasks: Sequence[Task], folder: str | Path, weights: str | None) -> Any:
    """Raises AdapterError as `load_adapter` does, and for an adapter of another task."""
    adapter = load_adapter(folder, kind.load_backbone, weights)
    if adapter.task not in tasks:
        raise AdapterError(f"{folder}: expected an adapter for {' or '.join(map(str, tasks))} targets, found one for "
                           f"{adapter.task}")  # fmt: skip
    about, made = adapter.record["backbone"], kind()
    known = {name: value for name, value in about["options"].items() if name in made.get_params(deep=False)}
    made.set_params(backbone=about["id"], weights=weights or about["weights"], strategy=adapter.record["strategy"],
                    recipe=recipe_of(Path(folder), adapter.record), **known)  # fmt: skip
    # A pickle looks for the weights where they are now.
    record = adapter.record | {"backbone": about | {"weights": weights or about["weights"]}}
    made.adapter_ = replace(adapter, record=record)
    return made
