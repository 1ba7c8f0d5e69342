"""Fitted estimators in pickles, in other processes and out of an adapter's folder; what is computed once."""

import copy
import pickle
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate

from graftwork import core, imaging
from graftwork.core.errors import AdapterError, BackboneError

CLASSES = np.array(["none", "mild", "severe"])

TRAINED = {
    "labels": ("Classifier", {}, lambda case: CLASSES[case.levels]),
    "codes": ("Classifier", {"strategy": "full"}, lambda case: case.levels + 3),
    "texts of numbers": ("Classifier", {"strategy": "knn"}, lambda case: case.levels.astype(str)),
    "truth": ("Classifier", {}, lambda case: case.levels > 0),
    "grades": ("Classifier", {"order": list(CLASSES)}, lambda case: CLASSES[case.levels]),
    "several": ("Classifier", {}, lambda case: np.stack([case.levels > 0, case.levels > 1], axis=1).astype(int)),
    "numbers": ("Regressor", {"strategy": "partial:1"}, lambda case: 10.0 + case.levels),
}


def predictions(model: Any, paths: list[str]) -> list[Any]:
    return [model.predict(paths), *([model.predict_proba(paths)] if hasattr(model, "predict_proba") else [])]


def assert_same(one: list[Any], other: list[Any]) -> None:
    for first, second in zip(one, other, strict=True):
        np.testing.assert_array_equal(first, second)
        assert first.dtype == second.dtype


@pytest.mark.parametrize("name", TRAINED)
def test_a_pickle_and_an_adapters_folder_predict_the_same(name: str, case: Any, tmp_path: Path) -> None:
    kind, options, targets = TRAINED[name]
    model = case.make(kind, **options).fit(case.paths, targets(case))
    before = predictions(model, case.paths)
    assert_same(predictions(pickle.loads(pickle.dumps(model)), case.paths), before)
    joblib.dump(model, tmp_path / "model.joblib")
    assert_same(predictions(joblib.load(tmp_path / "model.joblib"), case.paths), before)
    model.adapter_.save(tmp_path / "run")
    again = type(model).from_adapter(tmp_path / "run")
    assert_same(predictions(again, case.paths), before)
    assert again.get_params()["recipe__epochs"] == 1
    assert_same(predictions(again.fit(case.paths, targets(case)), case.paths), before)


