"""Weights of rows: in the estimators, in a solved probe and in the loss."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import mean_squared_error

from graftwork.core.data.manifest import Manifest
from graftwork.core.data.splits import fold_numbers
from graftwork.core.errors import SettingsError
from graftwork.core.model.heads import Head
from graftwork.core.recipe import Recipe
from graftwork.core.tasks import ORDINAL, REGRESSION, SINGLE_LABEL
from graftwork.core.tasks.linear_models import CumulativeLogit, balanced_weights
from graftwork.core.training.linear_probe import INVERSE_L2_STRENGTHS, fit_probe, standardisation
from graftwork.core.training.optimiser import row_weights


def predicted(model: Any, paths: list[str]) -> Any:
    return model.predict_proba(paths) if hasattr(model, "predict_proba") else model.predict(paths)


@pytest.mark.parametrize("kind", ["Classifier", "Regressor"])
def test_a_row_of_weight_zero_is_not_there(kind: str, case: Any) -> None:
    counted = np.arange(24) // 3 % 4 > 0
    part = case.make(kind).fit([case.paths[row] for row in np.flatnonzero(counted)], case.levels[counted])
    weighted = case.make(kind).fit(case.paths, case.levels, sample_weight=counted.astype(int).tolist())
    np.testing.assert_allclose(predicted(weighted, case.paths), predicted(part, case.paths), atol=1e-5)


@pytest.mark.parametrize("kind", ["Classifier", "Regressor"])
def test_rows_that_count_more_are_fitted_more_closely(kind: str, case: Any) -> None:
    generator = np.random.default_rng(1)
    wrong = generator.permutation(case.levels)
    paths, y = [*case.paths, *case.paths], np.concatenate([case.levels, wrong])
    found = [predicted(case.make(kind).fit(paths, y, sample_weight=np.repeat(weights, 24)), case.paths)
             for weights in ((1, 100), (100, 1))]  # fmt: skip
    right = found[1][np.arange(24), case.levels] if kind == "Classifier" else -np.abs(found[1] - case.levels)
    other = found[0][np.arange(24), case.levels] if kind == "Classifier" else -np.abs(found[0] - case.levels)
    assert right.mean() > other.mean() + 0.2


def test_what_trains_in_epochs_is_weighted_too(case: Any) -> None:
    heavy = np.where(case.levels == 2, 50.0, 1.0)
    recipe = case.options["recipe"]
    found = [case.make("Classifier", strategy="partial:1", recipe=recipe, val_fraction=0.0)
             .set_params(recipe__epochs=3, recipe__learning_rate=0.01)
             .fit(case.paths, case.levels, sample_weight=weights).predict_proba(case.paths)[:, 2].mean()
             for weights in (None, heavy)]  # fmt: skip
    assert found[1] > found[0] + 0.02


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(3), "24 paths, sample_weight has 3 entries"),
        (np.ones((24, 2)), "one dimension"),
        (np.full(24, np.nan), "NaN"),
        (np.linspace(-1, 1, 24), "negative"),
        (np.zeros(24), "not zero are fewer than two"),
        ((np.arange(24) % 3 == 1).astype(float), "or of one class"),
    ],
)
def test_unusable_weights_are_refused(weights: Any, message: str, case: Any) -> None:
    with pytest.raises(ValueError, match=message):
        case.make("Classifier").fit(case.paths, case.levels, sample_weight=weights)


def test_neighbours_refuse_weights(case: Any) -> None:
    with pytest.raises(SettingsError, match="every neighbour has one vote"):
        case.make("Classifier", strategy="knn").fit(case.paths, case.levels, sample_weight=np.ones(24))


@pytest.fixture
def rows(tmp_path: Any) -> tuple[Any, Any, Any, tuple[str, ...]]:
    """Vectors (60, 5), classes (60,) of three, weights (60,) and paths of different files."""
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(60, 5)).astype(np.float32)
    classes = np.digitize(vectors[:, 0] + generator.normal(size=60), [-0.5, 0.5])
    paths = []
    for number in range(60):
        paths.append(str(tmp_path / str(number)))
        (tmp_path / str(number)).write_text(str(number))
    return vectors, classes, generator.uniform(0.1, 3.0, 60), tuple(paths)


@pytest.mark.parametrize("balanced", [False, True])
def test_a_probe_is_scikit_learns_with_sample_weight(rows: Any, balanced: bool) -> None:
    vectors, classes, weights, paths = rows
    manifest = Manifest("", paths, SINGLE_LABEL, "y", ("a", "b", "c"), classes, weights=tuple(weights))
    head = Head(5, 3).eval()
    (strength,) = fit_probe(head, vectors, manifest, balanced=balanced, seed=0).strengths
    centre = np.average(vectors, axis=0, weights=weights)
    spread = np.sqrt(np.average((vectors - centre) ** 2, axis=0, weights=weights))
    np.testing.assert_allclose(standardisation(vectors, weights), (centre, spread), rtol=1e-6)
    counted = balanced_weights(classes, weights) if balanced else weights
    data = (vectors - centre) / spread
    model = LogisticRegression(C=strength, tol=1e-8, max_iter=5000).fit(data, classes, sample_weight=counted)
    found = head(torch.from_numpy(vectors)).softmax(1).detach().numpy()
    np.testing.assert_allclose(found, model.predict_proba(data), atol=1e-4)


def test_a_probe_of_numbers_is_scikit_learns_with_sample_weight(rows: Any) -> None:
    vectors, classes, weights, paths = rows
    manifest = Manifest("", paths, REGRESSION, "y", (), 10.0 + classes, weights=tuple(weights))
    head = Head(5, 1).eval()
    (strength,) = fit_probe(head, vectors, manifest, balanced=False, seed=0).strengths
    centre, spread = standardisation(vectors, weights)
    data = (vectors - centre) / spread
    model = Ridge(alpha=1 / strength).fit(data, 10.0 + classes, sample_weight=weights)
    np.testing.assert_allclose(head(torch.from_numpy(vectors)).detach().numpy()[:, 0], model.predict(data), atol=1e-4)


def test_grades_with_weights_are_grades_repeated(rows: Any) -> None:
    vectors, classes, weights, _ = rows
    counts = np.ceil(weights).astype(int)
    data, again = vectors.astype(np.float64), np.repeat(np.arange(60), counts)
    for balanced in (False, True):
        model = CumulativeLogit(3, balanced)
        weighted = model.solve(data, classes, 0.3, weights=counts.astype(float))
        repeated = model.solve(data[again], classes[again], 0.3)
        for one, other in zip(weighted, repeated, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-4)
        scored = model.score(data, classes, weighted, weights=counts.astype(float))
        assert scored == pytest.approx(model.score(data[again], classes[again], weighted))


def test_balanced_classes_have_the_same_summed_weight(rows: Any) -> None:
    _, classes, weights, paths = rows
    found = balanced_weights(classes, weights)
    np.testing.assert_allclose(np.bincount(classes, found), weights.sum() / 3)
    manifest = Manifest("", paths, ORDINAL, "y", ("a", "b", "c"), classes, weights=tuple(weights))
    np.testing.assert_allclose(row_weights(manifest, Recipe()), weights / weights.mean())
    np.testing.assert_allclose(row_weights(manifest, Recipe(class_weights="balanced")), found / weights.mean())


def test_weights_follow_their_rows_and_tell_runs_apart(rows: Any) -> None:
    _, classes, weights, paths = rows
    plain = Manifest("", paths, SINGLE_LABEL, "y", ("a", "b", "c"), classes)
    manifest = Manifest("", paths, SINGLE_LABEL, "y", ("a", "b", "c"), classes, weights=tuple(weights))
    assert manifest.subset([5, 2]).weights == (weights[5], weights[2])
    assert plain.subset([5, 2]).weights is None
    known = manifest.fingerprints()
    assert known.keys() - plain.fingerprints().keys() == {"weights"}
    assert known["weights"] != manifest.subset(np.arange(60)[::-1]).fingerprints()["weights"]


def test_the_strength_is_chosen_by_weighted_rows(rows: Any) -> None:
    vectors, _, _, paths = rows
    generator = np.random.default_rng(2)
    # Half of the rows follow a line, the other half nothing at all.
    follows = np.arange(60) % 2 == 0
    y = np.where(follows, vectors @ np.arange(1.0, 6.0), generator.normal(0, 20, 60))
    chosen = {}
    for name, weights in (("line", np.where(follows, 1.0, 1e-3)), ("noise", np.where(follows, 1e-3, 1.0))):
        manifest = Manifest("", paths, REGRESSION, "y", (), y, weights=tuple(weights))
        (chosen[name],) = fit_probe(Head(5, 1).eval(), vectors, manifest, balanced=False, seed=0).strengths
        folds = fold_numbers(REGRESSION.strata(y), manifest.units(), 5, 0)
        centre, spread = standardisation(vectors, weights)
        data, scores = (vectors - centre) / spread, []
        for strength in INVERSE_L2_STRENGTHS:
            errors = []
            for fold in range(5):
                inside, outside = folds != fold, folds == fold
                model = Ridge(alpha=1 / strength).fit(data[inside], y[inside], sample_weight=weights[inside])
                found = model.predict(data[outside])
                errors.append(mean_squared_error(y[outside], found, sample_weight=weights[outside]))
            scores.append(-np.mean(errors))
        assert chosen[name] == INVERSE_L2_STRENGTHS[int(np.argmax(scores))]
    assert chosen["noise"] < chosen["line"]
