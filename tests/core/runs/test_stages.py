"""Probes at every stage against probes on outputs that are computed stage by stage."""

from collections import Counter
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from graftwork.core.activation_cache.key import frozen_stage_keys
from graftwork.core.compute.runtime import start_runtime
from graftwork.core.data.tables import read_manifest
from graftwork.core.evaluation.evaluation import evaluate_predictions, point_metrics, worse_than_chance
from graftwork.core.model.backbone import Stage
from graftwork.core.model.heads import Head
from graftwork.core.model.stage_outputs import with_every_stage
from graftwork.core.runs import stages as subject
from graftwork.core.runs.probes import cross_validated_probe
from graftwork.core.runs.stages import probe_stages, stages
from graftwork.core.tasks import find_task
from graftwork.core.training.linear_probe import fit_probe
from graftwork.core.types import Features
from tests.core.conftest import examples_in


@pytest.fixture
def own_recipe(recipe, tmp_path):
    return replace(recipe, cache=str(tmp_path / "cache"), memory_format="contiguous")


def outputs_of(backbone, examples):
    """The output of every stage, pooled by hand, (rows, channels) each."""
    features, found = examples.contract.collate(examples.tensors), []
    with torch.no_grad():
        for stage in backbone.stages:
            features = stage.run(backbone.network, features)
            values = features.values
            found.append((values if values.dim() == 2 else values.mean((2, 3))).numpy())
    return found


@pytest.mark.parametrize("task", ["single-label", "multi-label", "regression"])
def test_every_stage_has_the_score_of_a_probe_cross_validated_by_hand(backbone, make_examples, own_recipe, task):
    examples = make_examples(task)
    manifest = examples.manifest
    folds = manifest.fold_numbers(3, 0)
    scores = probe_stages(backbone, examples, folds, own_recipe)
    assert [(score.name, score.width) for score in scores] == [("stem", 4), ("layer1", 6), ("layer10", 8), ("pool", 8)]
    for score, vectors in zip(scores, outputs_of(backbone, examples), strict=True):
        width = 1 if task == "regression" else len(manifest.classes)
        outputs = torch.zeros(len(manifest), width)
        for fold in range(3):
            head = Head(vectors.shape[1], width).eval()
            fit_probe(head, vectors[folds != fold], manifest.subset(folds != fold), balanced=False, seed=0)
            outputs[folds == fold] = head(torch.from_numpy(vectors[folds == fold])).detach()
        predictions = find_task(task).predictions(outputs)
        by_fold = [
            point_metrics(task, manifest.values[own], predictions[own]) for own in (folds == k for k in range(3))
        ]
        for name, value in point_metrics(task, manifest.values, predictions).items():
            if name.startswith(("auroc", "average_precision")):  # rankings are of each fold
                value = np.mean([one[name] for one in by_fold])
            assert score.evaluation.metrics[name].value == pytest.approx(value, abs=1e-3), name
        assert score.evaluation.groups == 20


CALLS = Counter()
"""Not bound by the stages that add to it: what they bind is part of their key."""


def counting(stage, network, features):
    CALLS[stage.name] += examples_in(features)
    return stage.run(network, features)


def test_every_example_runs_through_every_stage_once(backbone, examples, own_recipe):
    CALLS.clear()
    stages = tuple(replace(stage, run=partial(counting, stage)) for stage in backbone.stages)
    counted, folds = replace(backbone, stages=stages), examples.manifest.fold_numbers(3, 0)
    once = probe_stages(counted, examples, folds, own_recipe)
    assert dict.fromkeys(("stem", "layer1", "layer10", "pool"), 60) == CALLS
    again = probe_stages(counted, examples, folds, own_recipe)
    assert dict.fromkeys(("stem", "layer1", "layer10", "pool"), 60) == CALLS
    assert [one.evaluation.metrics for one in again] == [one.evaluation.metrics for one in once]


