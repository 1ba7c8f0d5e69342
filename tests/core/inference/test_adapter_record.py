"""What an adapter's record has to hold, and of which kind."""

import json
from dataclasses import replace

import pytest
import torch

from graftwork.core.errors import AdapterError
from graftwork.core.inference.adapter import load_adapter
from graftwork.core.inference.adapter_record import FIELDS, SCHEMA, read_record
from graftwork.core.training.finetuning import finetune


@pytest.fixture
def save(load_backbone, examples, recipe, tmp_path):
    def save(strategy, weights=None, **changes):
        backbone = load_backbone("tiny:net", weights=weights)
        run = finetune(backbone, examples, strategy=strategy, recipe=replace(recipe, **changes))
        run.adapter.save(tmp_path)
        return run.adapter

    return save


def unchecked(record):
    """A record as somebody changes it who knows of the digest, or as older versions wrote it."""
    return {name: value for name, value in record.items() if name != "sha256"}


def test_a_record_without_its_parts_is_refused_by_their_names(tmp_path):
    (tmp_path / "adapter.json").write_text('{"schema": 1, "task": "single-label"}')
    with pytest.raises(AdapterError, match="there is no backbone, classes, input"):
        read_record(tmp_path)


@pytest.mark.parametrize(("changes", "named"), [
    ({"classes": "abc"}, "classes"), ({"classes": [1, 2, 3]}, "classes"), ({"task": "other"}, "task"),
    ({"training": None}, "training"), ({"backbone": {"id": 3}}, "backbone.id, backbone.options"),
    ({"input": 7}, "input"), ({"target": None}, "target"),
])  # fmt: skip
def test_a_record_of_another_kind_names_its_fields(save, load_backbone, tmp_path, changes, named):
    save("probe")
    record = unchecked(json.loads((tmp_path / "adapter.json").read_text()))
    (tmp_path / "adapter.json").write_text(json.dumps(record | changes))
    with pytest.raises(AdapterError, match=f"of another kind than expected: {named}"):
        load_adapter(tmp_path, load_backbone)


@pytest.mark.parametrize("changes", [
    {"operating_point": {"positive": 7, "threshold": 0.5, "rule": "youden", "least": None}},
    {"operating_point": {"positive": 0, "threshold": "x", "rule": "youden", "least": None}},
    {"recalibration": {"kind": "other", "temperature": 1.0, "points": []}}, {"conformal": [[[0.1], [0.5]]]},
    {"conformal": 3},
])  # fmt: skip
def test_decisions_that_no_run_wrote_are_refused_with_their_folder(save, load_backbone, tmp_path, changes):
    save("probe")
    record = unchecked(json.loads((tmp_path / "adapter.json").read_text()))
    plain = {"operating_point": None, "conformal": None,
             "recalibration": {"kind": "none", "temperature": 1.0, "points": []}}  # fmt: skip
    (tmp_path / "adapter.json").write_text(json.dumps(record | {"decisions": plain | changes}))
    with pytest.raises(AdapterError, match=f"{tmp_path}: decisions: not what this version writes"):
        load_adapter(tmp_path, load_backbone)


def test_a_recipe_without_a_seed_is_incomplete(save, load_backbone, tmp_path):
    """Random weights are drawn from it before anything else of the recipe is looked at."""
    save("probe")
    record = unchecked(json.loads((tmp_path / "adapter.json").read_text()))
    del record["training"]["recipe"]["seed"]
    (tmp_path / "adapter.json").write_text(json.dumps(record))
    with pytest.raises(AdapterError, match=r"of another kind than expected: training\.recipe\.seed: train it anew"):
        load_adapter(tmp_path, load_backbone)


@pytest.mark.parametrize("changes", [{"unknown": 1}, {"epochs": "many"}, {"epochs": -1}])
def test_a_recipe_that_this_version_does_not_know_is_an_error_of_the_adapter(save, load_backbone, tmp_path, changes):
    save("probe")
    record = unchecked(json.loads((tmp_path / "adapter.json").read_text()))
    record["training"]["recipe"] |= changes
    (tmp_path / "adapter.json").write_text(json.dumps(record))
    with pytest.raises(AdapterError, match="its recipe is not one of this version"):
        load_adapter(tmp_path, load_backbone)


def test_an_adapter_as_the_first_versions_wrote_it_predicts_the_same(save, load_backbone, examples, tmp_path):
    """Without a digest, and without what is asked of no record."""
    made = save("partial:1")
    record = json.loads((tmp_path / "adapter.json").read_text())
    old = {name: value for name, value in record.items() if name in {"schema", *FIELDS}}
    assert old.keys() < record.keys()
    (tmp_path / "adapter.json").write_text(json.dumps(old))
    found = load_adapter(tmp_path, load_backbone)
    torch.testing.assert_close(*(one.graft.learnt() for one in (found, made)))


def test_a_record_of_a_newer_version_says_to_upgrade(tmp_path):
    (tmp_path / "adapter.json").write_text(json.dumps({"schema": SCHEMA + 1}))
    with pytest.raises(AdapterError, match=f"expected schema {SCHEMA}, found {SCHEMA + 1}: .*upgrade graftwork"):
        read_record(tmp_path)
