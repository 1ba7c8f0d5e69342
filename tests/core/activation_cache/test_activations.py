"""What is stored is what the stages give; it is found again when it is the same, and never when it is not."""

import errno
import os
import stat
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from graftwork.core.activation_cache import activations, frozen_pass
from graftwork.core.activation_cache.activations import run_frozen_stages, vectors
from graftwork.core.compute.runtime import start_runtime
from graftwork.core.data.examples import read_examples
from graftwork.core.data.tables import read_manifest
from graftwork.core.data.views import all_views
from graftwork.core.errors import SettingsError, TrainingError
from graftwork.core.training.finetuning import finetune
from tests.core.conftest import ArrayContract, examples_in, tiny_backbone


@pytest.fixture
def recipe(recipe):
    """Heads start at random: what is looked at here is what updates do."""
    return replace(recipe, head_start="random")


@pytest.fixture
def cached(recipe, tmp_path):
    return replace(recipe, cache=str(tmp_path / "cache"))


CALLS = []
"""(stage, examples) of every call. Not bound by the stages that append to it: what they bind is part of their key."""


@pytest.fixture
def counted(backbone):
    """The backbone with a list of how many examples each call of each stage saw."""
    CALLS.clear()

    def counting(index, run):
        def stage(network, features):
            if examples_in(features):
                CALLS.append((index, len(features)))
            return run(network, features)

        return stage

    stages = tuple(replace(stage, run=counting(index, stage.run)) for index, stage in enumerate(backbone.stages))
    return replace(backbone, stages=stages), CALLS


def outputs(backbone, examples, stop):
    with torch.no_grad():
        return backbone.run(examples.contract.collate(list(examples.tensors)), 0, stop).values


def stored(backbone, examples, stop, recipe, augment=None):
    return run_frozen_stages(backbone, examples, stop, start_runtime(recipe), recipe, augment)


@pytest.mark.parametrize("stop", [1, 3, 4])
def test_the_store_gives_what_the_stages_give(backbone, examples, cached, stop):
    for _ in range(2):
        found = stored(backbone, examples, stop, cached)
        assert found.stage == stop
        torch.testing.assert_close(
            torch.stack(list(found.tensors)), outputs(backbone, examples, stop), atol=1e-6, rtol=0
        )


def overwritten_with_zeros(content):
    return bytes(len(content))


def with_a_bit_turned_over(content):
    return content[:-3] + bytes([content[-3] ^ 1]) + content[-2:]


def with_two_entries_exchanged(content):
    """Their checksums are right, elsewhere."""
    width = 3 * 4 * 4 * 4
    return content[width : 2 * width] + content[:width] + content[2 * width :]


@pytest.mark.parametrize("damage", [overwritten_with_zeros, with_a_bit_turned_over, with_two_entries_exchanged])
@pytest.mark.parametrize("stop", [1, 3])
def test_what_was_damaged_on_the_disk_is_computed_anew(counted, examples, cached, caplog, damage, stop):
    backbone, calls = counted
    good = torch.stack(list(stored(backbone, examples, stop, cached).tensors))
    (data,) = Path(cached.cache).rglob("*.bin")
    data.write_bytes(damage(data.read_bytes()))
    calls.clear()
    again = stored(backbone, examples, stop, cached)
    assert torch.equal(torch.stack(list(again.tensors)), good)
    assert sum(count for stage, count in calls if stage == 0) == 60
    assert f"{data}: damaged; its 60 entries are computed anew" in caplog.text
    calls.clear()
    stored(backbone, examples, stop, cached)
    assert not calls


def test_what_is_damaged_in_two_files_is_computed_anew(counted, examples, cached):
    backbone, calls = counted
    stored(backbone, examples, 2, cached)
    (data,) = Path(cached.cache).rglob("*.bin")
    for copy in ("0" * 32, "f" * 32):
        for path in (data, data.with_suffix(".json")):
            path.with_stem(copy).write_bytes(
                path.read_bytes() if path.suffix == ".json" else bytes(data.stat().st_size)
            )
    calls.clear()
    found = stored(backbone, examples, 2, cached)
    torch.testing.assert_close(torch.stack(list(found.tensors)), outputs(backbone, examples, 2), atol=1e-6, rtol=0)


