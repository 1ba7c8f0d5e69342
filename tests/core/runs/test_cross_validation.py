"""Holding out and cross-validating."""

import json
from dataclasses import replace

import numpy as np
import pytest

from graftwork.core.data.examples import read_examples
from graftwork.core.data.folds import Folds
from graftwork.core.errors import OutputError, SettingsError
from graftwork.core.inference.predict import predict_examples
from graftwork.core.model.strategies import parse_strategy
from graftwork.core.runs.cross_validation import cross_validate_setup, with_epochs_of_folds
from graftwork.core.runs.hold_out import hold_out
from graftwork.core.runs.run_folder import prediction_table
from graftwork.core.runs.setup import Setup
from graftwork.core.training.finetuning import finetune
from tests.core.conftest import examples_in


@pytest.fixture
def make_setup(backbone, domain, recipe, tmp_path):
    def make(strategy="probe", **changes):
        own = replace(backbone, domain=domain)
        return Setup(own, parse_strategy(strategy), replace(recipe, **changes), tmp_path)

    return make


def test_a_probe_that_is_solved_trains_on_all_rows_but_the_test_ones(make_setup, examples):
    (test,) = hold_out(make_setup("probe"), examples, 0.2, 0.2).parts
    train, val, held_out = examples.manifest.split(0, val_fraction=0.0)
    assert (test.part, test.manifest.paths, len(val)) == ("test", held_out.paths, 0)
    rows = read_examples(train, make_setup().backbone.contract)
    alone = finetune(make_setup().backbone, rows, recipe=make_setup().recipe)
    unseen = read_examples(held_out, rows.contract)
    np.testing.assert_allclose(test.predictions, predict_examples(alone.adapter, unseen, device="cpu"), atol=1e-6)


def test_holding_out_judges_rows_that_training_never_saw(make_setup, examples):
    strategy = "partial:1"
    val, test = hold_out(make_setup(strategy), examples, 0.2, 0.2).parts
    assert (val.part, test.part) == ("val", "test")
    split = examples.manifest.split(0)
    assert [part.manifest.paths for part in (val, test)] == [split[1].paths, split[2].paths]
    assert not set(val.manifest.groups) & set(test.manifest.groups)
    trained = read_examples(split[0], make_setup().backbone.contract)
    chooses = read_examples(split[1], trained.contract)
    alone = finetune(make_setup().backbone, trained, chooses, strategy=strategy, recipe=make_setup().recipe)
    rows = read_examples(split[2], trained.contract)
    np.testing.assert_allclose(test.predictions, predict_examples(alone.adapter, rows, device="cpu"), atol=1e-6)


def test_without_anything_held_out_nothing_can_be_judged(make_setup, examples):
    with pytest.raises(SettingsError, match="neither a test nor a validation part"):
        hold_out(make_setup(), examples, 0.0, 0.0)


@pytest.mark.parametrize("strategy", ["probe", "partial:1"])
def test_pooled_predictions_are_those_of_the_folds(make_setup, examples, tmp_path, strategy):
    setup = make_setup(strategy)
    evaluated = cross_validate_setup(setup, examples, Folds(3), 0.0).part
    number = examples.manifest.fold_numbers(3, 0)
    np.testing.assert_array_equal(evaluated.folds, number)
    for fold in range(3):
        inside, outside = examples.subset(np.flatnonzero(number != fold)), np.flatnonzero(number == fold)
        run = finetune(setup.backbone, inside, strategy=strategy, recipe=setup.recipe)
        alone = predict_examples(run.adapter, examples.subset(outside), device="cpu")
        np.testing.assert_allclose(evaluated.predictions[outside], alone, atol=1e-6)
        kept = json.loads((tmp_path / "folds" / str(fold + 1) / "fold.json").read_text())
        np.testing.assert_array_equal(kept["predictions"], evaluated.predictions[outside])
        assert kept["frozen"]["before"] == kept["frozen"]["after"]


