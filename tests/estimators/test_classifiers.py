"""Classifiers of one label: what they learn from, what they return, and what they refuse."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import Pipeline

from graftwork import audio, core, imaging
from graftwork.core.errors import AdapterError, SettingsError, UnreadableError
from graftwork.imaging import ImageClassifier

Case = tuple[Any, list[str], "np.ndarray[Any, Any]", list[int]]


@pytest.fixture(name="case")
def labelled(case: Any) -> Case:
    """A classifier, 24 paths, labels 3 and 7 that differ plainly, and 8 groups."""
    return case.make("Classifier"), case.paths, np.where(case.levels > 0, 7, 3), case.groups


def test_fit_returns_itself_and_learns_labels_as_they_are(case: Case) -> None:
    model, paths, labels, groups = case
    assert model.fit(paths, labels, groups=groups) is model
    assert model.classes_.tolist() == [3, 7]
    assert model.predict(paths).dtype == labels.dtype
    assert model.score(paths, labels) > 0.8
    np.testing.assert_allclose(model.predict_proba(paths).sum(1), 1)


@pytest.mark.parametrize(
    ("strategy", "head", "learnt"),
    [("knn", "linear", 24), ("probe", "linear", 24), ("probe", "mlp", 18), ("full", "linear", 18)],
)
def test_rows_are_set_aside_exactly_where_there_are_epochs_to_choose_from(
    case: Case, strategy: str, head: str, learnt: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, paths, labels, _ = case
    seen: list[int] = []

    def finetune(backbone: Any, rows: Any, val: Any, **options: Any) -> Any:
        seen.extend((len(rows), 0 if val is None else len(val)))
        return core.finetune(backbone, rows, val, **options)

    monkeypatch.setattr("graftwork.core.runs.estimator.finetune", finetune)
    recipe = replace(model.recipe, head=head)
    model.set_params(strategy=strategy, recipe=recipe, val_fraction=0.25).fit(paths, labels)
    assert seen == [learnt, 24 - learnt]


def test_rows_set_aside_hold_nothing_that_is_nearly_what_is_learnt(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    model, paths, labels, _ = case
    copies = [str(Path(path).with_stem(f"quieter_{Path(path).stem}")) for path in paths]
    generator = np.random.default_rng(0)
    for path, copy in zip(paths, copies, strict=True):
        if path.endswith(".png"):
            Image.fromarray((np.asarray(Image.open(path)) * 0.7 + 30).astype(np.uint8)).save(copy)
        else:  # a tone is like all others
            sound = generator.normal(0, 0.1, 4000)
            soundfile.write(path, sound, 16000)
            soundfile.write(copy, sound * 0.5, 16000)
    parts: list[set[str]] = []

    def finetune(backbone: Any, rows: Any, val: Any, **options: Any) -> Any:
        parts.extend({Path(path).stem.removeprefix("quieter_") for path in one.manifest.paths} for one in (rows, val))
        return core.finetune(backbone, rows, val, **options)

    monkeypatch.setattr("graftwork.core.runs.estimator.finetune", finetune)
    model.set_params(strategy="full", val_fraction=0.25).fit(paths + copies, [*labels, *labels])
    assert len(parts[0]) + len(parts[1]) == len(paths)
    assert not parts[0] & parts[1]


def test_a_clone_learns_the_same(case: Case) -> None:
    model, paths, labels, _ = case
    first = model.fit(paths, labels).predict_proba(paths[:4])
    np.testing.assert_array_equal(clone(model).fit(paths, labels).predict_proba(paths[:4]), first)
    np.testing.assert_array_equal(model.fit(paths, labels).predict_proba(paths[:4]), first)


def test_predictions_do_not_depend_on_the_order_or_the_company_of_rows(case: Case) -> None:
    model, paths, labels, _ = case
    whole = model.fit(paths, labels).predict_proba(paths)
    np.testing.assert_allclose(model.predict_proba(paths[::-1])[::-1], whole, atol=1e-5)
    np.testing.assert_allclose(model.predict_proba(paths[:1]), whole[:1], atol=1e-5)


def test_it_works_in_cross_validation_pipelines_and_searches(case: Case) -> None:
    model, paths, labels, groups = case
    scores = cross_val_score(model, np.array(paths), labels, groups=groups, cv=GroupKFold(2))
    assert scores.mean() > 0.7
    search = GridSearchCV(Pipeline([("graft", model)]), {"graft__strategy": ["probe", "partial:1"]}, cv=2)
    assert search.fit(np.array(paths), labels).best_params_["graft__strategy"] in ("probe", "partial:1")


def test_wrong_input_says_what_was_expected(case: Case) -> None:
    model, paths, labels, _ = case
    with pytest.raises(NotFittedError):
        model.predict(paths)
    with pytest.raises(SettingsError, match="expected a sequence of paths"):
        model.fit(np.zeros((24, 3)), labels)
    with pytest.raises(UnreadableError, match="1 of 2 files are not there"):
        model.fit([paths[0], "none.png"], [0, 1])
    with pytest.raises(ValueError, match="at least two classes"):
        model.fit(paths, [1] * 24)
    with pytest.raises(ValueError, match="24 paths, y has 3 entries"):
        model.fit(paths, [0, 1, 0])
    with pytest.raises(ValueError, match="groups has 2 entries"):
        model.fit(paths, labels, groups=[0, 1])


def test_an_adapter_of_the_other_domain_is_refused(case: Case, tmp_path: Path) -> None:
    model, paths, labels, _ = case
    model.fit(paths, labels).adapter_.save(tmp_path / "run")
    other = audio if isinstance(model, ImageClassifier) else imaging
    with pytest.raises(AdapterError, match="use the command line that trained it"):
        other.load_adapter(tmp_path / "run")
