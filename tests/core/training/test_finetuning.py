"""From a backbone and a manifest to what was learnt."""

import warnings
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from graftwork.core.activation_cache import activations
from graftwork.core.data.examples import read_examples
from graftwork.core.data.tables import read_manifest
from graftwork.core.errors import BackboneError, SettingsError, UnreadableError
from graftwork.core.evaluation.evaluation import point_metrics
from graftwork.core.inference.predict import predict_examples
from graftwork.core.model.strategies import parse_strategy
from graftwork.core.training.finetuning import finetune, frozen_features, new_graft
from tests.core.conftest import ArrayContract, examples_in


@pytest.fixture
def recipe(recipe):
    """Heads start at random: what is looked at here is what updates do."""
    return replace(recipe, head_start="random")


def learnt(run):
    return {name: value.detach() for name, value in run.adapter.graft.learnt().items()}


@pytest.mark.parametrize("depth", [1, 2])
def test_stages_computed_once_give_the_weights_of_stages_computed_anew(
    backbone, examples, recipe, monkeypatch, no_change, depth
):
    rows, val = examples.subset(range(45)), examples.subset(range(45, 60))
    options = {"strategy": f"partial:{depth}", "recipe": recipe}
    calls = []
    kept, original = [], activations.run_frozen_stages
    monkeypatch.setattr(
        "graftwork.core.training.finetuning.run_frozen_stages",
        lambda *a, **k: kept.append(original(*a, **k)) or kept[-1],
    )
    counted = replace(backbone, stages=(replace(backbone.stages[0], run=counting(backbone.stages[0].run, calls)),
                                        *backbone.stages[1:]))  # fmt: skip
    once = finetune(counted, rows, val, **options)
    assert sum(calls) == 60  # each row passed the first stage once
    assert [part.stage for part in kept] == [3 - depth, 3 - depth]
    anew = finetune(counted, rows, val, **options | {"recipe": replace(recipe, cache_limit="1")})
    assert kept[2:] == [None]
    monkeypatch.undo()
    changed = finetune(counted, rows, val, augment=no_change, **options | {"recipe": replace(recipe, augment="on")})
    for other in (anew, changed):
        for name, value in learnt(once).items():
            torch.testing.assert_close(value, learnt(other)[name], atol=1e-5, rtol=0)


def counting(run, calls):
    def counted(network, features):
        calls.append(examples_in(features))
        return run(network, features)

    return counted


@pytest.mark.parametrize("strategy", ["knn", "probe", "partial:1", "full"])
@pytest.mark.parametrize(("name", "value"), [
    ("stem.0.weight", float("nan")), ("layer1.1.running_var", float("nan")), ("layer10.1.weight", float("inf")),
])  # fmt: skip
def test_weights_that_are_no_numbers_are_named_before_anything_is_computed(
    make_backbone, examples, recipe, strategy, name, value
):
    backbone = make_backbone()
    backbone.network.state_dict()[name].view(-1)[0] = value
    with pytest.raises(BackboneError, match=rf"tiny:net: 1 of 18 tensors hold NaN or infinity \({name}\)"):
        finetune(backbone, examples, strategy=strategy, recipe=recipe)


def test_a_batch_that_gives_batch_norm_one_value_says_what_to_do(make_backbone, table, recipe):
    @dataclass(frozen=True)
    class Small(ArrayContract):
        def read(self, example):
            return super().read(example)[:, :4, :4]

        def blank(self):
            return torch.zeros(1, 4, 4)

    backbone = make_backbone(contract=Small())
    for batch_size, rows in ((1, 6), (2, 5)):
        examples = read_examples(read_manifest(table).subset(range(rows)), backbone.contract)
        with pytest.raises(SettingsError, match=r"a batch of 1 example gives a BatchNorm .* raise --batch-size"):
            finetune(backbone, examples, strategy="full", recipe=replace(recipe, batch_size=batch_size))


@pytest.mark.parametrize("strategy", ["probe", "partial:1", "full", "scratch"])
def test_the_backbone_is_left_as_it_was(backbone, examples, recipe, strategy):
    before = backbone.digest()
    modes = [module.training for module in backbone.network.modules()]
    asks = [parameter.requires_grad for parameter in backbone.network.parameters()]
    layouts = [value.stride() for value in backbone.network.parameters()]
    layout = replace(recipe, memory_format="channels-last", epochs=1)
    finetune(backbone, examples, strategy=strategy, recipe=layout)
    frozen_features(backbone, examples, "probe", layout)
    assert backbone.digest() == before
    assert [module.training for module in backbone.network.modules()] == modes
    assert [parameter.requires_grad for parameter in backbone.network.parameters()] == asks
    assert [value.stride() for value in backbone.network.parameters()] == layouts