def test_a_deeper_frontier_does_not_go_on_from_damage(counted, examples, cached):
    backbone, calls = counted
    stored(backbone, examples, 1, cached)
    (data,) = Path(cached.cache).rglob("*.bin")
    data.write_bytes(bytes(data.stat().st_size))
    calls.clear()
    found = stored(backbone, examples, 3, cached)
    assert {stage for stage, _ in calls} == {0, 1, 2}
    torch.testing.assert_close(torch.stack(list(found.tensors)), outputs(backbone, examples, 3), atol=1e-6, rtol=0)


def test_each_entry_is_compared_once_in_a_process(backbone, examples, cached, monkeypatch):
    stored(backbone, examples, 2, cached)
    counts, crc32 = [], zlib.crc32
    monkeypatch.setattr(
        "graftwork.core.activation_cache.store_damage.zlib.crc32", lambda *one: (counts.append(1), crc32(*one))[1]
    )
    for rows in (range(60), range(20), range(40, 60)):
        stored(backbone, examples.subset(rows), 2, cached)
    assert len(counts) == 60


def test_what_is_stored_is_its_owners_alone(backbone, examples, cached):
    stored(backbone, examples, 2, cached)
    (folder,) = Path(cached.cache).iterdir()
    modes = {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert (stat.S_IMODE(folder.stat().st_mode), modes) == (0o700, {0o600})


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 5e-4), ("bfloat16", 4e-3)])
def test_half_the_room_costs_the_stated_tolerance(backbone, examples, cached, dtype, tolerance):
    found = stored(backbone, examples, 2, replace(cached, cache_dtype=dtype))
    batch = found.contract.collate(list(found.tensors)).values
    expected = outputs(backbone, examples, 2)
    assert batch.dtype == torch.float32
    assert 0 < ((batch - expected).abs() / expected.abs().clamp_min(1e-3)).max() <= tolerance


def test_a_warm_store_needs_no_forward_pass_for_another_seed(counted, examples, cached):
    backbone, calls = counted
    rows, val = examples.subset(range(45)), examples.subset(range(45, 60))
    finetune(backbone, rows, val, strategy="partial:1", recipe=cached)
    assert sum(count for index, count in calls if index == 0) == 60
    calls.clear()
    other = np.random.default_rng(1).permutation(60)
    finetune(backbone, examples.subset(other[:40]), examples.subset(other[40:]), strategy="partial:1",
             recipe=replace(cached, seed=5))  # fmt: skip
    assert {index for index, _ in calls} == {2, 3}  # the stages that learn


def test_a_deeper_frontier_goes_on_from_what_is_stored(counted, examples, cached):
    backbone, calls = counted
    stored(backbone, examples, 2, cached)
    calls.clear()
    found = stored(backbone, examples, 4, cached)
    assert {index for index, _ in calls} == {2, 3}
    np.testing.assert_allclose(vectors(found), outputs(backbone, examples, 4).numpy(), atol=1e-6)
    calls.clear()
    stored(backbone, examples, 4, cached)
    assert not calls


def changed_weight(backbone, contract):
    with torch.no_grad():
        backbone.network.stem[0].weight[0, 0, 0, 0] += 1e-3
    return backbone


def changed_buffer(backbone, contract):
    backbone.network.stem[1].running_mean += 1e-3
    return backbone


def changed_setting(backbone, contract):
    backbone.network.stem[1].eps = 0.1
    return backbone


def changed_code(backbone, contract):
    stem = replace(backbone.stages[0], run=lambda network, f: type(f)(network.stem(f.values) * 2))
    return replace(backbone, stages=(stem, *backbone.stages[1:]))