def test_all_rows_are_learnt_for_the_median_of_the_folds_best_epochs(make_setup, examples, tmp_path, recipe):
    found = cross_validate_setup(make_setup("partial:1", epochs=5, learning_rate=0.03), examples, Folds(3), 0.25)
    best = [json.loads((tmp_path / "folds" / str(fold) / "fold.json").read_text())["best_epoch"] for fold in (1, 2, 3)]
    assert found.best_epochs == tuple(best)
    assert with_epochs_of_folds(recipe, found.best_epochs).epochs == round(float(np.median(best)))
    assert with_epochs_of_folds(recipe, (None, None)) == recipe
    assert with_epochs_of_folds(recipe, (0, 0, 3)).epochs == 0  # the probe that most folds kept


def relabelled(manifest):
    return replace(manifest, values=np.roll(manifest.values, 1))


def regrouped(manifest):
    return replace(manifest, groups=tuple(f"{group}x" for group in manifest.groups))


def with_other_files(manifest):
    return replace(manifest, examples=(manifest.paths[1], manifest.paths[0], *manifest.paths[2:]))


def reclassed(manifest):
    return replace(manifest, classes=("c", "b", "a"))


@pytest.mark.parametrize("strategy", ["probe", "partial:1"])
@pytest.mark.parametrize(("change", "named"), [
    (relabelled, "training data"), (regrouped, "training data"), (with_other_files, "(test|training) data"),
    (reclassed, "training data"),
])  # fmt: skip
def test_finished_folds_of_other_rows_are_not_taken_over(make_setup, examples, strategy, change, named):
    setup = make_setup(strategy)
    cross_validate_setup(setup, examples, Folds(3), 0.25)
    resumed = replace(setup, resume=True)
    with pytest.raises(OutputError, match=rf"fold\.json: the finished fold had another .*{named}"):
        cross_validate_setup(resumed, replace(examples, manifest=change(examples.manifest)), Folds(3), 0.25)
    with pytest.raises(OutputError, match="the finished fold had another learning_rate"):
        cross_validate_setup(
            replace(resumed, recipe=replace(resumed.recipe, learning_rate=0.5)), examples, Folds(3), 0.25
        )


def test_a_finished_fold_is_not_taken_over_for_other_test_rows(make_setup, examples, tmp_path):
    """Also where it is the only one that has finished, and its training rows are what they were."""
    setup = make_setup("probe")
    cross_validate_setup(setup, examples, Folds(3), 0.0)
    for fold in ("2", "3"):
        (tmp_path / "folds" / fold / "fold.json").unlink()
    tested = np.flatnonzero(examples.manifest.fold_numbers(3, 0) == 0)
    groups = tuple(f"{name}x" if row in tested else name for row, name in enumerate(examples.manifest.groups))
    changed = replace(examples, manifest=replace(examples.manifest, groups=groups))
    with pytest.raises(OutputError, match="the finished fold had another test data"):
        cross_validate_setup(replace(setup, resume=True), changed, Folds(3), 0.0)


def test_finished_folds_are_taken_over_as_they_are(make_setup, examples, tmp_path, monkeypatch):
    setup = make_setup("partial:1")
    whole = cross_validate_setup(setup, examples, Folds(3), 0.25)
    (tmp_path / "folds" / "2" / "fold.json").unlink()
    ran = []
    monkeypatch.setattr("graftwork.core.runs.setup.finetune", lambda *rows, **options: (
        ran.append(options["checkpoints"].name), finetune(*rows, **options))[1])  # fmt: skip
    again = cross_validate_setup(replace(setup, resume=True), examples, Folds(3), 0.25)
    assert ran == ["2"]
    np.testing.assert_array_equal(again.part.predictions, whole.part.predictions)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"predictions": [[0, 1]], "made_from": 3}', None])
