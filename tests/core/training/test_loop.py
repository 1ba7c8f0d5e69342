"""The gradient loop against one written by hand; interruption, repetition, early stopping."""

from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from graftwork.core.compute.determinism import Determinism
from graftwork.core.compute.preemption import EndRequest, PreemptedError, listening_to
from graftwork.core.compute.runtime import Runtime, start_runtime
from graftwork.core.data.batches import epoch_batches
from graftwork.core.data.examples import read_examples
from graftwork.core.errors import TrainingError
from graftwork.core.model.backbone import Backbone, Stage
from graftwork.core.model.strategies import parse_strategy
from graftwork.core.recipe import Recipe
from graftwork.core.tasks import find_task
from graftwork.core.training import gradients, loop
from graftwork.core.training.checkpoint import NAME
from graftwork.core.training.finetuning import finetune, new_graft
from graftwork.core.training.optimiser import rate_factor
from graftwork.core.types import Features
from tests.core.training.conftest import PowerCutError


@pytest.fixture
def recipe(recipe):
    """Heads start at random: what is looked at here is what updates do."""
    return replace(recipe, head_start="random")


def learnt(run):
    return {name: value.detach() for name, value in run.adapter.graft.learnt().items()}


def equal_bytes(one, other):
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def close(one, other, atol):
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], atol=atol, rtol=0, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_a_loop_written_by_hand_gives_the_same_weights(make_backbone, examples, weights):
    backbone = make_backbone(dropout=0.0)
    recipe = Recipe(epochs=3, batch_size=8, learning_rate=0.01, weight_decay=0.1, warmup=0.2, clip_norm=0.5,
                    class_weights=weights, device="cpu", memory_format="contiguous", workers=0,
                    head_start="random")  # fmt: skip
    rows = examples.subset(range(50))
    run = finetune(backbone, rows, strategy="full", recipe=recipe)

    start = new_graft(backbone, rows.manifest, parse_strategy("full"), recipe)
    model = nn.Sequential(start.network, start.head).train()
    data, labels = torch.stack(rows.tensors), torch.as_tensor(rows.manifest.values)
    counts = torch.bincount(labels, minlength=3)
    factor = len(labels) / (3 * counts.double()) if weights == "balanced" else torch.ones(3, dtype=torch.float64)
    groups = [
        {
            "params": [p for p in part.parameters() if (p.dim() > 1) == decays],
            "weight_decay": 0.1 * decays,
            "share": share,
        }
        for part, share in ((start.head, 1.0), (start.network, 0.1))
        for decays in (True, False)
    ]
    optimiser = torch.optim.AdamW(groups, lr=0.01)
    update, updates = 0, 3 * 7
    for epoch in range(3):
        for batch in epoch_batches(rows, recipe, epoch):
            loss = nn.functional.cross_entropy(model(data[batch]), labels[batch], weight=factor.float())
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            for group in optimiser.param_groups:
                group["lr"] = 0.01 * group["share"] * rate_factor(update, updates, 0.2)
            optimiser.step()
            update += 1
    close(learnt(run), {name: value.detach() for name, value in start.learnt().items()}, 1e-6)


def test_two_passes_an_update_equal_one_of_twice_the_rows(make_backbone, examples, recipe):
    """Also where rows weigh unequally: an update is a mean over all its rows."""
    backbone = make_backbone(norm=False, dropout=0.0)
    rows = examples.subset(range(32))
    rows = replace(rows, manifest=replace(rows.manifest, values=np.minimum(rows.manifest.values, np.arange(32) % 7)))
    options = replace(recipe, class_weights="balanced", clip_norm=0.0)
    whole = finetune(backbone, rows, strategy="full", recipe=replace(options, batch_size=16))
    halves = finetune(backbone, rows, strategy="full", recipe=replace(options, batch_size=8, accumulate=2))
    close(learnt(whole), learnt(halves), 1e-6)
    untrained = new_graft(backbone, rows.manifest, parse_strategy("full"), recipe).learnt()
    assert not equal_bytes(learnt(whole), untrained)


def test_every_row_is_changed_anew_in_every_epoch(backbone, examples, recipe):
    drawn = []

    def note(example, generator):
        drawn.append(float(generator.normal()))
        return example

    finetune(backbone, examples, strategy="full", recipe=recipe, augment=note)
    assert len(set(drawn)) == len(drawn) == 2 * 60
    finetune(backbone, examples, strategy="full", recipe=replace(recipe, augment="off"), augment=note)
    finetune(backbone, examples, strategy="partial:1", recipe=recipe, augment=note)
    assert len(drawn) == 2 * 60