@pytest.mark.parametrize("change", [changed_weight, changed_buffer, changed_setting, changed_code])
def test_a_changed_weight_setting_or_stage_is_never_served_stale(examples, cached, change):
    before = stored(tiny_backbone(), examples, 2, cached)
    other = change(tiny_backbone(), examples.contract)
    found = stored(other, examples, 2, cached)
    torch.testing.assert_close(torch.stack(list(found.tensors)), outputs(other, examples, 2), atol=1e-6, rtol=0)
    assert not torch.equal(torch.stack(list(found.tensors)), torch.stack(list(before.tensors)))


def test_a_changed_contract_or_file_is_never_served_stale(manifest, cached, tmp_path):
    paths = []
    for number, path in enumerate(manifest.paths[:6]):
        copied = tmp_path / f"{number}.npy"
        copied.write_bytes(Path(path).read_bytes())
        paths.append(str(copied))
    few = replace(manifest.subset(range(6)), examples=tuple(paths))
    for scale in (1.0, 2.0):
        contract = ArrayContract(scale)
        backbone = tiny_backbone(contract=contract)
        examples = read_examples(few, contract)
        found = stored(backbone, examples, 2, cached)
        torch.testing.assert_close(torch.stack(list(found.tensors)), outputs(backbone, examples, 2), atol=1e-6, rtol=0)
    np.save(paths[0], np.load(paths[0]) + 1)
    os.utime(paths[0], ns=(1, 1))
    again = read_examples(few, contract)
    found = stored(backbone, again, 2, cached)
    torch.testing.assert_close(torch.stack(list(found.tensors)), outputs(backbone, again, 2), atol=1e-6, rtol=0)


def test_an_interrupted_store_is_finished(counted, examples, cached, monkeypatch):
    backbone, calls = counted
    original, seen = frozen_pass._single, []

    def interrupted(features):
        seen.append(len(features))
        if len(seen) == 4:
            raise KeyboardInterrupt
        return original(features)

    monkeypatch.setattr(frozen_pass, "PASS_FACTOR", 1)  # batches of 8
    with monkeypatch.context() as broken:
        broken.setattr(frozen_pass, "_single", interrupted)
        with pytest.raises(KeyboardInterrupt):
            stored(backbone, examples, 2, cached)
    calls.clear()
    found = stored(backbone, examples, 2, cached)
    assert sum(count for index, count in calls if index == 0) == 60 - 3 * 8
    torch.testing.assert_close(torch.stack(list(found.tensors)), outputs(backbone, examples, 2), atol=1e-6, rtol=0)


