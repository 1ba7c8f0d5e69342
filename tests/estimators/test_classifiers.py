"""The scikit-learn classifiers: scikit-learn's own checks as far as paths as input allow, the rest by hand."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.utils import estimator_checks as checks

from graftwork import audio, core, imaging
from graftwork.audio import ClipClassifier
from graftwork.core.errors import AdapterError, SettingsError, UnreadableError
from graftwork.imaging import ImageClassifier

RUN = (
    checks.check_estimator_cloneable,
    checks.check_estimator_repr,
    checks.check_estimator_tags_renamed,
    checks.check_valid_tag_types,
    checks.check_no_attributes_set_in_init,
    checks.check_do_not_raise_errors_in_init_or_set_params,
    checks.check_mixin_order,
    checks.check_parameters_default_constructible,
    checks.check_get_params_invariance,
    checks.check_set_params,
    checks.check_estimators_unfitted,
    checks.check_n_features_in_after_fitting,
    checks.check_classifiers_one_label_sample_weights,
    checks.check_estimators_partial_fit_n_features,
    checks.check_non_transformer_estimators_n_iter,
    checks.check_decision_proba_consistency,
)
"""The checks that fit nothing, or that a classifier without `partial_fit`, `n_iter_` and tables passes as it is."""

FITS_TABLES = "fits a table of numbers (rows, features); these classifiers take file names, so nothing can be fitted"
EXCLUDED = dict.fromkeys(
    (
        "check_classifier_data_not_an_array",
        "check_classifiers_classes",
        "check_classifiers_one_label",
        "check_classifiers_regression_target",
        "check_classifiers_train",
        "check_complex_data",
        "check_dict_unchanged",
        "check_dont_overwrite_parameters",
        "check_dtype_object",
        "check_estimator_sparse_array",
        "check_estimator_sparse_matrix",
        "check_estimators_dtypes",
        "check_estimators_empty_data_messages",
        "check_estimators_fit_returns_self",
        "check_estimators_nan_inf",
        "check_estimators_overwrite_params",
        "check_estimators_pickle",
        "check_f_contiguous_array_estimator",
        "check_fit1d",
        "check_fit2d_1feature",
        "check_fit2d_1sample",
        "check_fit2d_predict1d",
        "check_fit_check_is_fitted",
        "check_fit_idempotent",
        "check_fit_score_takes_y",
        "check_methods_sample_order_invariance",
        "check_methods_subset_invariance",
        "check_n_features_in",
        "check_pipeline_consistency",
        "check_positive_only_tag_during_fit",
        "check_readonly_memmap_input",
        "check_requires_y_none",
        "check_supervised_y_2d",
        "check_supervised_y_no_nan",
    ),
    FITS_TABLES,
) | {
    "check_array_api_input": FITS_TABLES,
    "check_estimator_sparse_tag": FITS_TABLES,
}  # fmt: skip
"""Every check that scikit-learn has beyond these, with the reason why it cannot be run; what they stand for is tested
by hand below: fitting returns self and is repeatable, unfitted use, clones, pipelines, one class, wrong input."""

SMALL = {
    "model_type": "wav2vec2", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 16, "conv_dim": [8, 8], "conv_kernel": [40, 10], "conv_stride": [40, 8],
    "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip

Case = tuple[Any, list[str], "np.ndarray[Any, Any]", list[int]]


class Table(ClassifierMixin, BaseEstimator):
    """A classifier of tables, for which scikit-learn yields all its checks."""

    def fit(self, X: Any, y: Any) -> "Table":
        self.classes_ = np.unique(y)
        return self

    def predict(self, X: Any) -> Any:
        return np.full(len(X), self.classes_[0])


@pytest.fixture(params=["imaging", "audio"])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    """A classifier, 24 paths, labels 3 and 7 that differ plainly, and 8 groups."""
    generator = np.random.default_rng(0)
    labels = np.array([3, 7] * 12)
    paths = []
    recipe = core.Recipe(epochs=1, batch_size=8, device="cpu")
    for number, label in enumerate(labels):
        if request.param == "imaging":
            paths.append(str(tmp_path / f"{number}.png"))
            pixels = generator.integers(0, 60, (32, 32)) + (label == 7) * np.arange(32) * 5
            Image.fromarray(pixels.astype(np.uint8)).save(paths[-1])
        else:
            paths.append(str(tmp_path / f"{number}.wav"))
            sound = np.sin(np.arange(4000) * 0.05 * label) + generator.normal(0, 0.1, 4000)
            soundfile.write(paths[-1], 0.3 * sound, 16000)
    groups = [number // 3 for number in range(24)]
    if request.param == "imaging":
        return (
            ImageClassifier("timm:test_resnet", weights="random", image_size=32, recipe=recipe),
            paths,
            labels,
            groups,
        )
    backbone = audio.save_backbone(audio.new_backbone(SMALL), tmp_path / "backbone")
    return ClipClassifier(backbone, recipe=recipe), paths, labels, groups


@pytest.mark.parametrize("classifier", [ImageClassifier, ClipClassifier])
@pytest.mark.parametrize("check", RUN, ids=lambda check: check.__name__)
def test_the_checks_of_scikit_learn_pass(check: Callable[..., None], classifier: type) -> None:
    assert check(classifier.__name__, classifier()) is None


@pytest.mark.filterwarnings("ignore")
def test_every_check_is_run_or_excluded_with_a_reason() -> None:
    yielded = {checks._check_name(check) for _, check in checks.estimator_checks_generator(Table(), legacy=True)}
    assert yielded - {check.__name__ for check in RUN} - EXCLUDED.keys() == set()


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
    with pytest.raises(AdapterError, match="use what trained it"):
        other.load_adapter(tmp_path / "run")
