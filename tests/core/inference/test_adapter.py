"""What is saved is what was learnt, and it comes back only on the weights it was learnt on."""

import inspect
import json
import os
from dataclasses import replace

import numpy as np
import pytest
from safetensors import safe_open

from graftwork.core.errors import AdapterError, BackboneError, UnreadableError
from graftwork.core.inference.adapter import load_adapter
from graftwork.core.inference.predict import evaluate, predict_examples
from graftwork.core.training.finetuning import finetune


@pytest.fixture
def save(load_backbone, examples, recipe, tmp_path):
    def save(strategy, weights=None, **changes):
        backbone = load_backbone("tiny:net", weights=weights)
        run = finetune(backbone, examples, strategy=strategy, recipe=replace(recipe, **changes))
        run.adapter.save(tmp_path)
        return run.adapter

    return save


def names(folder):
    with safe_open(folder / "adapter.safetensors", framework="pt") as file:
        return set(file.keys())


def unchecked(record):
    """A record as somebody changes it who knows of the digest, or as older versions wrote it."""
    return {name: value for name, value in record.items() if name != "sha256"}


HEAD = {f"head.{name}" for name in ("layers.1.weight", "layers.1.bias", "centre", "spread", "shift", "scale")}
TENTH = {f"backbone.layer10.{name}" for name in
         ("0.weight", "1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked")}  # fmt: skip


@pytest.mark.parametrize("strategy", ["probe", "partial:1", "full", "scratch"])
def test_a_saved_adapter_predicts_the_same(save, load_backbone, examples, tmp_path, strategy):
    adapter = save(strategy)
    loaded = load_adapter(tmp_path, load_backbone)
    np.testing.assert_array_equal(
        predict_examples(loaded, examples, device="cpu"), predict_examples(adapter, examples, device="cpu")
    )
    assert loaded.classes == ("a", "b", "c")
    assert loaded.record == json.loads(json.dumps(adapter.record))


def test_a_perceptron_and_a_number_come_back_too(load_backbone, make_examples, recipe, tmp_path):
    examples = make_examples("regression")
    run = finetune(load_backbone("tiny:net"), examples, strategy="partial:1", recipe=replace(recipe, head="mlp"))
    run.adapter.save(tmp_path)
    loaded = load_adapter(tmp_path, load_backbone)
    assert loaded.task.name == "regression"
    np.testing.assert_array_equal(
        predict_examples(loaded, examples, device="cpu"), predict_examples(run.adapter, examples, device="cpu")
    )


def test_only_what_was_learnt_is_in_the_file(save, tmp_path):
    save("probe")
    assert names(tmp_path) == HEAD
    save("partial:1")
    assert names(tmp_path) == HEAD | TENTH
    assert sorted(os.listdir(tmp_path)) == ["README.md", "adapter.json", "adapter.safetensors"]


@pytest.mark.parametrize("strategy", ["probe", "partial:1"])
def test_other_weights_are_refused_by_digest(save, load_backbone, tmp_path, strategy):
    save(strategy)
    with pytest.raises(AdapterError, match=r"trained on other weights of tiny:net \(expected SHA-256 .*--weights"):
        load_adapter(tmp_path, load_backbone, weights="5")


def test_the_place_of_local_weights_is_remembered_and_may_move(save, load_backbone, examples, tmp_path):
    adapter = save("probe", weights="5")
    again, moved = load_adapter(tmp_path, load_backbone), load_adapter(tmp_path, load_backbone, "5")
    for loaded in (again, moved):
        np.testing.assert_array_equal(
            predict_examples(loaded, examples, device="cpu"), predict_examples(adapter, examples, device="cpu")
        )


def test_weights_that_are_no_longer_there_are_said_with_the_adapter(save, load_backbone, tmp_path):
    save("probe", weights="5")

    def gone(id, *, weights=None, **options):
        raise UnreadableError(f"{weights}: no such weights file")

    gone.__signature__ = inspect.signature(load_backbone)
    with pytest.raises(AdapterError, match=f"{tmp_path}: .*5: no such weights file.*--weights"):
        load_adapter(tmp_path, gone)
    with pytest.raises(UnreadableError, match=r"^other: no such"):
        load_adapter(tmp_path, gone, "other")


def test_a_run_that_learnt_everything_needs_no_pretrained_weights(save, load_backbone, tmp_path):
    save("full", weights="5")
    asked = []

    def load(id, *, weights=None, **options):
        asked.append(weights)
        return load_backbone(id, weights=weights, **options)

    load_adapter(tmp_path, load)
    assert asked == ["random"]