def test_a_damaged_fold_is_named_with_a_way_out(make_setup, examples, tmp_path, content):
    setup = make_setup()
    cross_validate_setup(setup, examples, Folds(3), 0.25)
    path = tmp_path / "folds" / "2" / "fold.json"
    if content is None:
        content = path.read_bytes().replace(b"0.1", b"0.9", 1)
    path.write_bytes(content)
    with pytest.raises(OutputError, match=r"2/fold\.json: cannot be read .*delete it, and the fold is trained anew"):
        cross_validate_setup(replace(setup, resume=True), examples, Folds(3), 0.25)


def test_a_probe_computes_its_vectors_once_for_all_folds(make_setup, examples):
    setup, calls = make_setup(), []
    first = setup.backbone.stages[0]

    def counted(network, features):
        calls.append(examples_in(features))
        return first.run(network, features)

    stages = (replace(first, run=counted), *setup.backbone.stages[1:])
    cross_validate_setup(replace(setup, backbone=replace(setup.backbone, stages=stages)), examples, Folds(4), 0.2)
    assert sum(calls) == 60


def test_predictions_do_not_depend_on_the_batches(make_setup, examples):
    run = hold_out(make_setup("full"), examples, 0.2, 0.2).run
    one, other = (predict_examples(run.adapter, examples, batch_size=size, device="cpu") for size in (1, 32))
    np.testing.assert_allclose(one, other, atol=1e-6)
    np.testing.assert_allclose(one.sum(1), 1)


def test_repeats_are_means_over_folds_drawn_anew_each_as_it_is_alone(make_setup, examples):
    setup = replace(make_setup("probe"), folder=None)
    part = cross_validate_setup(setup, examples, Folds(3, repeats=3), 0.0).part
    for repeat in range(3):
        alone = replace(setup, recipe=replace(setup.recipe, seed=setup.recipe.seed + repeat))
        once = cross_validate_setup(alone, examples, Folds(3), 0.0).part
        own = part.repeats[repeat - 1] if repeat else part
        np.testing.assert_array_equal(own.folds, once.folds)
        np.testing.assert_allclose(own.predictions, once.predictions, atol=1e-5)
        for name, interval in once.evaluation.metrics.items():
            assert part.evaluation.repeats[repeat][name] == pytest.approx(interval.value, abs=1e-4)
    auroc = part.evaluation.metrics["auroc"]
    assert auroc.value == pytest.approx(np.mean([one["auroc"] for one in part.evaluation.repeats]))
    assert "the spread of repeats" in auroc.method
    assert "3-fold cross-validation repeated 3 times" in str(part.evaluation)
    assert len(prediction_table([part])) == 3 * len(examples)
    assert part.evaluation.to_json()["about"]["repeats"][2]["auroc"] == part.evaluation.repeats[2]["auroc"]


def test_interrupted_repeats_go_on(make_setup, examples):
    setup, folds = make_setup("partial:1", epochs=1), Folds(3, repeats=2)
    whole = cross_validate_setup(setup, examples, folds, 0.25)
    (setup.folder / "folds-2" / "3" / "fold.json").unlink()
    finished = setup.folder / "folds-2" / "1" / "fold.json"
    kept = finished.stat().st_mtime_ns
    again = cross_validate_setup(replace(setup, resume=True), examples, folds, 0.25)
    assert finished.stat().st_mtime_ns == kept
    np.testing.assert_array_equal(again.part.repeats[0].predictions, whole.part.repeats[0].predictions)


def test_leaving_out_a_site_predicts_it_by_a_model_of_the_others(make_setup, examples):
    setup = replace(make_setup("probe"), folder=None)
    sites = tuple("abc"[row // 2 % 3] for row in range(len(examples)))
    own = replace(examples, manifest=replace(examples.manifest, groups=None, columns={"site": sites}))
    part = cross_validate_setup(setup, own, Folds(leave_out="site"), 0.0).part
    outside = np.array(sites) == "b"
    run = finetune(setup.backbone, own.subset(np.flatnonzero(~outside)), None, strategy="probe", recipe=setup.recipe)
    expected = predict_examples(run.adapter, own.subset(np.flatnonzero(outside)))
    np.testing.assert_allclose(part.predictions[outside], expected, atol=1e-6)
