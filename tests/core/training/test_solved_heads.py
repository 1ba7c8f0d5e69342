"""Training that begins at the solved probe: where its head stands before the first update, and where there is none."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from graftwork.core.errors import SettingsError, TrainingError
from graftwork.core.inference.predict import evaluate_part, predict_examples
from graftwork.core.model.backbone import Backbone, Stage
from graftwork.core.model.graft import plan_run
from graftwork.core.model.heads import Head
from graftwork.core.model.plan import make_plan
from graftwork.core.model.strategies import STRATEGIES, parse_strategy
from graftwork.core.training import finetuning, solved_heads
from graftwork.core.training.finetuning import finetune
from graftwork.core.training.linear_probe import fit_probe
from graftwork.core.types import Features

FROM_THE_PROBE = ["lpft", "full", "partial:1", "gradual", "norm", "lora"]
"""Strategies that a tiny convolutional network carries; `layers` has a network of its own below."""


@pytest.fixture
def without_updates(monkeypatch):
    """Training makes no update: what was there before the first one is the result."""
    monkeypatch.setattr(finetuning, "train", lambda *positional, **named: ((), 1))


@pytest.mark.parametrize("strategy", FROM_THE_PROBE)
@pytest.mark.parametrize("task", ["single-label", "multi-label", "regression"])
def test_before_the_first_update_predictions_are_those_of_the_probe(
    backbone, make_examples, recipe, without_updates, strategy, task
):
    examples = make_examples(task)
    probe = predict_examples(
        finetune(backbone, examples, strategy="probe", recipe=recipe).adapter, examples, device="cpu"
    )
    begun = finetune(backbone, examples, strategy=strategy, recipe=replace(recipe, head_start="probe"))
    found = predict_examples(begun.adapter, examples, device="cpu")
    assert np.ptp(probe) > 0.1
    np.testing.assert_allclose(found, probe, atol=1e-6 * max(1.0, np.abs(probe).max()))


def test_the_probe_that_training_begins_at_has_the_recipes_class_weights(backbone, examples, recipe, without_updates):
    rows = examples.subset([row for row in range(60) if row % 3 != 2 or row < 12])
    found = {}
    for weights in ("none", "balanced"):
        own = replace(recipe, class_weights=weights)
        for strategy in ("probe", "lpft"):
            run = finetune(backbone, rows, strategy=strategy, recipe=own)
            found[strategy, weights] = predict_examples(run.adapter, rows, device="cpu")
        np.testing.assert_allclose(found["lpft", weights], found["probe", weights], atol=1e-6)
    assert np.abs(found["lpft", "none"] - found["lpft", "balanced"]).max() > 0.01


def test_the_probe_is_solved_on_rows_that_nothing_has_changed(backbone, examples, recipe, augment, without_updates):
    heads = [
        finetune(backbone, examples, strategy="lpft", recipe=replace(recipe, augment=on), augment=augment).adapter.graft
        for on in ("off", "on")
    ]
    torch.testing.assert_close(heads[0].head.state_dict(), heads[1].head.state_dict(), atol=0, rtol=0)


def test_a_number_is_still_learnt_in_units_of_its_deviation(backbone, make_examples, recipe, without_updates):
    examples = make_examples("regression")
    head = finetune(backbone, examples, strategy="lpft", recipe=recipe).adapter.graft.head
    values = np.asarray(examples.manifest.values)
    assert head.get_buffer("shift").item() == pytest.approx(values.mean(), rel=1e-6)
    assert head.get_buffer("scale").item() == pytest.approx(values.std(), rel=1e-6)


def sequences():
    """Three layers over the rows of an array (1, 8, 8), and their mean."""
    torch.manual_seed(3)
    network = nn.ModuleDict({name: nn.Linear(8, 8) for name in ("one", "two")})

    def layer(name):
        return Stage(name, lambda net, features: Features(torch.tanh(net[name](features.values))), (name,))

    rows = Stage("rows", lambda net, features: Features(features.values.squeeze(1)))
    pool = Stage("pool", lambda net, features: Features(features.values.mean(1)))
    return network.eval(), (rows, layer("one"), layer("two"), pool)


def test_layers_begin_at_the_probe_on_the_mean_of_the_normalised_layers(examples, recipe, without_updates):
    network, stages = sequences()
    backbone = Backbone("tiny:rows", network, stages, examples.contract, 8)
    begun = finetune(backbone, examples, strategy="layers:4", recipe=replace(recipe, head_start="probe"))
    with torch.no_grad():
        first = torch.stack([examples.tensor(row) for row in range(60)]).squeeze(1)
        second = torch.tanh(network["one"](first))
        outputs = [F.layer_norm(one, (8,)) for one in (first, second, torch.tanh(network["two"](second)))]
    expected = Head(8, 3)
    fit_probe(expected, torch.stack(outputs).mean(0).mean(1).numpy(), examples.manifest, balanced=False, seed=0)
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(begun.adapter.graft.head.state_dict()[name], value, atol=2e-4, rtol=1e-3)


def test_lpft_is_full_that_begins_at_the_probe_as_full_does_unless_told_otherwise(backbone, examples, recipe):
    rows, val = examples.subset(range(45)), examples.subset(range(45, 60))
    learnt = {}
    for name, strategy, start in (("lpft", "lpft", "auto"), ("probe", "full", "probe"), ("auto", "full", "auto"),
                                  ("random", "full", "random")):  # fmt: skip
        run = finetune(backbone, rows, val, strategy=strategy, recipe=replace(recipe, head_start=start))
        learnt[name] = run.adapter.graft.learnt()
    for one, other in (("lpft", "probe"), ("auto", "probe")):
        assert all(torch.equal(value, learnt[other][name]) for name, value in learnt[one].items())
    assert not torch.equal(learnt["lpft"]["head.centre"], learnt["random"]["head.centre"])


@pytest.mark.parametrize("strategy", ["lpft", "lora", "partial:1"])
def test_the_probe_is_kept_where_no_epoch_is_better_on_the_validation_part(backbone, examples, recipe, strategy):
    rows, val = examples.subset(range(45)), examples.subset(range(45, 60))
    wild = replace(recipe, head_start="auto" if strategy == "lpft" else "probe", learning_rate=30.0, epochs=2)
    run = finetune(backbone, rows, val, strategy=strategy, recipe=wild)
    probe = finetune(backbone, rows, strategy="probe", recipe=recipe).adapter
    first, *epochs = run.history
    expected = evaluate_part("val", val.manifest, predict_examples(probe, val)).evaluation.metrics["auroc"].value
    assert (first["epoch"], first["train_loss"], first["val_auroc"]) == (0, None, pytest.approx(expected))
    assert all(row["val_auroc"] <= expected for row in epochs)
    assert run.best_epoch == 0
    np.testing.assert_allclose(predict_examples(run.adapter, val), predict_examples(probe, val), atol=1e-5)


def test_a_better_epoch_is_taken_and_without_a_validation_part_the_last(backbone, examples, recipe):
    rows, val = examples.subset(range(45)), examples.subset(range(45, 60))
    run = finetune(backbone, rows, val, strategy="lpft", recipe=replace(recipe, epochs=3))
    found = [row["val_auroc"] for row in run.history]
    assert len(found) == 4
    assert found[run.best_epoch] == max(found)
    alone = finetune(backbone, rows, strategy="lpft", recipe=replace(recipe, epochs=2))
    assert ([row["epoch"] for row in alone.history], alone.best_epoch) == ([1, 2], 2)


def test_no_epoch_at_all_is_the_probe_and_refused_where_nothing_is_solved(backbone, examples, recipe):
    none = replace(recipe, epochs=0)
    run = finetune(backbone, examples, strategy="lpft", recipe=none)
    probe = finetune(backbone, examples, strategy="probe", recipe=recipe).adapter
    assert (run.history, run.best_epoch) == ((), 0)
    assert "no epoch" in repr(run)
    np.testing.assert_allclose(predict_examples(run.adapter, examples), predict_examples(probe, examples), atol=1e-5)
    with pytest.raises(SettingsError, match="--epochs 0: full learns nothing"):
        finetune(backbone, examples, strategy="full", recipe=replace(none, head_start="random"))


def test_where_vectors_cannot_be_kept_the_head_starts_at_random_unless_somebody_asked(
    backbone, examples, recipe, monkeypatch, caplog
):
    rows, val = examples.subset(range(45)), examples.subset(range(45, 60))
    random = finetune(backbone, rows, val, strategy="full", recipe=replace(recipe, head_start="random"))
    monkeypatch.setattr(solved_heads, "run_frozen_stages", lambda *positional, **named: None)
    run = finetune(backbone, rows, val, strategy="full", recipe=recipe)
    assert "the head starts at random" in caplog.text
    learnt = random.adapter.graft.learnt()
    assert all(torch.equal(value, learnt[name]) for name, value in run.adapter.graft.learnt().items())
    for strategy, start in (("lpft", "auto"), ("full", "probe")):
        with pytest.raises(TrainingError, match="cannot be kept"):
            finetune(backbone, rows, val, strategy=strategy, recipe=replace(recipe, head_start=start))


class PowerCutError(Exception):
    """The power goes out."""


def test_a_resumed_run_takes_its_head_from_the_checkpoint(backbone, examples, recipe, tmp_path, monkeypatch):
    options = {"strategy": "lpft", "recipe": replace(recipe, epochs=3)}
    rows, val = examples.subset(range(45)), examples.subset(range(45, 60))
    whole = finetune(backbone, rows, val, **options).adapter.graft.learnt()

    def stop(row):
        if row["epoch"] == 2:
            raise PowerCutError

    with pytest.raises(PowerCutError):
        finetune(backbone, rows, val, checkpoints=tmp_path, on_epoch=stop, **options)
    monkeypatch.setattr(solved_heads, "fit_probe", None)  # not solved again
    resumed = finetune(backbone, rows, val, checkpoints=tmp_path, resume=True, **options).adapter.graft.learnt()
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


@pytest.mark.parametrize(
    ("strategy", "changes", "said"),
    [
        ("full", {"head_start": "probe", "head": "mlp"}, "full: the head cannot start at the probe: a head mlp has no"),
        ("lora", {"head_start": "probe", "head": "aam"}, "a head aam has no exact solution; use --head-start random"),
        ("lpft", {"head": "mlp"}, "lpft: .* a head mlp has no exact solution; use --head-start random with full"),
        ("lpft", {"head_start": "random"}, "lpft: its head starts at probe; leave --head-start random out"),
        ("scratch", {"head_start": "probe"}, "scratch: its head starts at random; leave --head-start probe out"),
    ],
)
def test_a_start_that_there_is_not_is_refused(backbone, manifest, recipe, strategy, changes, said):
    with pytest.raises(SettingsError, match=said):
        plan_run(backbone, parse_strategy(strategy), replace(recipe, **changes), manifest)


def test_a_tensor_that_has_to_be_learnt_first_leaves_nothing_to_solve_a_head_on(backbone, manifest, recipe):
    fresh = replace(backbone, new_parameters=("layer10.0.weight",))
    with pytest.raises(SettingsError, match=r"layer10\.0\.weight of tiny:net has to be learnt before"):
        plan_run(fresh, parse_strategy("full"), replace(recipe, head_start="probe"), manifest)
    assert plan_run(fresh, parse_strategy("full"), recipe, manifest).head_start == "random"


def test_text_and_masks_have_no_head_that_is_solved(backbone):
    for head, solvable in ((Head(8, 3), False), (nn.Conv2d(8, 3, 1), True)):
        with pytest.raises(SettingsError, match="only a linear head for labels or numbers has an exact solution"):
            make_plan(parse_strategy("lpft"), backbone, head, solvable=solvable)
        assert make_plan(parse_strategy("full"), backbone, head, solvable=solvable).head_start == "random"


def test_only_gradient_training_has_a_start(backbone, manifest, recipe):
    asked = replace(recipe, head_start="probe")
    for record in STRATEGIES.values():
        if record.name in ("layers", "scratch"):
            continue
        plan = plan_run(backbone, parse_strategy(record.example), asked, manifest)
        assert plan.head_start == ("probe" if plan.solver == "gradient" else "random")