def key_of(backbone, recipe):
    derived, _ = with_every_stage(backbone)
    return frozen_stage_keys(derived, len(derived.stages), start_runtime(recipe), recipe, None)[-1]


def test_backbones_with_other_stages_are_kept_apart(backbone, make_backbone, own_recipe):
    stem, layer1, *rest = backbone.stages
    renamed = replace(backbone, stages=(replace(stem, name="root"), layer1, *rest))
    both = Stage("both", lambda network, f: layer1.run(network, stem.run(network, f)), ("stem", "layer1"))
    joined = replace(backbone, stages=(both, *rest))
    doubled = Stage("stem", lambda network, f: Features(2 * network.stem(f.values)), ("stem",))
    last = replace(backbone, stages=(replace(stem, channel_axis=-1), layer1, *rest))
    others = [renamed, joined, replace(backbone, stages=(doubled, layer1, *rest)), last, make_backbone(seed=1)]
    keys = [key_of(one, own_recipe) for one in [backbone, *others]]
    assert len(set(keys)) == len(keys)
    assert key_of(make_backbone(), own_recipe) == keys[0]


@pytest.mark.long(reason="four seconds")
def test_what_was_found_is_written_and_equal_commands_give_equal_bytes(load_backbone, table, own_recipe, tmp_path):
    backbone, manifest = load_backbone("tiny:net"), read_manifest(table)
    for name in ("one", "two"):
        depth = stages(backbone, manifest, folds=3, recipe=own_recipe, out=tmp_path / name)
    for name in ("stages.json", "stages.png"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert depth.to_json()["score"] == "auroc"
    assert np.isfinite([stage["metrics"]["auroc"]["low"] for stage in depth.to_json()["stages"]]).all()


def test_stages_that_are_worse_than_chance_are_named_once(
    load_backbone, own_recipe, misleading_table, caplog, monkeypatch
):
    def with_a_good_first(*arguments):
        first, *rest = probe_stages(*arguments)
        truth = np.tile([0, 1], 6)
        return (replace(first, evaluation=evaluate_predictions("single-label", "ab", truth, np.eye(2)[truth])), *rest)

    monkeypatch.setattr(subject, "probe_stages", with_a_good_first)
    depth = stages(load_backbone("tiny:net"), read_manifest(misleading_table), folds=4, recipe=own_recipe)
    named = [stage.name for stage in depth.stages if worse_than_chance(stage.evaluation.metrics["auroc"], 4)]
    assert 1 < len(named) < len(depth.stages)
    (said,) = [record.getMessage() for record in caplog.records if "worse than chance" in record.getMessage()]
    assert said.startswith(f"{', '.join(named)}: worse than chance: auroc is 0.")


def test_sequences_are_scored_with_their_deviation_too(backbone, examples, own_recipe):
    """Lines of a picture as steps of a sequence."""
    rows = Stage("rows", lambda network, f: Features(f.values.flatten(1, 2)))
    mean = Stage("pool", lambda network, f: Features(f.values.mean(1)))
    network, folds = torch.nn.Identity(), examples.manifest.fold_numbers(3, 0)
    sequence = replace(backbone, network=network, stages=(rows, mean), feature_dim=8, build=None)
    scores = probe_stages(sequence, examples, folds, own_recipe)
    assert [(score.name, score.width) for score in scores] == [("rows", 8), ("rows:mean+std", 16), ("pool", 8)]
    values = torch.stack(list(examples.tensors))[:, 0]
    both = torch.cat([values.mean(1), values.std(1, correction=0)], dim=1).numpy()
    by_hand = cross_validated_probe(both, examples.manifest, folds, own_recipe)
    assert scores[1].evaluation.metrics["brier"].value == pytest.approx(by_hand.metrics["brier"].value, abs=1e-4)
    assert scores[0].evaluation.metrics["brier"].value != pytest.approx(by_hand.metrics["brier"].value, abs=1e-3)
