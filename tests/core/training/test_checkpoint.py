"""Where a run stands, kept in a file: it comes back to the last bit, or is refused with a way out."""

import os
import shutil
import stat
from dataclasses import replace

import pytest
import torch

from graftwork.core.errors import OutputError
from graftwork.core.tensor_files import read_tensors, write_tensors
from graftwork.core.training.checkpoint import (
    BEFORE,
    NAME,
    SCHEMA,
    CheckpointClock,
    TrainingState,
    has_checkpoint,
    load_checkpoint,
    remove_checkpoint,
    save_checkpoint,
)
from graftwork.core.training.finetuning import finetune
from tests.core.training.conftest import PowerCutError

SCALER = torch.amp.GradScaler("cpu", enabled=False)


class Two:
    """A learner of two tensors, as a graft is one."""

    def __init__(self, seed):
        generator = torch.Generator().manual_seed(seed)
        self.tensors = {
            "head.weight": torch.randn(3, 2, generator=generator),
            "head.bias": torch.randn(3, generator=generator),
        }
        for value in self.tensors.values():
            value.requires_grad_()

    def learnt(self):
        return self.tensors

    def restore(self, tensors):
        assert tensors.keys() == self.tensors.keys()
        with torch.no_grad():
            for name, value in tensors.items():
                self.tensors[name].copy_(value)

    def optimiser(self):
        groups = [{"params": [value], "tensors": [name]} for name, value in self.tensors.items()]
        return torch.optim.AdamW(groups, lr=0.1)

    def step(self, optimiser):
        optimiser.zero_grad()
        sum((value**3).sum() for value in self.tensors.values()).backward()
        optimiser.step()


@pytest.fixture
def kept(tmp_path):
    """A learner with its optimiser after two updates, and where it stood, in a checkpoint."""
    learner = Two(seed=0)
    optimiser = learner.optimiser()
    for _ in range(2):
        learner.step(optimiser)
    best = {name: value.detach() + 1 for name, value in learner.learnt().items()}
    position = TrainingState(epoch=1, batch=3, update=2, loss_sum=0.1 + 0.2, loss_weight=8.0, best_epoch=0,
                             best_key=(0.1 + 0.2, float("-inf")), stale=1, history=({"epoch": 1, "val_loss": None},),
                             pieces=2)  # fmt: skip
    save_checkpoint(tmp_path, {"seed": 0, "order": (1, 2)}, position, learner, best, optimiser, SCALER)
    return learner, optimiser, position, best


def test_everything_comes_back_to_the_last_bit(kept, tmp_path):
    learner, optimiser, position, best = kept
    other = Two(seed=1)
    begun = other.optimiser()
    found, found_best = load_checkpoint(tmp_path, {"seed": 0, "order": (1, 2)}, other, begun, SCALER)
    assert found == position
    assert found_best.keys() == best.keys()
    assert all(torch.equal(value, best[name]) for name, value in found_best.items())
    for one, its in ((learner, optimiser), (other, begun)):
        one.step(its)  # the moments and the step of the optimiser decide where this goes
    assert all(torch.equal(value, other.learnt()[name]) for name, value in learner.learnt().items())


def test_a_run_that_has_not_been_evaluated_yet_stands_below_every_other(tmp_path):
    learner = Two(seed=0)
    save_checkpoint(tmp_path, {}, TrainingState(), learner, {}, learner.optimiser(), SCALER)
    found, best = load_checkpoint(tmp_path, {}, learner, learner.optimiser(), SCALER)
    assert found.best_key == (float("-inf"), float("-inf"))
    assert (found.best_epoch, best) == (-1, {})


def test_what_is_refused_is_left_as_it_was(kept, tmp_path):
    other = Two(seed=1)
    before = {name: value.detach().clone() for name, value in other.learnt().items()}
    with pytest.raises(OutputError, match="had another more, order, seed; resume with the same"):
        load_checkpoint(
            tmp_path, {"seed": 5, "more": None, "order": (2, 1)} | {"more": 1}, other, other.optimiser(), SCALER
        )
    assert all(torch.equal(value, before[name]) for name, value in other.learnt().items())


@pytest.mark.parametrize(("schema", "advice"), [(SCHEMA + 1, "a newer .*upgrade graftwork"), (1, "delete it")])
def test_a_checkpoint_of_another_version_is_named_with_both(kept, tmp_path, schema, advice):
    tensors, state = read_tensors(tmp_path / NAME)
    write_tensors(tmp_path / NAME, tensors, state | {"schema": schema})
    other = Two(seed=1)
    with pytest.raises(OutputError, match=f"schema {schema}, this version reads {SCHEMA}; {advice}"):
        load_checkpoint(tmp_path, {"seed": 0, "order": (1, 2)}, other, other.optimiser(), SCALER)