@pytest.mark.parametrize("strategy", ["partial:1", "full"])
def test_the_same_seed_gives_the_same_bytes_and_another_does_not(backbone, examples, recipe, augment, strategy):
    runs = [
        finetune(backbone, examples, strategy=strategy, recipe=replace(recipe, seed=seed, dropout=0.3), augment=augment)
        for seed in (0, 0, 1)
    ]
    assert equal_bytes(learnt(runs[0]), learnt(runs[1]))
    assert not equal_bytes(learnt(runs[0]), learnt(runs[2]))
    assert runs[0].history == runs[1].history


def test_the_course_says_every_epoch(backbone, examples, recipe):
    told = []
    run = finetune(backbone, examples.subset(range(40)), examples.subset(range(40, 60)), strategy="partial:1",
                   recipe=recipe, on_epoch=told.append)  # fmt: skip
    assert tuple(told) == run.history
    assert [row["epoch"] for row in run.history] == [1, 2]
    assert list(run.history[0]) == ["epoch", "learning_rate", "train_loss", "val_loss", "val_auroc"]
    assert 0 <= run.history[0]["val_auroc"] <= 1


def test_the_loss_of_the_course_is_the_mean_over_the_rows(make_backbone, examples, recipe):
    backbone = make_backbone(norm=False, dropout=0.0)
    still = replace(recipe, epochs=1, learning_rate=1e-12, batch_size=7)
    run = finetune(backbone, examples, examples, strategy="full", recipe=still)
    assert run.history[0]["train_loss"] == pytest.approx(run.history[0]["val_loss"], rel=1e-5)


def test_the_bar_shows_the_mean_of_the_losses_that_are_known_and_none_before(
    make_backbone, examples, recipe, monkeypatch
):
    notes = []

    @contextmanager
    def noted(description, total):
        yield lambda steps, note: notes.append(note)

    monkeypatch.setattr(loop, "progress", noted)
    still = replace(recipe, epochs=1, learning_rate=1e-12, batch_size=20)
    run = finetune(make_backbone(norm=False, dropout=0.0), examples.subset(list(range(20)) * 3), strategy="full",
                   recipe=still)  # fmt: skip
    shown = [float(note.removeprefix("loss ")) for note in notes if note]
    assert notes[:2] == ["", ""]  # where the epoch begins, and behind the first batch
    assert len(shown) == 2
    assert shown == pytest.approx([run.history[0]["train_loss"]] * 2, rel=0.2)


@pytest.fixture
def stalling(backbone, examples, recipe):
    """A run whose validation soon gets no better, because its labels are shuffled."""
    rows, val = examples.subset(range(30)), examples.subset(range(30, 60))
    shuffled = np.random.default_rng(0).permutation(rows.manifest.values)
    rows = replace(rows, manifest=replace(rows.manifest, values=shuffled))
    longer = replace(recipe, epochs=25, patience=3, learning_rate=0.02)

    def go(**options):
        return finetune(backbone, rows, val, strategy="partial:1", recipe=longer, **options)

    return go, val


def test_training_stops_when_validation_stalls_and_keeps_the_best_weights(stalling):
    go, val = stalling
    run = go()
    keys = [(row["val_auroc"], -row["val_loss"]) for row in run.history]
    assert run.best_epoch == keys.index(max(keys)) + 1
    assert len(run.history) == run.best_epoch + 3 < 25
    with torch.no_grad():
        outputs = run.adapter.graft(val.contract.collate(val.tensors))
    loss = float(nn.functional.cross_entropy(outputs, torch.as_tensor(val.manifest.values)))
    assert loss == pytest.approx(run.history[run.best_epoch - 1]["val_loss"], rel=1e-5)
    assert loss != pytest.approx(run.history[-1]["val_loss"], rel=1e-3)


def test_the_best_weights_survive_an_interruption_after_them(stalling, tmp_path, interrupt):
    go, _ = stalling
    whole = go()
    with pytest.raises(PowerCutError):
        go(checkpoints=tmp_path, on_epoch=interrupt(whole.best_epoch + 2))
    resumed = go(checkpoints=tmp_path, resume=True)
    assert equal_bytes(learnt(whole), learnt(resumed))
    assert resumed.history == whole.history