@pytest.mark.parametrize("strategy", ["probe", "partial:2", "full"])
def test_classes_are_learnt(backbone, examples, recipe, strategy):
    rows, rest = examples.subset(range(42)), examples.subset(range(42, 60))
    longer = replace(recipe, epochs=12, learning_rate=0.03)
    run = finetune(backbone, rows, strategy=strategy, recipe=longer)
    found = point_metrics("single-label", rest.manifest.values, predict_examples(run.adapter, rest, device="cpu"))
    assert found["auroc"] > 0.8


@pytest.mark.parametrize("strategy", ["probe", "partial:2"])
def test_numbers_are_learnt_in_their_own_unit(backbone, make_examples, recipe, strategy):
    examples = make_examples("regression")
    rows, rest = examples.subset(range(42)), examples.subset(range(42, 60))
    run = finetune(backbone, rows, strategy=strategy, recipe=replace(recipe, epochs=15, learning_rate=0.03))
    assert (
        point_metrics("regression", rest.manifest.values, predict_examples(run.adapter, rest, device="cpu"))["r2"] > 0.3
    )


@pytest.mark.parametrize("strategy", ["probe", "partial:2"])
def test_several_labels_are_learnt(backbone, make_examples, recipe, strategy):
    examples = make_examples("multi-label")
    rows, rest = examples.subset(range(42)), examples.subset(range(42, 60))
    run = finetune(backbone, rows, strategy=strategy, recipe=replace(recipe, epochs=15, learning_rate=0.03))
    found = predict_examples(run.adapter, rest, device="cpu")
    assert found.shape == (18, 2)
    assert point_metrics("multi-label", rest.manifest.values, found)["auroc"] > 0.75


def test_a_perceptron_on_frozen_vectors_is_trained_in_epochs(backbone, examples, recipe):
    run = finetune(backbone, examples, strategy="probe", recipe=replace(recipe, head="mlp", epochs=3))
    assert len(run.history) == 3
    assert not any(name.startswith("backbone.") for name in learnt(run))


def test_vectors_computed_beforehand_give_the_same_probe(backbone, examples, recipe):
    straight = finetune(backbone, examples, strategy="probe", recipe=recipe)
    shared = finetune(backbone, frozen_features(backbone, examples, "probe", recipe), strategy="probe", recipe=recipe)
    assert all(torch.equal(value, learnt(shared)[name]) for name, value in learnt(straight).items())


def test_scratch_does_not_see_the_pretrained_weights(make_backbone, examples, recipe):
    runs = [finetune(make_backbone(seed=seed), examples, strategy="scratch", recipe=recipe) for seed in (0, 1)]
    assert all(torch.equal(value, learnt(runs[1])[name]) for name, value in learnt(runs[0]).items())
    start = new_graft(make_backbone(), examples.manifest, parse_strategy("scratch"), recipe)
    assert not torch.equal(start.network.stem[0].weight, make_backbone().network.stem[0].weight)


def test_a_regression_starts_at_the_mean_of_the_targets(backbone, make_examples, recipe):
    examples = make_examples("regression")
    head = new_graft(backbone, examples.manifest, parse_strategy("full"), recipe).head
    assert float(head.shift) == pytest.approx(np.mean(examples.manifest.values))
    assert float(head.scale) == pytest.approx(np.std(examples.manifest.values))


def test_bf16_trains_on_a_cpu(backbone, examples, recipe):
    run = finetune(backbone, examples, strategy="full", recipe=replace(recipe, precision="bf16", epochs=1))
    full = finetune(backbone, examples, strategy="full", recipe=replace(recipe, epochs=1))
    assert run.history[0]["train_loss"] == pytest.approx(full.history[0]["train_loss"], rel=0.05)
    assert run.history != full.history
    assert all(value.dtype != torch.bfloat16 for value in learnt(run).values())