def full_disk(monkeypatch, tmp_path):
    def write(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("graftwork.core.activation_cache.tensor_store.os.write", write)
    return {}


def small_limit(monkeypatch, tmp_path):
    return {"cache_limit": "1KB"}


def no_folder(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    return {"cache": str(tmp_path / "file")}


@pytest.mark.parametrize("obstacle", [full_disk, small_limit, no_folder])
@pytest.mark.parametrize("strategy", ["partial:1", "probe"])
def test_training_goes_on_without_a_store_and_says_so(
    backbone, examples, cached, monkeypatch, tmp_path, caplog, obstacle, strategy
):
    expected = finetune(backbone, examples, strategy=strategy, recipe=replace(cached, views=0))
    options = obstacle(monkeypatch, tmp_path)
    found = finetune(backbone, examples, strategy=strategy, recipe=replace(cached, **options))
    assert "frozen stages are not stored" in caplog.text
    for name, value in expected.adapter.graft.learnt().items():
        torch.testing.assert_close(found.adapter.graft.learnt()[name], value, atol=1e-5, rtol=0)


class Opaque:
    def __call__(self, example, generator):
        return example + float(generator.normal())


def test_a_change_whose_content_is_not_known_is_not_stored(backbone, examples, cached, caplog):
    options = replace(cached, augment="on", views=2)
    finetune(backbone, examples, strategy="partial:1", recipe=options, augment=Opaque())
    assert "the augmentation holds a" in caplog.text
    assert "Opaque, whose content is not known" in caplog.text
    assert not list(Path(cached.cache).glob("*/*.bin"))


def test_views_are_different_changes_the_same_in_every_run(backbone, examples, cached, augment):
    options = replace(cached, augment="on", views=3)
    one = stored(backbone, examples, 2, options, augment)
    assert one.views == 3
    assert len(one.tensors) == 180
    assert not torch.equal(one.tensor(5, 0), one.tensor(5, 1))
    again = stored(backbone, examples, 2, replace(options, cache=options.cache + "2"), augment)
    assert all(torch.equal(a, b) for a, b in zip(one.tensors, again.tensors, strict=True))
    part = one.subset([7, 3])
    assert torch.equal(part.tensor(1, 2), one.tensor(3, 2))
    assert list(all_views(part).manifest.paths) == [p for p in part.manifest.paths for _ in range(3)]
    other = stored(backbone, examples, 2, replace(options, seed=9), augment)
    assert not torch.equal(one.tensor(5, 0), other.tensor(5, 0))


@pytest.mark.parametrize("strategy", ["probe", "knn", "partial:1"])
def test_views_are_learnt_from_without_running_frozen_stages_in_every_epoch(
    counted, examples, cached, augment, strategy
):
    backbone, calls = counted
    finetune(backbone, examples, strategy=strategy, augment=augment, recipe=replace(cached, augment="on", views=2))
    assert sum(count for index, count in calls if index == 0) == 120


@pytest.mark.parametrize("augmentation", ["auto", "off"])
def test_views_without_augmentation_are_refused(backbone, examples, recipe, augmentation):
    with pytest.raises(SettingsError, match=r"views .*differ only with augmentation"):
        finetune(backbone, examples, strategy="partial:1", recipe=replace(recipe, views=3, augment=augmentation))


def test_a_tensor_that_is_not_reached_stops_the_run_and_is_named(backbone, examples, recipe):
    backbone.network.layer10.unused = nn.Parameter(torch.zeros(3))
    stage = replace(
        backbone.stages[2],
        run=lambda network, f: type(f)(network.layer10[2](network.layer10[1](network.layer10[0](f.values)))),
    )
    with pytest.raises(TrainingError, match=r"1 tensors that should learn got no gradient: backbone.layer10.unused"):
        finetune(replace(backbone, stages=(*backbone.stages[:2], stage, backbone.stages[3])), examples,
                 strategy="partial:1", recipe=recipe)  # fmt: skip


def test_examples_that_do_not_fit_in_memory_are_decoded_once_and_train_the_same_weights(table, cached, backbone):
    manifest = read_manifest(table).subset(range(16))
    recipe = replace(cached, epochs=3, workers=0)
    learnt = {}
    for name, limit, own in (("memory", None, recipe), ("mapped", 0, recipe), ("again", 0, recipe),
                             ("anew", 0, replace(recipe, views=0))):  # fmt: skip
        examples = read_examples(manifest, backbone.contract, memory_limit_bytes=limit)
        assert (examples.tensors is None) == (limit == 0)
        backbone.contract.reads.clear()
        learnt[name] = finetune(backbone, examples, strategy="full", recipe=own).adapter.graft.learnt()
        assert len(backbone.contract.reads) == {"memory": 0, "mapped": 16, "again": 0, "anew": 48}[name]
    for name in ("mapped", "again", "anew"):
        assert all(torch.equal(learnt[name][key], value) for key, value in learnt["memory"].items())


def test_where_one_process_cannot_keep_the_examples_none_does(backbone, table):
    class TwoProcesses:
        """Of which the other one lacks the memory, or not."""

        def __init__(self, other):
            self.other = other

        def total(self, value):
            return value + self.other

    examples = read_examples(read_manifest(table).subset(range(3)), backbone.contract)
    assert activations.same_on_all_processes(examples, TwoProcesses(0.0)) is examples
    assert activations.same_on_all_processes(examples, TwoProcesses(1.0)).tensors is None