CASES = {
    "plain": ("full", {}),
    "partial, dropout": ("partial:1", {"dropout": 0.4}),
    "accumulating": ("full", {"accumulate": 3, "dropout": 0.2}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_run_resumed_after_an_epoch_ends_with_the_same_bytes(
    backbone, examples, recipe, augment, tmp_path, interrupt, case
):
    strategy, changes = CASES[case]
    options = {"strategy": strategy, "recipe": replace(recipe, epochs=4, **changes), "augment": augment}
    rows, val = examples.subset(range(45)), examples.subset(range(45, 60))
    whole = finetune(backbone, rows, val, **options)
    with pytest.raises(PowerCutError):
        finetune(backbone, rows, val, checkpoints=tmp_path, on_epoch=interrupt(3), **options)
    told = []
    resumed = finetune(backbone, rows, val, checkpoints=tmp_path, resume=True, on_epoch=told.append, **options)
    assert [row["epoch"] for row in told] == [3, 4]  # interrupted before the third epoch was kept
    assert equal_bytes(learnt(whole), learnt(resumed))
    assert (whole.history, whole.best_epoch) == (resumed.history, resumed.best_epoch)
    assert not (tmp_path / NAME).exists()


@pytest.mark.parametrize("case", CASES)
def test_a_run_resumed_within_an_epoch_ends_with_the_same_bytes(
    backbone, examples, recipe, no_change, tmp_path, monkeypatch, case
):
    strategy, changes = CASES[case]
    options = {"strategy": strategy, "recipe": replace(recipe, epochs=3, **changes), "augment": no_change}
    rows, val = examples.subset(range(45)), examples.subset(range(45, 60))
    whole = finetune(backbone, rows, val, **options)

    from graftwork.core.training import loop as training

    save, saved = training.save_checkpoint, []

    def save_and_stop(*arguments):
        save(*arguments)
        saved.append(arguments[2])
        if arguments[2].epoch == 1 and arguments[2].batch > 0:
            raise PowerCutError

    monkeypatch.setattr(training, "save_checkpoint", save_and_stop)
    with pytest.raises(PowerCutError):
        finetune(backbone, rows, val, checkpoints=tmp_path, **options)
    assert saved[-1].batch % changes.get("accumulate", 1) == 0
    monkeypatch.setattr(training, "save_checkpoint", save)
    resumed = finetune(backbone, rows, val, checkpoints=tmp_path, resume=True, **options)
    assert equal_bytes(learnt(whole), learnt(resumed))
    assert whole.history == resumed.history
    assert [list(row) for row in whole.history] == [list(row) for row in resumed.history]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("last", [False, True])
def test_a_run_that_is_asked_to_end_keeps_the_update_under_way(
    backbone, examples, recipe, no_change, tmp_path, monkeypatch, case, last
):
    """Also behind the last update of an epoch, before it is evaluated."""
    strategy, changes = CASES[case]
    often = replace(recipe, epochs=3, checkpoint_minutes=1e6, **changes)
    options = {"strategy": strategy, "recipe": often, "augment": no_change}
    rows, val = examples.subset(range(45)), examples.subset(range(45, 60))
    whole = finetune(backbone, rows, val, **options)
    request, step, steps = EndRequest(), Runtime.step, []
    an_epoch = 6 // changes.get("accumulate", 1)

    def ask(runtime, *arguments):
        step(runtime, *arguments)
        steps.append(1)
        if len(steps) == an_epoch + (an_epoch if last else 1):
            request.asked.set()

    monkeypatch.setattr(Runtime, "step", ask)
    with listening_to(request), pytest.raises(PreemptedError):
        finetune(backbone, rows, val, checkpoints=tmp_path, **options)
    assert len(steps) == an_epoch + (an_epoch if last else 1)
    monkeypatch.setattr(Runtime, "step", lambda *arguments: steps.append(1) or step(*arguments))
    resumed = finetune(backbone, rows, val, checkpoints=tmp_path, resume=True, **options)
    assert len(steps) == 3 * an_epoch  # no update was made twice
    assert equal_bytes(learnt(whole), learnt(resumed))
    assert whole.history == resumed.history


class VolumeNet(nn.Module):
    """Three convolutions of volumes and a mean over space: (batch, 1, 6, 6, 6) -> (batch, 8)."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.BatchNorm3d(4), nn.ReLU())
        self.layer1 = nn.Sequential(nn.Conv3d(4, 6, 3, padding=1, stride=2), nn.BatchNorm3d(6), nn.ReLU())
        self.layer10 = nn.Sequential(nn.Conv3d(6, 8, 3, padding=1), nn.BatchNorm3d(8), nn.ReLU())


@dataclass(frozen=True)
class VolumeContract:
    """Arrays of shape (1, 8, 8) read as volumes of shape (1, 6, 6, 6), the array in every plane."""

    def read(self, example):
        return torch.from_numpy(np.load(example))[:, None, :6, :6].repeat(1, 6, 1, 1)

    def collate(self, examples):
        return Features(torch.stack(list(examples)))

    def seconds(self, example):
        return None

    def blank(self):
        return torch.zeros(1, 6, 6, 6)

    def to_json(self):
        return {}


def volume_backbone():
    def through(name):
        return Stage(name, lambda network, features: Features(getattr(network, name)(features.values)), (name,))

    torch.manual_seed(0)
    pool = Stage("pool", lambda network, features: Features(features.values.mean((2, 3, 4))))
    stages = (through("stem"), through("layer1"), through("layer10"), pool)
    return Backbone("tiny:volumes", VolumeNet().eval(), stages, VolumeContract(), 8, build=VolumeNet)


@pytest.mark.parametrize("memory_format", ["channels-last", "contiguous"])
@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("strategy", ["partial:1", "partial:2", "gradual", "full", "lora", "bias", "norm", "scratch"])
def test_moments_of_filters_come_back_to_their_own_weights(
    backbone, manifest, recipe, tmp_path, interrupt, strategy, dimensions, memory_format
):
    """Fused kernels walk through memory: a moment in another order than its filter would change other weights."""
    backbone = backbone if dimensions == 2 else volume_backbone()
    rows = read_examples(manifest.subset(range(24)), backbone.contract)
    options = {"strategy": strategy, "recipe": replace(recipe, epochs=4, memory_format=memory_format)}
    whole = finetune(backbone, rows, **options)
    with pytest.raises(PowerCutError):
        finetune(backbone, rows, checkpoints=tmp_path, on_epoch=interrupt(3), **options)
    resumed = finetune(backbone, rows, checkpoints=tmp_path, resume=True, **options)
    assert equal_bytes(learnt(whole), learnt(resumed))
    assert whole.history == resumed.history


def on_a_gpu(precision):
    return pytest.param("cuda", precision, marks=pytest.mark.gpu)


@pytest.mark.parametrize(("device", "precision"), [
    ("cpu", "fp32"), ("cpu", "bf16"), on_a_gpu("fp32"), on_a_gpu("bf16"), on_a_gpu("fp16"),
])  # fmt: skip
@pytest.mark.parametrize("dimensions", [2, 3])
def test_in_every_precision_a_run_repeats_itself_and_resumes_to_the_same_bytes(
    make_backbone, manifest, recipe, tmp_path, interrupt, device, precision, dimensions
):
    backbone = make_backbone(dropout=0.3) if dimensions == 2 else volume_backbone()
    rows = read_examples(manifest.subset(range(30)), backbone.contract)
    settings = replace(recipe, epochs=4, device=device, precision=precision, memory_format="channels-last")
    options = {"strategy": "full", "recipe": settings}
    whole, again = (finetune(backbone, rows, **options) for _ in range(2))
    assert equal_bytes(learnt(whole), learnt(again))
    with pytest.raises(PowerCutError):
        finetune(backbone, rows, checkpoints=tmp_path, on_epoch=interrupt(3), **options)
    resumed = finetune(backbone, rows, checkpoints=tmp_path, resume=True, **options)
    assert equal_bytes(learnt(whole), learnt(resumed))
    assert whole.history == resumed.history
    assert start_runtime(settings).device.type == device


@pytest.fixture
def in_fp16(monkeypatch):
    """A CPU that computes in fp16, as no run would be let to, with a scale that first overflows: it is halved until it
    does not."""
    monkeypatch.setattr("graftwork.core.compute.runtime.choose_precision", lambda name, device: "fp16")
    monkeypatch.setattr("graftwork.core.compute.runtime.FIRST_SCALE", 2.0**40)


def test_in_fp16_updates_that_overflow_are_passed_over_and_a_resumed_run_goes_on_with_the_scale(
    make_backbone, examples, recipe, tmp_path, interrupt, in_fp16, monkeypatch
):
    scales, passed_over = [], []
    update = torch.amp.GradScaler.update

    def note(scaler):
        before = scaler.get_scale()
        update(scaler)
        scales.append(scaler.get_scale())
        passed_over.append(scaler.get_scale() < before)

    monkeypatch.setattr(torch.amp.GradScaler, "update", note)
    backbone = make_backbone(dropout=0.0)
    options = {"strategy": "full", "recipe": replace(recipe, epochs=6)}
    whole = finetune(backbone, examples, **options)
    assert passed_over[0]
    assert not passed_over[-1]
    of_whole = scales.copy()
    scales.clear()
    with pytest.raises(PowerCutError):
        finetune(backbone, examples, checkpoints=tmp_path, on_epoch=interrupt(3), **options)
    resumed = finetune(backbone, examples, checkpoints=tmp_path, resume=True, **options)
    assert scales == of_whole  # kept after the last update of the third epoch
    assert equal_bytes(learnt(whole), learnt(resumed))
    assert whole.history[-1]["train_loss"] < whole.history[0]["train_loss"]


@pytest.mark.parametrize(("task", "compile"), [("text", "on"), ("mask", "on"), ("single-label", "on"), ("mask", "off")])
def test_what_learns_is_compiled_for_every_kind_of_target(monkeypatch, task, compile):
    """The loss is taken of what the compiled function gives, and of nothing else."""
    asked = []

    class AskedError(Exception):
        pass

    def compiled(features, stage):
        asked.append(features)
        raise AskedError

    rows = SimpleNamespace(manifest=SimpleNamespace(task=find_task(task)), stage=0)
    course = SimpleNamespace(
        model=compiled if compile == "on" else None, graft=SimpleNamespace(outputs=compiled, head=None),
        targets=torch.zeros(2), weights=np.ones(2), recipe=Recipe(head="linear"),
        runtime=start_runtime(Recipe(device="cpu")), rows=rows,
    )  # fmt: skip
    course.model = course.model or course.graft.outputs
    if compile == "on":
        course.graft.outputs = None
    with pytest.raises(AskedError):
        gradients.summed_loss(course, Features(torch.zeros(2, 1)), [0, 1], 0.0)
    assert len(asked) == 1


def test_a_loss_that_is_not_finite_names_epoch_batch_and_files(backbone, examples, recipe):
    tensors = list(examples.tensors)
    tensors[7] = torch.full((1, 8, 8), float("nan"))
    broken = replace(examples, tensors=tuple(tensors))
    batch = next(number for number, rows in enumerate(epoch_batches(examples, recipe, 0)) if 7 in rows)
    with pytest.raises(TrainingError, match=rf"the loss is nan in epoch 1, batch {batch + 1}:") as caught:
        finetune(backbone, broken, strategy="full", recipe=recipe)
    assert examples.manifest.paths[7] in str(caught.value)
    assert str(caught.value).count(".npy") == len(epoch_batches(examples, recipe, 0)[batch])


@pytest.mark.slow
def test_a_compiled_network_learns_the_same(make_backbone, examples, recipe):
    """Slow: a compiler runs."""
    backbone = make_backbone(norm=False, dropout=0.0)
    options = {"strategy": "full", "recipe": replace(recipe, epochs=1)}
    plain = finetune(backbone, examples, **options)
    compiled = finetune(backbone, examples, **options | {"recipe": replace(recipe, epochs=1, compile="on")})
    close(learnt(plain), learnt(compiled), 1e-5)


def test_a_layer_that_only_some_kernels_compute_alike_is_named_and_learns_on(
    make_backbone, examples, recipe, monkeypatch, caplog
):
    """As on a GPU where torch has no deterministic kernel for a layer: the update is made again without asking."""
    asked = replace(recipe, epochs=1)
    whole = finetune(make_backbone(norm=False, dropout=0.3), examples, strategy="full", recipe=asked)
    backward, refused = Runtime.backward, []

    def refusing(runtime, loss):
        backward(runtime, loss)
        if runtime.determinism.strict:
            refused.append(1)
            assert torch.are_deterministic_algorithms_enabled()
            raise RuntimeError("max_pool3d_backward does not have a deterministic implementation, but you set …")

    def strict(recipe):
        return replace(start_runtime(recipe), determinism=Determinism(strict=True))

    monkeypatch.setattr(Runtime, "backward", refusing)
    monkeypatch.setattr("graftwork.core.training.finetuning.start_runtime", strict)
    run = finetune(make_backbone(norm=False, dropout=0.3), examples, strategy="full", recipe=asked)
    assert len(refused) == 1
    assert caplog.text.count("max_pool3d_backward has no deterministic form") == 1
    assert equal_bytes(learnt(whole), learnt(run))
    assert not torch.are_deterministic_algorithms_enabled()