def test_the_memory_format_does_not_change_what_is_learnt(make_backbone, examples, recipe):
    backbone = make_backbone(dropout=0.0)  # dropout draws in the order of the memory
    one, other = (finetune(backbone, examples, strategy="full", recipe=replace(recipe, memory_format=layout))
                  for layout in ("contiguous", "channels-last"))  # fmt: skip
    for name, value in learnt(one).items():
        torch.testing.assert_close(value, learnt(other)[name], atol=1e-4, rtol=1e-4)


def test_unreadable_files_stop_a_run_before_it_begins(backbone, manifest, recipe, tmp_path):
    (tmp_path / "bad.npy").write_bytes(b"x")
    broken = replace(manifest, examples=(str(tmp_path / "bad.npy"), *manifest.paths[1:]))
    with pytest.raises(UnreadableError, match=r"1 example cannot be used.*\n.*bad.npy"):
        finetune(backbone, broken, recipe=recipe)


@pytest.mark.gpu
@pytest.mark.parametrize("strategy", ["partial:1", "full"])
def test_a_gpu_learns_what_a_cpu_learns(make_backbone, examples, recipe, strategy):
    """fp32, fused optimiser, channels-last: the same sums in another order."""
    backbone = make_backbone(dropout=0.0)
    on = {"precision": "fp32", "memory_format": "channels-last"}
    cpu = finetune(backbone, examples, strategy=strategy, recipe=replace(recipe, **on))
    gpu = finetune(backbone, examples, strategy=strategy, recipe=replace(recipe, device="cuda", **on))
    for name, value in learnt(cpu).items():
        torch.testing.assert_close(value, learnt(gpu)[name], atol=2e-3, rtol=1e-2)
    assert all(value.device.type == "cpu" for value in learnt(gpu).values())


@pytest.mark.gpu
def test_a_gpu_trains_in_bf16_and_repeats_itself(backbone, examples, recipe):
    half = replace(recipe, device="cuda", precision="bf16", memory_format="channels-last")
    one, other = (finetune(backbone, examples, strategy="full", recipe=half) for _ in range(2))
    assert one.history == other.history
    assert all(torch.equal(value, learnt(other)[name]) for name, value in learnt(one).items())


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_updates_do_not_wait_for_the_device(make_backbone, examples, recipe, precision):
    """A run of three times as many updates an epoch waits as often: at the ends of epochs, not in between."""
    counts = []
    for rows in (24, 72):
        options = replace(recipe, device="cuda", precision=precision, batch_size=4, epochs=2)
        part = examples.subset([row % len(examples) for row in range(rows)])
        finetune(make_backbone(dropout=0.0), part, strategy="full", recipe=options)
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                finetune(make_backbone(dropout=0.0), part, strategy="full", recipe=options)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        counts.append(sum("synchroniz" in str(one.message) for one in caught))
    assert 0 < counts[1] <= counts[0]


def test_a_run_and_its_adapter_say_in_a_line_what_they_are(backbone, examples, recipe):
    run = finetune(backbone, examples, examples, strategy="partial:1", recipe=recipe)
    assert repr(run.adapter).startswith("Adapter(partial:1 on tiny:net for 'label', single-label of a, b, c; ")
    assert repr(run).startswith(f"Run({len(examples)} rows, best epoch {run.best_epoch} of 2; Adapter(partial:1")
    solved = finetune(backbone, examples, strategy="probe", recipe=recipe)
    assert repr(solved).startswith(f"Run({len(examples)} rows, solved; Adapter(probe on tiny:net")


def test_the_domain_of_a_backbone_gives_the_random_change_and_the_windows(backbone, domain, manifest, recipe, augment):
    """What the command line does by default: full fine-tuning is augmented, and long recordings are cut."""
    own = replace(recipe, epochs=1)
    given = finetune(backbone, manifest, strategy="full", recipe=own, augment=augment).adapter.graft.learnt()
    carried = finetune(replace(backbone, domain=domain), manifest, strategy="full", recipe=own).adapter.graft.learnt()
    plain = finetune(backbone, manifest, strategy="full", recipe=own).adapter.graft.learnt()
    assert all(torch.equal(value, given[name]) for name, value in carried.items())
    assert not all(torch.equal(value, plain[name]) for name, value in carried.items())
    cut = replace(domain, windows=lambda examples, contract: [[one, one] for one in examples])
    assert len(finetune(replace(backbone, domain=cut), manifest, recipe=own).rows) == 2 * len(manifest)