def test_an_adapter_whose_weights_have_moved_is_pickled_with_where_they_are(case: Any, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    def save(file: Path) -> str:
        save_file({name: value.clone().contiguous() for name, value in network.state_dict().items()}, file)
        return str(file)

    network = case.make("Features").fit().backbone_.network
    model = case.make("Classifier", weights=save(tmp_path / "old.safetensors")).fit(case.paths, case.levels)
    model.adapter_.save(tmp_path / "run")
    moved = str((tmp_path / "old.safetensors").rename(tmp_path / "new.safetensors"))
    again = type(model).from_adapter(tmp_path / "run", weights=moved)
    assert_same(predictions(pickle.loads(pickle.dumps(again)), case.paths), predictions(again, case.paths))


def test_a_pickle_holds_what_was_learnt_and_not_the_backbone(case: Any) -> None:
    model = case.make("Classifier").fit(case.paths, case.levels)
    whole = sum(value.numel() for value in model.adapter_.backbone.network.state_dict().values())
    assert len(pickle.dumps(model)) < 0.7 * 4 * whole
    assert pickle.loads(pickle.dumps(clone(model))).get_params() == model.get_params()
    assert_same(predictions(copy.deepcopy(model), case.paths), predictions(model, case.paths))


def test_features_are_pickled_by_where_the_backbone_is(case: Any, tmp_path: Path) -> None:
    model = case.make("Features").fit()
    before = model.transform(case.paths)
    found = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(found.transform(case.paths), before)
    assert found.get_feature_names_out().tolist() == model.get_feature_names_out().tolist()
    state = model.__getstate__()
    with pytest.raises(BackboneError, match="no longer those that this estimator was fitted with"):
        type(model)().__setstate__(state | {"backbone_": state["backbone_"] | {"digest": "0" * 64}})


@pytest.mark.long(reason="starts processes that import everything")
def test_other_processes_give_the_same_scores(case: Any) -> None:
    for kind in ("Classifier", "Regressor"):
        model = case.make(kind)
        alone = cross_val_score(model, np.array(case.paths), case.levels, cv=2)
        np.testing.assert_allclose(cross_val_score(model, np.array(case.paths), case.levels, cv=2, n_jobs=2), alone)
    found = cross_validate(model, np.array(case.paths), case.levels, cv=2, n_jobs=2, return_estimator=True)
    assert all(len(one.predict(case.paths)) == 24 for one in found["estimator"])


def test_a_search_runs_frozen_stages_once_for_every_file(case: Any, rows_run: Any) -> None:
    grid = {"strategy": ["probe", "knn"], "recipe__class_weights": ["none", "balanced"]}
    search = GridSearchCV(case.make("Classifier"), grid, cv=2).fit(np.array(case.paths), case.levels)
    search.predict(case.paths)
    assert rows_run.clear_after() == 24
    model = case.make("Classifier", recipe=core.Recipe(device="cpu", views=0)).fit(case.paths, case.levels)
    rows_run.clear_after()
    assert model.predict(case.paths).shape == (24,)
    assert rows_run.clear_after() == 24  # without a cache


def test_stages_that_learn_run_on_what_frozen_ones_gave(case: Any, rows_run: Any) -> None:
    model = case.make("Classifier", strategy="partial:1").fit(case.paths, case.levels)
    rows_run.clear_after()
    found = model.predict_proba(case.paths)
    assert rows_run.clear_after() == 0
    model.set_params(recipe__views=0)
    np.testing.assert_allclose(model.predict_proba(case.paths), found, atol=1e-5)
    assert rows_run.clear_after() == 24


@pytest.mark.parametrize("strategy", ["probe", "partial:1"])
def test_examples_that_come_one_by_one_leave_no_files_behind(strategy: str, case: Any, tmp_path: Path) -> None:
    model = case.make("Classifier", strategy=strategy).fit(case.paths[:12], case.levels[:12])
    features = case.make("Features").fit()
    features.transform(case.paths[:12])
    before = sorted((tmp_path / "cache").rglob("*"))
    alone = [np.concatenate([model.predict_proba([path]), features.transform([path])], 1) for path in case.paths]
    assert sorted((tmp_path / "cache").rglob("*")) == before
    together = np.concatenate([model.predict_proba(case.paths), features.transform(case.paths)], 1)
    assert len(sorted((tmp_path / "cache").rglob("*"))) > len(before)
    np.testing.assert_allclose(np.concatenate(alone), together, atol=1e-4)


def test_a_single_path_is_looked_up(case: Any, rows_run: Any) -> None:
    model = case.make("Classifier").fit(case.paths, case.levels)
    rows_run.least, rows_run.count = 1, 0
    model.predict(case.paths[:1])
    assert rows_run.count == 0
    case.make("Classifier").fit(case.paths[4:], case.levels[4:]).set_params(recipe__views=0).predict(case.paths[:1])
    assert rows_run.count > 0


def test_an_adapter_for_something_else_is_refused(case: Any, tmp_path: Path) -> None:
    model = case.make("Classifier").fit(case.paths, case.levels)
    model.adapter_.save(tmp_path / "run")
    with pytest.raises(AdapterError, match="expected an adapter for regression targets, found one for single-label"):
        type(case.make("Regressor")).from_adapter(tmp_path / "run")
    with pytest.raises(AdapterError, match="no adapter here"):
        type(model).from_adapter(tmp_path / "nothing")


def test_an_adapter_of_the_command_line_has_its_classes_as_texts(case: Any, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    rows = [f"{path},{level}" for path, level in zip(case.paths, case.levels, strict=True)]
    table.write_text("\n".join(["path,grade", *rows]))
    # Random weights would be drawn again from the recipe's seed.
    tiny = case.domain is imaging
    backbone = case.domain.load_backbone("tiny:cnn2d" if tiny else case.options["backbone"])
    for task in ("ordinal", "single-label"):
        manifest = case.domain.read_manifest(table, target="grade", task=task)
        adapter = core.finetune(backbone, manifest, recipe=case.options["recipe"]).adapter
        adapter.save(tmp_path / task)
        model = type(case.make("Classifier")).from_adapter(tmp_path / task)
        assert model.classes_.tolist() == ["0", "1", "2"]
        assert model.order == (["0", "1", "2"] if task == "ordinal" else None)
        examples = core.read_examples(manifest, adapter.backbone.contract)
        expected = adapter.task.prediction_columns(
            core.predict_examples(adapter, examples, device="cpu"), adapter.classes
        )
        assert model.predict(case.paths).tolist() == expected["prediction"]
