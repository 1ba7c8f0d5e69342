"""An adapter on examples made worse."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from graftwork.core.errors import SettingsError
from graftwork.core.inference.predict import evaluate_part, predict_examples
from graftwork.core.runs.corruptions import corrupted_to_json, evaluate_corruptions
from graftwork.core.training.finetuning import finetune
from graftwork.core.types import Corruption


def dimmed(example, strength, generator):
    return example * (1 - strength / 3) + 0.01 * torch.from_numpy(generator.normal(size=example.shape)).float()


@pytest.fixture
def trained(backbone, domain, recipe, examples):
    own = replace(backbone, domain=replace(domain, corruptions=(Corruption("dim", dimmed),)))
    adapter = finetune(own, examples, None, strategy="probe", recipe=recipe).adapter
    return adapter, evaluate_part("test", examples.manifest, predict_examples(adapter, examples))


def test_metrics_and_paired_differences_by_strength(trained, examples):
    adapter, clean = trained
    found = evaluate_corruptions(adapter, examples, clean)
    assert [(one.name, one.strength) for one in found] == [("dim", 1), ("dim", 2), ("dim", 3)]
    auroc = clean.evaluation.metrics["auroc"].value
    for one in found:
        assert one.differences["auroc"].value == pytest.approx(one.metrics["auroc"].value - auroc)
    assert found[2].metrics["auroc"].value < auroc  # nothing is left of the image
    plain = corrupted_to_json(found)["corruptions"]["dim"]
    assert plain["3"]["metrics"]["auroc"]["value"] == found[2].metrics["auroc"].value
    assert corrupted_to_json(()) == {}


def test_files_that_do_not_fit_in_memory_are_made_worse_in_the_same_way(trained, examples):
    adapter, clean = trained
    kept, read = (evaluate_corruptions(adapter, one, clean) for one in (examples, replace(examples, tensors=None)))
    for one, other in zip(kept, read, strict=True):
        assert one.metrics == other.metrics


def test_a_file_is_changed_alike_whatever_else_is_evaluated(trained, examples):
    adapter, clean = trained
    drawn: dict[float, list[float]] = {}

    def record(example, strength, generator):
        drawn.setdefault(float(example.sum()), []).append(generator.normal())
        return example

    domain = replace(adapter.backbone.domain, corruptions=(Corruption("none", record),))
    adapter.graft.backbone = replace(adapter.backbone, domain=domain)
    for rows in (np.arange(12), np.arange(6, 18)):
        some = examples.subset(rows)
        evaluate_corruptions(adapter, some, replace(clean, manifest=some.manifest, predictions=clean.predictions[rows]))
    twice = [draws for draws in drawn.values() if len(draws) == 6]
    assert len(twice) == 6
    assert all(draws[:3] == draws[3:] and len(set(draws[:3])) == 3 for draws in twice)


def test_a_domain_without_corruptions_is_refused(trained, examples):
    adapter, clean = trained
    bare = replace(adapter.backbone, domain=replace(adapter.backbone.domain, corruptions=()))
    adapter.graft.backbone = bare
    with pytest.raises(SettingsError, match="none are known"):
        evaluate_corruptions(adapter, examples, clean)
