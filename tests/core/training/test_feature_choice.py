"""Which stages a solved head reads: the search on planted vectors, and what comes out against probes by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from graftwork.core.data.examples import read_examples
from graftwork.core.errors import AdapterError, SettingsError
from graftwork.core.inference.adapter import load_adapter
from graftwork.core.inference.model_card import model_card
from graftwork.core.inference.predict import predict_examples
from graftwork.core.model.heads import Head
from graftwork.core.model.neighbour_head import NeighbourHead
from graftwork.core.model.stage_outputs import FeatureChoice, Part, StageOutput
from graftwork.core.runs.cross_validation import cross_validate
from graftwork.core.runs.predict import predict
from graftwork.core.training.feature_choice import choose_features, made_of
from graftwork.core.training.finetuning import finetune
from graftwork.core.training.linear_probe import fit_probe, probe_scores
from graftwork.core.training.neighbours import fit_neighbours

FIRST = StageOutput("first", 0, 2, (7, 2))
SECOND = StageOutput("second", 4, 2, (7, 2))
POOL = StageOutput("pool", 8, 2, (2,))
NOTHING = np.zeros(2)
OUTPUTS = (FIRST, SECOND, POOL)


@pytest.fixture
def vectors():
    """Of 30 rows: mean and deviation of two sequences, and a last stage that is the mean of the second; the numbers of
    the first are large."""
    found = np.random.default_rng(0).normal(size=(30, 10)).astype(np.float32)
    found[:, :4] *= 1000
    found[:, 8:] = found[:, 4:6]
    return found


def preferring(wanted):
    """Scores of two folds that are best for these vectors."""
    return lambda found: np.full(2, float(found.shape == wanted.shape and np.allclose(found, wanted)))


@pytest.mark.parametrize(
    ("columns", "part"),
    [
        (slice(8, 10), Part("pool")),
        (slice(0, 2), Part("first")),
        (slice(0, 4), Part("first", "mean+std")),
        (slice(4, 8), Part("second", "mean+std")),
    ],
)
def test_auto_takes_the_part_with_the_best_score(vectors, columns, part):
    found = choose_features(vectors, OUTPUTS, "auto", preferring(vectors[:, columns]))
    assert found == FeatureChoice((part,))


@pytest.mark.parametrize(("gain", "count"), [([0.0, 0.0], 2), ([0.5, -0.3], 2), ([0.5, 0.2], 1)])
def test_all_stages_are_taken_unless_another_is_clearly_better(vectors, gain, count):
    """The gain of the last stage over all others, by fold: 0.1 with a standard error of 0.4, and 0.35 with 0.15."""
    scores = {2: np.full(2, -1.0), 4: np.full(2, -1.0), 8: NOTHING}

    def scores_of(found):
        return np.array(gain) if np.array_equal(found, vectors[:, 8:]) else scores[found.shape[1]]

    found = choose_features(vectors, OUTPUTS, "auto", scores_of)
    assert len(found.parts) == count


def test_what_says_the_same_is_tried_once(vectors):
    tried = []
    choose_features(vectors, OUTPUTS, "auto", lambda found: tried.append(found.shape[1]) or NOTHING)
    assert tried == [2, 2, 4, 4, 8]  # pool, which is second, first, both with their deviation, and these together


def test_all_stages_are_joined_without_repetition_and_on_one_scale(vectors):
    choice = choose_features(vectors, OUTPUTS, "all", lambda found: NOTHING)
    assert [(part.stage, part.pooling) for part in choice.parts] == [("first", "mean+std"), ("second", "mean+std")]
    joined = made_of(vectors, OUTPUTS, choice)
    assert joined.shape == (30, 8)
    for half in (joined[:, :4], joined[:, 4:]):
        assert np.sqrt(np.mean(half.std(0) ** 2)) == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("asked", ["third", "first:std", "pool:mean+std"])
def test_a_stage_or_pooling_that_there_is_not_is_named_with_those_there_are(vectors, asked):
    with pytest.raises(SettingsError, match=r"first, first:mean\+std, second, second:mean\+std, pool, found"):
        choose_features(vectors, OUTPUTS, asked, lambda found: NOTHING)


def of_stage(backbone, examples, stop):
    """The output of the first stages, pooled by hand, (rows, channels)."""
    with torch.no_grad():
        return backbone.run(examples.contract.collate(examples.tensors), stop=stop).values.mean((2, 3)).numpy()


def test_a_probe_on_a_stage_is_one_on_its_pooled_output(backbone, examples, recipe):
    own = of_stage(backbone, examples, 2)
    head = Head(6, 3).eval()
    fit_probe(head, own, examples.manifest, balanced=False, seed=0)
    run = finetune(backbone, examples, recipe=replace(recipe, features="layer1"))
    with torch.no_grad():
        expected = head(torch.from_numpy(own)).softmax(1)
    np.testing.assert_allclose(predict_examples(run.adapter, examples, device="cpu"), expected, atol=1e-4)
    assert run.adapter.record["features"] == [{"stage": "layer1", "pooling": "mean", "scale": 1.0}]


@pytest.mark.parametrize("strategy", ["probe", "knn"])
def test_auto_is_no_worse_than_any_stage_but_for_chance(backbone, examples, recipe, strategy):
    run = finetune(backbone, examples, strategy=strategy, recipe=replace(recipe, features="auto"))
    chosen = run.adapter.graft.backbone.run(examples.contract.collate(examples.tensors)).values.numpy()
    vote = examples.manifest.task.vote

    def scores(found):
        if strategy == "probe":
            return probe_scores(found, examples.manifest, balanced=False, seed=0)
        return fit_neighbours(NeighbourHead(found.shape[1], 3, vote, len(found)), found, examples.manifest,
                              seed=0).scores  # fmt: skip

    assert scores(chosen).shape == (5,)
    found = [scores(of_stage(backbone, examples, stop)) for stop in (1, 2, 3)]
    gains = [one - scores(chosen) for one in found]
    assert all(gain.mean() <= gain.std(ddof=1) / np.sqrt(5) + 1e-4 for gain in gains)
    assert max(one.mean() for one in found) > min(one.mean() for one in found) + 0.01


@pytest.mark.parametrize("features", ["layer1", "all", "auto"])
@pytest.mark.parametrize("strategy", ["probe", "knn"])
def test_a_loaded_adapter_reads_the_same_stages(load_backbone, examples, recipe, tmp_path, strategy, features):
    run = finetune(load_backbone("tiny:net"), examples, strategy=strategy, recipe=replace(recipe, features=features))
    run.adapter.save(tmp_path)
    loaded = load_adapter(tmp_path, load_backbone)
    assert loaded.record == json.loads(json.dumps(run.adapter.record))
    np.testing.assert_array_equal(
        predict_examples(loaded, examples, device="cpu"), predict_examples(run.adapter, examples, device="cpu")
    )
    assert "| features | " in model_card(loaded.record, None, loaded.backbone.domain)


def test_adapters_of_different_stages_predict_together_what_they_do_alone(load_backbone, manifest, recipe, tmp_path):
    runs = [tmp_path / name for name in ("last", "stem", "all")]
    for run in runs:
        own = replace(recipe, features=run.name, cache=str(tmp_path / "cache"))
        finetune(load_backbone("tiny:net"), manifest, recipe=own).adapter.save(run)
    together = predict(runs, manifest.paths, load_backbone, device="cpu")
    for run in runs:
        alone = predict(run, manifest.paths, load_backbone, device="cpu")
        (column,) = [name for name in together if name.startswith(run.name) and name.endswith("probability_a")]
        np.testing.assert_allclose(together[column], alone["probability_a"], atol=1e-6)


def test_an_adapter_of_a_stage_that_is_gone_says_so(load_backbone, examples, recipe, tmp_path):
    run = finetune(load_backbone("tiny:net"), examples, recipe=replace(recipe, features="layer1"))
    run.adapter.save(tmp_path)

    def renamed(*given, **options):
        backbone = load_backbone(*given, **options)
        stages = [replace(stage, name=stage.name.replace("layer1", "block")) for stage in backbone.stages]
        return replace(backbone, stages=tuple(stages))

    with pytest.raises(AdapterError, match=r"features: tiny:net has not .*layer1"):
        load_adapter(tmp_path, renamed)


@pytest.mark.parametrize("features", ["all", "auto"])
def test_every_fold_chooses_on_its_own_training_rows(backbone, examples, recipe, tmp_path, features):
    own = replace(recipe, features=features, cache=str(tmp_path))
    found = cross_validate(backbone, examples, folds=3, recipe=own, random_split="off")
    number = examples.manifest.fold_numbers(3, 0)
    for fold in range(3):
        inside, outside = np.flatnonzero(number != fold), np.flatnonzero(number == fold)
        rows = read_examples(examples.manifest.subset(inside), backbone.contract)
        alone = finetune(backbone, rows, recipe=replace(own, views=0))
        unseen = read_examples(examples.manifest.subset(outside), backbone.contract)
        expected = predict_examples(alone.adapter, unseen, device="cpu")
        np.testing.assert_allclose(found.part.predictions[outside], expected, atol=1e-5)


def test_what_is_trained_reads_the_last_stage(backbone, examples, recipe):
    run = finetune(backbone, examples, strategy="partial:1", recipe=replace(recipe, features="auto"))
    assert "features" not in run.adapter.record
    for strategy, changes in (("partial:1", {}), ("probe", {"head": "mlp"})):
        with pytest.raises(SettingsError, match=r"--features all: .* is trained, and reads the last stage alone"):
            finetune(backbone, examples, strategy=strategy, recipe=replace(recipe, features="all", **changes))


def test_a_stage_that_there_is_not_is_refused_before_anything_is_read(backbone, manifest, recipe):
    contract = replace(backbone.contract, reads=[])
    with pytest.raises(SettingsError, match="--features: expected one of auto, last, all, stem"):
        cross_validate(replace(backbone, contract=contract), read_examples(manifest, backbone.contract), folds=3,
                       recipe=replace(recipe, features="nowhere"))  # fmt: skip
    assert contract.reads == []
