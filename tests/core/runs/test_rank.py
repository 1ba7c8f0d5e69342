"""Several backbones on one data set, against `train --strategy probe --folds` of each and a direct LogME."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from graftwork.core.data.examples import read_examples
from graftwork.core.data.tables import read_manifest
from graftwork.core.errors import BackboneError, OutputError, SettingsError
from graftwork.core.evaluation.logme import logme
from graftwork.core.model.backbone import OWN
from graftwork.core.runs.cross_validation import cross_validate
from graftwork.core.runs.probes import cross_validated_probe
from graftwork.core.runs.rank import Candidate, rank


@pytest.fixture
def own(recipe, tmp_path):
    return replace(recipe, cache=str(tmp_path / "cache"))


def candidate(load, text):
    """As the command line makes one of ID or ID=WEIGHTS."""
    id, _, weights = text.partition("=")
    return Candidate(text, partial(load, id, weights=weights or None), OWN)


def test_every_backbone_has_the_numbers_of_a_probe_trained_in_folds(own, load_backbone, table, examples, make_backbone):
    loaded = [load_backbone("tiny:net", weights=weights) for weights in (None, "3", "5")]
    found = rank(loaded, read_manifest(table), folds=3, recipe=own)
    assert (found.folds, found.unusable) == (3, ())
    scores = [one.evaluation.metrics["auroc"].value for one in found.ranked]
    assert scores == sorted(scores, reverse=True)
    for one in found.ranked:
        backbone = make_backbone(seed=int(one.weights or 0))
        trained = cross_validate(backbone, examples, folds=3, recipe=own, random_split="off").evaluation
        assert one.evaluation.metrics.keys() == trained.metrics.keys()
        for name, interval in trained.metrics.items():
            assert one.evaluation.metrics[name].value == pytest.approx(interval.value, abs=1e-4), name
        with torch.no_grad():
            vectors = backbone.network(torch.stack(examples.tensors)).numpy()
        direct = logme(vectors, examples.manifest.values, "single-label")
        assert one.logme == pytest.approx(direct, abs=1e-4)
        assert (one.feature_dim, one.evaluation.rows, one.evaluation.groups) == (8, 60, 20)


def test_a_backbone_that_cannot_be_loaded_does_not_lose_the_others(own, load_backbone, table):
    asked = []

    def refusing(id, *, weights=None):
        asked.append((id, weights))
        if id == "tiny:gone":
            raise BackboneError("no such backbone: tiny:gone")
        return load_backbone(id, weights=weights)

    manifest, gone = read_manifest(table), candidate(refusing, "tiny:gone")
    found = rank([gone, candidate(refusing, "tiny:net=1")], manifest, folds=3, recipe=own)
    assert asked == [("tiny:gone", None), ("tiny:net", "1")]
    assert [(one.backbone, one.weights) for one in found.ranked] == [("tiny:net", "1")]
    plain = found.to_json()
    assert plain["unusable"] == [{"backbone": "tiny:gone", "reason": "no such backbone: tiny:gone"}]
    assert plain["ranked"][0]["score"] == plain["ranked"][0]["metrics"]["auroc"]
    with pytest.raises(BackboneError, match="none of 1 backbones could be evaluated:\n  tiny:gone: no such backbone"):
        rank([gone], manifest, folds=3, recipe=own)


def test_rows_that_are_skipped_leave_the_folds_of_the_others_as_they_are(own, table, tmp_path, make_backbone):
    lines = table.read_text().splitlines()
    rows = [f"{table.parent}/{line}" for line in lines[1:]]
    (tmp_path / "broken.npy").write_bytes(b"no array")
    with_broken = tmp_path / "own.csv"
    with_broken.write_text("\n".join([lines[0], *rows[:20], f"{tmp_path}/broken.npy,a,p0,1,0,0", *rows[20:]]) + "\n")
    manifest = read_manifest(with_broken)
    (one,) = rank([make_backbone()], manifest, folds=3, recipe=own, skip_unreadable=True).ranked
    assert one.evaluation.rows == 60
    assert [lost.row for lost in one.left_out] == [22]
    folds = np.delete(manifest.fold_numbers(3, 0), 20)
    good = read_examples(manifest.subset(np.delete(np.arange(61), 20)), make_backbone().contract)
    with torch.no_grad():
        vectors = make_backbone().network(torch.stack(good.tensors)).numpy()
    expected = cross_validated_probe(vectors, good.manifest, folds, own)
    assert one.evaluation.metrics["brier"].value == pytest.approx(expected.metrics["brier"].value, abs=1e-5)


def test_backbones_that_are_worse_than_chance_are_named(own, load_backbone, misleading_table, caplog):
    asked = [candidate(load_backbone, text) for text in ("tiny:net", "tiny:net=3")]
    rank(asked, read_manifest(misleading_table), folds=4, recipe=own)
    said = [record.getMessage() for record in caplog.records if "worse than chance" in record.getMessage()]
    assert [one.partition(": worse")[0] for one in said] == ["tiny:net", "tiny:net=3"]


def test_folds_that_cannot_be_are_refused_before_anything_is_loaded(own, table, tmp_path):
    def load():
        raise AssertionError

    for folds, said in ((1, "--folds: expected at least 2, found 1"), (21, "groups")):
        with pytest.raises(SettingsError, match=said):
            rank([Candidate("tiny:net", load, OWN)], read_manifest(table), folds=folds, recipe=own)


def test_the_ranking_is_written_into_an_empty_folder(own, load_backbone, table, tmp_path):
    manifest, one = read_manifest(table), load_backbone("tiny:net")
    found = rank([one], manifest, folds=3, recipe=own, out=tmp_path / "ranking")
    assert json.loads((tmp_path / "ranking" / "ranking.json").read_text()) == found.to_json()
    with pytest.raises(OutputError, match="is not empty"):
        rank([one], manifest, folds=3, recipe=own, out=tmp_path / "ranking")
