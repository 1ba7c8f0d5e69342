"""What an adapter says of examples: in the precision that it was trained in."""

from dataclasses import replace

import pytest

from graftwork.core.compute.runtime import start_runtime
from graftwork.core.inference import predict as subject
from graftwork.core.inference.adapter_record import prediction_recipe
from graftwork.core.inference.predict import predict_examples
from graftwork.core.training.finetuning import finetune


@pytest.mark.parametrize(("trained", "asked"), [("fp32", "fp32"), ("auto", "auto"), ("bf16", "auto")])
def test_an_adapter_that_was_trained_in_single_precision_predicts_in_it(
    backbone, examples, recipe, monkeypatch, trained, asked
):
    """Elsewhere a GPU would predict in half precision what was trained in single."""
    run = finetune(backbone, examples, strategy="probe", recipe=replace(recipe, precision=trained))
    started = []
    monkeypatch.setattr(subject, "start_runtime", lambda given: started.append(given.precision) or start_runtime(given))
    predict_examples(run.adapter, examples, device="cpu")
    assert started == [asked]
    other = {"training": {"recipe": {"precision": "auto"}}}
    assert prediction_recipe([other, run.adapter.record], "cpu", 4).precision == asked
