"""The header of the model card, as the Hugging Face hub reads it."""

import re

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard

from graftwork.core.domain import Domain
from graftwork.core.evaluation.evaluation import evaluate_predictions
from graftwork.core.inference.model_card import as_code, as_text, model_card

DOMAIN = Domain("imaging", "scan", (), pipeline_tags={"single-label": "image-classification"},
                hub_model=lambda backbone: backbone.removeprefix("hf:"))  # fmt: skip
STRANGE = 'a: "b" # <script>\n---\nlicense: mit'


def record(backbone="hf:facebook/dinov2-small", target="label"):
    return {
        "backbone": {"id": backbone, "weights": None, "frozen_digest": "0" * 64}, "strategy": "partial:1",
        "target": target,
        "task": "single-label", "classes": ["x", STRANGE], "parameters": {"all": 10, "trained": 2},
        "training": {"rows": 20, "groups": None}, "input": {"size": 1},
        "made_with": {"graftwork": "0.1.0", "torch": "2"},
    }  # fmt: skip


def evaluated(rows=60):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, rows)
    predictions = rng.dirichlet([1, 1], rows)
    return evaluate_predictions("single-label", ("x", "y"), truth, predictions)


def header(card):
    return yaml.safe_load(card.split("---\n")[1])


def test_the_hub_reads_the_evaluation():
    evaluation = evaluated()
    data = ModelCard(model_card(record(), evaluation, DOMAIN)).data
    assert (data.library_name, data.base_model, data.pipeline_tag) == ("graftwork", "facebook/dinov2-small",
                                                                       "image-classification")  # fmt: skip
    assert {"imaging", "single-label", "partial", "transfer-learning"} == set(data.tags)
    assert "license" not in data.to_dict()
    found = {one.metric_type: one.metric_value for one in data.eval_results}
    assert found["roc_auc"] == evaluation.metrics["auroc"].value
    assert found["accuracy"] == evaluation.metrics["accuracy"].value
    assert data.eval_results[0].task_type == "image-classification"
    assert data.eval_results[0].dataset_name == "60 rows"


def test_without_evaluation_or_kind_of_task_these_are_left_out():
    found = header(model_card(record("tiny:cnn2d"), None, Domain("own", "example", ())))
    assert found.keys() == {"library_name", "tags"}


def test_an_undefined_metric_is_left_out():
    evaluation = evaluate_predictions("single-label", ("x", "y"), np.zeros(9, int), np.full((9, 2), 0.5))
    (index,) = header(model_card(record(), evaluation, DOMAIN))["model-index"]
    names = [metric["name"] for metric in index["results"][0]["metrics"]]
    assert "auroc" not in names
    assert "brier" in names


def test_no_name_can_add_a_field():
    found = header(model_card(record(target=STRANGE), evaluated(), DOMAIN))
    assert "license" not in found
    assert found["model-index"][0]["name"].startswith(STRANGE)


def test_of_weights_from_a_file_no_base_model_is_named():
    own = record()
    own["backbone"]["weights"] = "mine.safetensors"
    assert "base_model" not in header(model_card(own, None, DOMAIN))


@pytest.mark.parametrize("name", [
    "<script>alert(1)</script>", "[x](javascript:alert(1))", "`x` | y", "a\n# b", "![i](http://x/y.png)", "```\n# z",
])  # fmt: skip
def test_no_name_is_markup_in_the_card(name):
    said = [as_text(name), as_code(name)]
    assert not any("<script" in one and not one.startswith("`") for one in said)
    assert not any(re.search(r"(?<!\\\\)\]\(|\n", one.strip("`")) for one in said if not one.startswith("`"))
    inside = [one for one in said if one.startswith("`")]
    assert all(one.count("`") == 2 and "\n" not in one for one in inside)


def test_plain_names_stay_as_they_are():
    assert (as_text("tumour grade"), as_code("timm:x_100"), as_text("a_b")) == ("tumour grade", "`timm:x_100`", r"a\_b")