def test_a_finished_run_leaves_no_checkpoint(kept, tmp_path):
    shutil.copy(tmp_path / NAME, tmp_path / BEFORE)
    assert has_checkpoint(tmp_path)
    remove_checkpoint(tmp_path)
    remove_checkpoint(tmp_path)
    assert not has_checkpoint(tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_last_two_are_kept_and_a_damaged_newest_one_is_passed_over_with_a_message(kept, tmp_path, caplog):
    learner, optimiser, position, best = kept
    settings = {"seed": 0, "order": (1, 2)}
    for update in (3, 4):
        learner.step(optimiser)
        save_checkpoint(tmp_path, settings, replace(position, update=update), learner, best, optimiser, SCALER)
    assert sorted(path.name for path in tmp_path.iterdir()) == [BEFORE, NAME]
    whole = (tmp_path / BEFORE).read_bytes()
    (tmp_path / NAME).write_bytes((tmp_path / NAME).read_bytes()[:-9])
    other = Two(seed=1)
    begun = other.optimiser()
    found, _ = load_checkpoint(tmp_path, settings, other, begun, SCALER)
    assert found.update == 3
    assert "checkpoint.safetensors: cannot be read" in caplog.text
    assert "the checkpoint before it is used" in caplog.text
    other.step(begun)
    assert all(torch.equal(value, other.learnt()[name]) for name, value in learner.learnt().items())
    # Killed before the next one is written, it would stand there again.
    assert (tmp_path / BEFORE).read_bytes() == whole
    assert not (tmp_path / NAME).exists()
    assert load_checkpoint(tmp_path, settings, other, begun, SCALER)[0].update == 3


def test_a_checkpoint_is_due_after_its_time_and_at_ends_of_epochs_where_it_costs_a_fiftieth(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("graftwork.core.training.checkpoint.time.monotonic", lambda: now[0])
    clock = CheckpointClock(every_seconds=300.0)
    assert not clock.due()
    assert clock.due(epoch_ends=True)  # nobody knows yet what it costs
    now[0] = 104.0
    clock.saved(began=102.0)
    now[0] = 203.0
    assert not clock.due(epoch_ends=True)
    now[0] = 204.0
    assert clock.due(epoch_ends=True)
    assert not clock.due()
    now[0] = 404.0
    assert clock.due()
    assert CheckpointClock(0.0).due()


@pytest.mark.parametrize("field", ["settings", "position", "stale"])
def test_a_checkpoint_that_lacks_a_field_is_refused(backbone, examples, recipe, tmp_path, interrupt, field):
    def go(**more):
        return finetune(backbone, examples, strategy="partial:1", recipe=recipe, checkpoints=tmp_path, **more)

    with pytest.raises(PowerCutError):
        go(on_epoch=interrupt(2))
    (tmp_path / BEFORE).unlink()
    tensors, state = read_tensors(tmp_path / NAME)
    state.pop(field, None)
    state.get("position", {}).pop(field, None)
    write_tensors(tmp_path / NAME, tensors, state)
    with pytest.raises(OutputError, match=r"does not say where the run stood.*delete it"):
        go(resume=True)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text"])
def test_a_damaged_checkpoint_is_refused_with_a_way_out(backbone, examples, recipe, tmp_path, interrupt, damage):
    def go(**more):
        return finetune(backbone, examples, strategy="partial:1", recipe=recipe, checkpoints=tmp_path, **more)

    with pytest.raises(PowerCutError):
        go(on_epoch=interrupt(2))
    path = tmp_path / NAME
    (tmp_path / BEFORE).unlink()
    content = bytearray(path.read_bytes())
    for place in [0.05, 0.3, 0.7, 0.99]:
        flipped = bytearray(content)
        flipped[int(place * len(content))] ^= 16
        path.write_bytes({"cut": content[: int(place * len(content))], "flipped": flipped, "empty": b"",
                          "text": b"{}" * 40}[damage])  # fmt: skip
        with pytest.raises(OutputError, match=r"cannot be read .*delete it to begin this training anew"):
            go(resume=True)


@pytest.mark.parametrize("changes", [
    {"epoch": 0.5}, {"best_key": ["0.1"]}, {"best_key": ["x", "y"]}, {"history": 3}, {"history": [{}]},
    {"history": [{"epoch": "1"}]}, {"stale": None}, {"more": 1},
])  # fmt: skip
def test_a_checkpoint_that_no_run_wrote_is_refused_with_a_way_out(kept, tmp_path, changes):
    tensors, state = read_tensors(tmp_path / NAME)
    write_tensors(tmp_path / NAME, tensors, state | {"position": state["position"] | changes})
    other = Two(seed=1)
    with pytest.raises(OutputError, match=r"does not say where the run stood.*delete it"):
        load_checkpoint(tmp_path, {"seed": 0, "order": (1, 2)}, other, other.optimiser(), SCALER)


def test_a_checkpoint_is_its_owners_alone_where_other_files_are_not(tmp_path):
    learner = Two(seed=0)
    usual = os.umask(0o022)
    try:
        save_checkpoint(tmp_path, {}, TrainingState(), learner, {}, learner.optimiser(), SCALER)
        write_tensors(tmp_path / "other.safetensors", {})
    finally:
        os.umask(usual)
    assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "other.safetensors").stat().st_mode) == 0o644


def test_a_run_with_other_settings_is_not_resumed(backbone, make_backbone, examples, recipe, tmp_path, interrupt):
    def go(backbone=backbone, rows=examples, strategy="partial:1", recipe=recipe, **more):
        return finetune(backbone, rows, strategy=strategy, recipe=recipe, checkpoints=tmp_path, **more)

    with pytest.raises(PowerCutError):
        go(on_epoch=interrupt(2))
    for changes, names in [
        ({"recipe": replace(recipe, learning_rate=0.5, seed=3)}, "learning_rate, seed"),
        ({"strategy": "partial:2"}, "strategy"),
        ({"backbone": make_backbone(seed=5)}, "backbone"),
        ({"rows": examples.subset(range(1, 60))}, "training data"),
    ]:
        with pytest.raises(OutputError, match=f"the interrupted run had another {names}; resume with the same"):
            go(resume=True, **changes)
    assert go(resume=True, recipe=replace(recipe, workers=1)).best_epoch == 2


def test_there_must_be_something_to_resume(backbone, examples, recipe, tmp_path):
    with pytest.raises(OutputError, match="nothing to resume"):
        finetune(backbone, examples, strategy="full", recipe=recipe, checkpoints=tmp_path, resume=True)
