"""The solved probe against scikit-learn's own fits."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

from graftwork.core.data.manifest import Manifest
from graftwork.core.errors import TrainingError
from graftwork.core.model.heads import Head
from graftwork.core.tasks import linear_models
from graftwork.core.training import linear_probe as probes
from graftwork.core.training.linear_probe import LEAST_SPREAD, fit_probe, standardisation


@pytest.fixture
def make_case(tmp_path):
    """(vectors, manifest) of files that all differ."""

    def make(rows, features, task="single-label", classes=("a", "b", "c"), groups=None, seed=0):
        rng = np.random.default_rng(seed)
        for row in range(rows):
            (tmp_path / f"{row}").write_bytes(str(row).encode())
        vectors = (rng.normal(size=(rows, features)) * rng.uniform(2, 20, features) + 3).astype(np.float32)
        lead = (vectors[:, 0] - 3) / vectors[:, 0].std() + rng.normal(0, 0.7, rows)
        values = {"single-label": np.digitize(lead, [-0.5, 0.5][: len(classes) - 1]), "regression": lead * 7 + 100,
                  "multi-label": np.stack([lead > 0, vectors[:, 1] > 3.5], 1).astype(float)}[task]  # fmt: skip
        paths = tuple(str(tmp_path / str(row)) for row in range(rows))
        names = () if task == "regression" else classes[: 2 if task == "multi-label" else None]
        return vectors, Manifest("t", paths, task, "label", names, values, groups)

    return make


def outputs(head, vectors):
    with torch.no_grad():
        return head.eval()(torch.from_numpy(vectors)).double()


def solved(vectors, manifest, balanced=False):
    head = Head(vectors.shape[1], max(1, len(manifest.classes)))
    return head, fit_probe(head, vectors, manifest, balanced=balanced, seed=0).strengths


@pytest.mark.parametrize("classes", [("a", "b"), ("a", "b", "c")])
@pytest.mark.parametrize("shape", [(90, 6), (30, 50)], ids=["tall", "wide"])
@pytest.mark.parametrize("balanced", [False, True])
def test_labels_are_logistic_regression_on_standardised_vectors(make_case, shape, classes, balanced):
    vectors, manifest = make_case(*shape, classes=classes)
    head, (strength,) = solved(vectors, manifest, balanced)
    data = StandardScaler().fit_transform(vectors.astype(np.float64))
    weights = "balanced" if balanced else None
    model = LogisticRegression(C=strength, max_iter=5000, tol=1e-8, class_weight=weights).fit(data, manifest.values)
    found = outputs(head, vectors).softmax(1)
    np.testing.assert_allclose(found, model.predict_proba(data), atol=5e-5)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("shape", [(90, 6), (60, 200)], ids=["tall", "wide"])
@pytest.mark.parametrize("balanced", [False, True])
def test_single_precision_chooses_the_strength_that_double_precision_does(
    make_case, monkeypatch, seed, shape, balanced
):
    vectors, manifest = make_case(*shape, seed=seed)
    head, strengths = solved(vectors, manifest, balanced)
    monkeypatch.setattr(linear_models.Logistic, "comparison_dtype", np.float64)
    other, expected = solved(vectors, manifest, balanced)
    assert strengths == expected
    assert torch.equal(outputs(head, vectors), outputs(other, vectors))  # both solved in double precision


def test_numbers_are_ridge_regression_on_standardised_vectors(make_case):
    vectors, manifest = make_case(60, 5, "regression")
    head, (strength,) = solved(vectors, manifest)
    data = StandardScaler().fit_transform(vectors.astype(np.float64))
    model = Ridge(alpha=1 / strength).fit(data, manifest.values)
    np.testing.assert_allclose(outputs(head, vectors)[:, 0], model.predict(data), rtol=1e-4)


def test_several_labels_are_one_regression_a_label(make_case):
    vectors, manifest = make_case(80, 5, "multi-label")
    head, strengths = solved(vectors, manifest)
    data = StandardScaler().fit_transform(vectors.astype(np.float64))
    found = outputs(head, vectors).sigmoid()
    for place, strength in enumerate(strengths):
        model = LogisticRegression(C=strength, max_iter=5000, tol=1e-8).fit(data, manifest.values[:, place])
        np.testing.assert_allclose(found[:, place], model.predict_proba(data)[:, 1], atol=5e-5)


def test_the_strength_is_the_one_with_the_best_held_out_likelihood(make_case):
    vectors, manifest = make_case(90, 6, classes=("a", "b"))
    _, (strength,) = solved(vectors, manifest)
    folds = manifest.fold_numbers(probes.FOLDS, 0)
    data = StandardScaler().fit_transform(vectors.astype(np.float64))
    scores = {}
    for candidate in probes.INVERSE_L2_STRENGTHS:
        each = []
        for fold in range(probes.FOLDS):
            inside, outside = folds != fold, folds == fold
            model = LogisticRegression(C=candidate, max_iter=5000).fit(data[inside], manifest.values[inside])
            chances = model.predict_log_proba(data[outside])
            each.append(chances[np.arange(outside.sum()), manifest.values[outside]].mean())
        scores[candidate] = np.mean(each)
    assert strength == max(scores, key=scores.get)


def test_groups_stay_together_while_the_strength_is_chosen(make_case):
    """Vectors that only say which group a row is of: across groups nothing can be learnt, within them everything."""
    vectors, manifest = make_case(60, 20, classes=("a", "b"))
    rng = np.random.default_rng(3)
    group = np.arange(60) // 6
    vectors = np.eye(10, 20)[group].astype(np.float32) * 10 + rng.normal(0, 1, (60, 20)).astype(np.float32)
    labels = rng.permutation(np.arange(10) % 2)[group]
    alone = replace(manifest, values=labels)
    _, (kept,) = solved(vectors, replace(alone, groups=tuple(map(str, group))))
    _, (apart,) = solved(vectors, alone)
    assert kept < apart


def test_a_class_without_rows_gets_no_probability(make_case):
    vectors, manifest = make_case(40, 4, classes=("a", "b", "c", "never"))
    head, _ = solved(vectors, manifest)
    found = outputs(head, vectors).softmax(1)
    assert (found[:, 3] == 0).all()
    assert torch.isfinite(found).all()
    two = replace(manifest, values=np.where(manifest.values == 0, 3, 1))
    found = outputs(solved(vectors, two)[0], vectors).softmax(1)
    assert (found[:, [0, 2]] == 0).all()


def test_a_feature_that_never_changes_does_no_harm(make_case):
    vectors, manifest = make_case(50, 4)
    plain = outputs(solved(vectors, manifest)[0], vectors)
    more = np.concatenate([vectors, np.full((50, 1), 7.0, np.float32)], 1)
    np.testing.assert_allclose(outputs(solved(more, manifest)[0], more), plain, atol=1e-4)


def test_one_class_cannot_be_learnt(make_case):
    vectors, manifest = make_case(20, 3)
    with pytest.raises(TrainingError, match="at least two classes to train on, found 1"):
        solved(vectors, replace(manifest, values=np.zeros(20, int)))


def test_rows_of_one_group_are_refused_because_nothing_can_be_held_out(make_case):
    vectors, manifest = make_case(30, 4)
    with pytest.raises(TrainingError, match="at least two groups of rows"):
        solved(vectors, replace(manifest, groups=("p",) * 30))


def test_the_same_seed_gives_the_same_bytes(make_case):
    case = make_case(40, 4)
    one, other = (solved(*case)[0].state_dict() for _ in range(2))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_feature_that_is_nearly_always_zero_does_not_outweigh_the_others_in_a_new_row():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(60, 8)).astype(np.float32)
    vectors[:, 7] = 0.0
    vectors[3, 7] = 1e-3
    vectors[:, 6] = 2.5
    centre, spread = standardisation(vectors)
    usual = np.sqrt(np.mean(vectors.std(0, dtype=np.float64) ** 2))
    np.testing.assert_allclose(spread[:6], vectors[:, :6].std(0), rtol=1e-5)
    np.testing.assert_allclose(spread[6:], LEAST_SPREAD * usual)
    np.testing.assert_allclose(centre, vectors.mean(0), rtol=1e-4, atol=1e-6)
    assert (standardisation(np.ones((5, 3), np.float32))[1] == 1).all()


def test_only_large_problems_of_one_kind_that_fit_go_to_a_gpu(monkeypatch):
    card = SimpleNamespace(total_memory=8 * 4 * 2 * 100)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: card)
    monkeypatch.setattr(torch, "as_tensor", lambda data, device: f"on {device}")
    monkeypatch.setattr(probes, "DEVICE_VALUES", 50)
    logistic = linear_models.LinearProblem(np.zeros(1), linear_models.Logistic(2, False))
    ridge = linear_models.LinearProblem(np.zeros(1), linear_models.Ridge())
    fitting, large, small = np.zeros((9, 10)), np.zeros((11, 10)), np.zeros((4, 10))
    assert probes._placed(fitting, [logistic] * 2, "cuda:1") == "on cuda:1"
    for data, problems, device in ((fitting, [logistic], "cpu"), (fitting, [logistic, ridge], "cuda"),
                                   (small, [logistic], "cuda"), (large, [logistic], "cuda")):  # fmt: skip
        assert probes._placed(data, problems, device) is data


@pytest.mark.gpu
def test_a_gpu_solves_the_probe_that_a_cpu_solves(make_case, monkeypatch):
    monkeypatch.setattr(probes, "DEVICE_VALUES", 1)
    vectors, manifest = make_case(300, 40)
    heads = [Head(40, 3) for _ in range(2)]
    fits = [fit_probe(head, vectors, manifest, balanced=False, seed=0, device=device)
            for head, device in zip(heads, ("cpu", "cuda"), strict=True)]  # fmt: skip
    assert fits[0] == fits[1]
    found, expected = (outputs(head, vectors).softmax(1) for head in heads)
    np.testing.assert_allclose(found, expected, atol=1e-4)
