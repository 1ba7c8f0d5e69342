"""The proof that frozen tensors did not move, and what is said when one did."""

from dataclasses import replace

import pytest
import torch

from graftwork.core.errors import FreezingError
from graftwork.core.model.freezing_proof import prove_frozen, whole_digest
from graftwork.core.model.strategies import parse_strategy
from graftwork.core.training.finetuning import finetune, new_graft


@pytest.mark.parametrize("tensor", ["stem.0.weight", "layer1.1.running_var"])
def test_a_frozen_tensor_that_moved_is_named(backbone, manifest, recipe, tensor):
    graft = new_graft(backbone, manifest, parse_strategy("partial:1"), recipe)
    before = graft.frozen_digests()
    assert prove_frozen(before, graft).before == prove_frozen(before, graft).after
    with torch.no_grad():
        graft.frozen()[f"backbone.{tensor}"].view(-1)[0] += 1e-3
    with pytest.raises(
        FreezingError, match=rf"1 frozen tensors changed during training, among them backbone\.{tensor}"
    ):
        prove_frozen(before, graft)


def test_a_run_in_which_a_frozen_tensor_moves_is_not_kept(backbone, examples, recipe, no_change):
    """The last stage writes into the first, as a careless module might."""

    def meddle(network, features):
        with torch.no_grad():
            network.stem[1].running_mean.add_(1e-3)
        return backbone.stages[2].run(network, features)

    careless = replace(
        backbone, stages=(*backbone.stages[:2], replace(backbone.stages[2], run=meddle), backbone.stages[3])
    )
    with pytest.raises(FreezingError, match=r"backbone\.stem\.1\.running_mean"):
        finetune(careless, examples, strategy="partial:1", recipe=replace(recipe, head_start="random"))


@pytest.mark.parametrize(("strategy", "frozen"), [("probe", 18), ("partial:1", 12), ("full", 0)])
def test_the_proof_counts_what_was_frozen(backbone, examples, recipe, strategy, frozen):
    proof = finetune(backbone, examples, strategy=strategy, recipe=replace(recipe, epochs=1)).proof
    assert (proof.tensors, proof.before) == (frozen, proof.after)
    if strategy == "probe":
        reference = new_graft(backbone, examples.manifest, parse_strategy("probe"), recipe)
        assert proof.before == whole_digest(reference.frozen_digests())


def test_the_whole_digest_does_not_depend_on_the_order_but_on_the_names():
    assert whole_digest({"a": "1", "b": "2"}) == whole_digest({"b": "2", "a": "1"})
    assert whole_digest({"a": "1", "b": "2"}) != whole_digest({"a": "2", "b": "1"})