def test_another_input_contract_is_refused(save, load_backbone, tmp_path, make_backbone):
    save("probe")

    def load(id, **options):
        backbone = make_backbone()
        return replace(backbone, contract=replace(backbone.contract, scale=2.0))

    with pytest.raises(AdapterError, match="now expects another input"):
        load_adapter(tmp_path, load)


def test_a_folder_that_is_no_adapter_says_why(save, load_backbone, tmp_path):
    with pytest.raises(AdapterError, match=r"no adapter here, adapter\.json is missing"):
        load_adapter(tmp_path / "none", load_backbone)
    save("probe")
    record = json.loads((tmp_path / "adapter.json").read_text())
    for text, message in [
        ("{", "cannot be read"),
        ("[]", "expected schema 1, found None"),
        (json.dumps(record | {"schema": 2}), "expected schema 1, found 2"),
        (json.dumps(record | {"target": "other"}), "changed after it was written"),
    ]:
        (tmp_path / "adapter.json").write_text(text)
        with pytest.raises(AdapterError, match=message):
            load_adapter(tmp_path, load_backbone)
    (tmp_path / "adapter.json").write_text(json.dumps(record))
    for content in (b"nothing", None):
        if content is None:
            (tmp_path / "adapter.safetensors").unlink()
        else:
            (tmp_path / "adapter.safetensors").write_bytes(content)
        with pytest.raises(AdapterError, match=r"adapter\.safetensors: cannot be read"):
            load_adapter(tmp_path, load_backbone)


def test_the_record_and_the_card_say_what_it_is(save, examples, tmp_path):
    adapter = save("partial:1")
    record = json.loads((tmp_path / "adapter.json").read_text())
    assert record["training"]["rows"] == 60
    assert record["training"]["groups"] == 20
    assert record["training"]["frozen"]["before"] == record["training"]["frozen"]["after"]
    assert record["parameters"]["trained"] == 6 * 8 * 9 + 16 + 27
    assert "It has not been evaluated." in (tmp_path / "README.md").read_text()
    evaluation = evaluate(adapter, examples, device="cpu")
    adapter.save(tmp_path, evaluation)
    assert str(evaluation) in (tmp_path / "README.md").read_text()


def test_nothing_is_pickled(save, tmp_path):
    """No pickle opcode stream, and no zip that torch.save would write, in any file of an adapter."""
    save("full")
    for name in os.listdir(tmp_path):
        content = (tmp_path / name).read_bytes()
        assert not content.startswith((b"\x80\x02", b"\x80\x04", b"\x80\x05", b"PK"))


def flipped(path, where):
    """The file with one bit turned over, at this share of its length."""
    content = bytearray(path.read_bytes())
    content[int(where * len(content))] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["adapter.safetensors", "adapter.json"])
@pytest.mark.parametrize("where", [0.01, 0.2, 0.5, 0.9, 0.999])
def test_one_bit_that_turned_over_is_noticed(save, load_backbone, tmp_path, name, where):
    save("partial:1")
    flipped(tmp_path / name, where)
    with pytest.raises(AdapterError, match=rf"{name}: "):
        load_adapter(tmp_path, load_backbone)


def test_adapters_without_digests_are_still_read(save, load_backbone, examples, tmp_path):
    adapter = save("probe")
    record = unchecked(json.loads((tmp_path / "adapter.json").read_text()))
    del record["learnt_digest"]
    (tmp_path / "adapter.json").write_text(json.dumps(record))
    loaded = load_adapter(tmp_path, load_backbone)
    np.testing.assert_array_equal(
        predict_examples(loaded, examples, device="cpu"), predict_examples(adapter, examples, device="cpu")
    )


def test_a_record_of_what_cannot_be_made_names_its_file(backbone, examples, recipe, load_backbone, tmp_path):
    finetune(backbone, examples, strategy="probe", recipe=recipe).adapter.save(tmp_path)
    record = json.loads((tmp_path / "adapter.json").read_text())
    record.pop("sha256")
    (tmp_path / "adapter.json").write_text(json.dumps(record | {"strategy": "=1+1"}))
    with pytest.raises(AdapterError, match=r"adapter\.json: is of no graft that can be made here \(unknown strategy"):
        load_adapter(tmp_path, load_backbone)

    def gone(id, *, weights=None, **options):
        raise BackboneError(f"{id!r} is not a backbone id")

    with pytest.raises(AdapterError, match=f"{tmp_path.name}: the backbone that it was trained on cannot be loaded"):
        load_adapter(tmp_path, gone)
