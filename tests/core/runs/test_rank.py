"""Several backbones on one data set, against `train --strategy probe --folds` of each and a direct LogME."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from graftwork.core.data.examples import read_examples
from graftwork.core.data.tables import read_manifest
from graftwork.core.errors import BackboneError, SettingsError
from graftwork.core.evaluation.logme import logme
from graftwork.core.model.strategies import parse_strategy
from graftwork.core.runs.experiment import Experiment, cross_validate
from graftwork.core.runs.inspection import Inspection
from graftwork.core.runs.rank import rank_backbones, split_weights


@pytest.fixture
def inspection(domain, table, recipe, tmp_path):
    own = replace(recipe, cache=str(tmp_path / "cache"))
    return Inspection(domain, str(table), 3, None, None, None, False, {"size": 8, "unset": None}, own)


def test_every_backbone_has_the_numbers_of_a_probe_trained_in_folds(
    inspection, examples, make_backbone, tmp_path, augment
):
    found = rank_backbones(inspection, [("tiny:net", None), ("tiny:net", "3"), ("tiny:net", "5")])
    assert (found.folds, found.unusable) == (3, ())
    scores = [one.evaluation.metrics["auroc"].value for one in found.ranked]
    assert scores == sorted(scores, reverse=True)
    for one in found.ranked:
        backbone = make_backbone(seed=int(one.weights or 0))
        experiment = Experiment(backbone, parse_strategy("probe"), inspection.recipe, augment, tmp_path / "run", False)
        trained = cross_validate(experiment, examples, 3, 0.2).judged[-1].evaluation
        assert one.evaluation.metrics.keys() == trained.metrics.keys()
        for name, interval in trained.metrics.items():
            assert one.evaluation.metrics[name].value == pytest.approx(interval.value, abs=1e-4), name
        with torch.no_grad():
            vectors = backbone.network(torch.stack(examples.tensors)).numpy()
        direct = logme(vectors, examples.manifest.values, "single-label")
        assert one.logme == pytest.approx(direct, abs=1e-4)
        assert (one.feature_dim, one.evaluation.rows, one.evaluation.groups) == (8, 60, 20)


def refusing(load, asked, id, *, weights=None, **options):
    asked.append((id, weights, options))
    if id == "tiny:gone":
        raise BackboneError("no such backbone: tiny:gone")
    return load(id, weights=weights, **options)


def test_a_backbone_that_cannot_be_loaded_does_not_lose_the_others(inspection):
    asked = []
    load = partial(refusing, inspection.domain.load_backbone, asked)
    inspection = replace(inspection, domain=replace(inspection.domain, load_backbone=load))
    found = rank_backbones(inspection, [("tiny:gone", None), ("tiny:net", "1")])
    assert asked == [("tiny:gone", None, {"size": 8}), ("tiny:net", "1", {"size": 8})]
    assert [(one.backbone, one.weights) for one in found.ranked] == [("tiny:net", "1")]
    plain = found.to_json()
    assert plain["unusable"] == [{"backbone": "tiny:gone", "weights": None, "reason": "no such backbone: tiny:gone"}]
    assert plain["ranked"][0]["score"] == plain["ranked"][0]["metrics"]["auroc"]
    with pytest.raises(BackboneError, match="none of 1 backbones could be judged:\n  tiny:gone: no such backbone"):
        rank_backbones(inspection, [("tiny:gone", None)])


def test_rows_that_are_skipped_leave_the_folds_of_the_others_as_they_are(inspection, table, tmp_path, make_backbone):
    lines = table.read_text().splitlines()
    rows = [f"{table.parent}/{line}" for line in lines[1:]]
    (tmp_path / "broken.npy").write_bytes(b"no array")
    own = tmp_path / "own.csv"
    own.write_text("\n".join([lines[0], *rows[:20], f"{tmp_path}/broken.npy,a,p0,1,0,0", *rows[20:]]) + "\n")
    found = rank_backbones(replace(inspection, manifest=str(own), skip_unreadable=True), [("tiny:net", None)])
    (one,) = found.ranked
    assert one.evaluation.rows == 60
    assert [lost.row for lost in one.left_out] == [22]
    manifest = read_manifest(own)
    folds = np.delete(manifest.fold_numbers(3, 0), 20)
    from graftwork.core.runs.inspection import cross_validated_probe

    good = read_examples(manifest.subset(np.delete(np.arange(61), 20)), make_backbone().contract)
    with torch.no_grad():
        vectors = make_backbone().network(torch.stack(good.tensors)).numpy()
    expected = cross_validated_probe(vectors, good.manifest, folds, inspection.recipe)
    assert one.evaluation.metrics["brier"].value == pytest.approx(expected.metrics["brier"].value, abs=1e-5)


def test_backbones_that_are_worse_than_chance_are_named(inspection, misleading_table, caplog):
    asked = replace(inspection, manifest=str(misleading_table), folds=4)
    rank_backbones(asked, [("tiny:net", None), ("tiny:net", "3")])
    said = [record.getMessage() for record in caplog.records if "worse than chance" in record.getMessage()]
    assert [one.partition(": worse")[0] for one in said] == ["tiny:net", "tiny:net=3"]


def test_folds_that_cannot_be_are_refused_before_anything_is_loaded(inspection):
    with pytest.raises(SettingsError, match="--folds: expected at least 2, found 1"):
        rank_backbones(replace(inspection, folds=1), [("tiny:net", None)])
    with pytest.raises(SettingsError):
        rank_backbones(replace(inspection, folds=21), [("tiny:net", None)])


def test_weights_follow_the_first_equals_sign():
    assert split_weights("timm:resnet18") == ("timm:resnet18", None)
    assert split_weights("timm:resnet18=a/b=c.pth") == ("timm:resnet18", "a/b=c.pth")
