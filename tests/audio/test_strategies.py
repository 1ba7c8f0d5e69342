"""Every strategy on speech networks: it learns what it says, clips of unequal length included."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from graftwork.audio import new_backbone
from graftwork.core import Examples, Manifest, Recipe, finetune
from graftwork.core.errors import SettingsError
from graftwork.core.inference.predict import predict_examples
from graftwork.core.model.backbone import Backbone
from graftwork.core.model.strategies import STRATEGIES

from .conftest import CONFIGS

SPELLED = [record.example for record in STRATEGIES.values()]
RECIPE = Recipe(epochs=3, batch_size=4, device="cpu", workers=0, augment="off", compile="off")


@pytest.fixture(scope="module", params=["wav2vec2 group norm", "wavlm layer norm"])
def speech(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Backbone, Examples]:
    torch.manual_seed(0)
    backbone = new_backbone(CONFIGS[request.param])
    folder: Path = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    paths, tensors = [], []
    for row in range(8):
        path = folder / f"{row}.bin"
        path.write_bytes(bytes([row]))
        paths.append(str(path))
        noise = rng.normal(size=1600 + 640 * row).astype(np.float32)
        tensors.append(torch.from_numpy(noise if row % 2 else np.cumsum(noise) / 40))
    manifest = Manifest("generated", tuple(paths), "single-label", "label", ("a", "b"), np.arange(8) % 2)
    seconds = tuple(backbone.contract.seconds(tensor) or 0.0 for tensor in tensors)
    return backbone, Examples(manifest, backbone.contract, tuple(tensors), seconds=seconds)


@pytest.mark.parametrize("strategy", [name for name in SPELLED if name not in ("knn", "lpft")])
def test_an_attention_for_pooling_is_learnt_with_every_strategy_that_trains(
    speech: tuple[Backbone, Examples], strategy: str
) -> None:
    torch.manual_seed(0)
    backbone = new_backbone(CONFIGS["hubert group norm"], pooling="attentive")
    examples = Examples(speech[1].manifest, backbone.contract, speech[1].tensors, seconds=speech[1].seconds)
    graft = finetune(backbone, examples, strategy=strategy, recipe=RECIPE).adapter.graft
    pooling = {name for name in graft.plan.trainable if name.startswith("attentive_pooling.")}
    assert set(backbone.new_parameters) == pooling
    assert len(backbone.new_parameters) == 3
    for name in backbone.new_parameters:
        assert not torch.equal(backbone.network.get_parameter(name), graft.network.get_parameter(name)), name
    assert graft.plan.frontier <= len(graft.backbone.stages) - 1
    if strategy == "probe":
        assert graft.plan.trainable == backbone.new_parameters


def test_an_attention_for_pooling_cannot_be_used_without_learning(speech: tuple[Backbone, Examples]) -> None:
    backbone = new_backbone(CONFIGS["hubert group norm"], pooling="attentive")
    with pytest.raises(SettingsError, match=r"knn: attentive_pooling.* has to be learnt"):
        finetune(backbone, speech[1], strategy="knn", recipe=RECIPE)
    with pytest.raises(SettingsError, match=r"lpft: .* attentive_pooling.* has to be learnt before"):
        finetune(backbone, speech[1], strategy="lpft", recipe=RECIPE)


@pytest.mark.parametrize("strategy", SPELLED)
def test_it_learns_what_it_says_from_stored_stages_as_from_stages_run_anew(
    speech: tuple[Backbone, Examples], strategy: str
) -> None:
    backbone, examples = speech
    once = finetune(backbone, examples, strategy=strategy, recipe=RECIPE)
    anew = finetune(backbone, examples, strategy=strategy, recipe=Recipe(**vars(RECIPE) | {"views": 0}))
    before = dict(backbone.network.named_parameters())
    graft = once.adapter.graft
    for name in graft.plan.trainable:
        if name in before and strategy != "scratch":
            assert not torch.equal(before[name], graft.network.get_parameter(name)), name
    assert once.proof.before == once.proof.after
    for name, value in graft.learnt().items():
        torch.testing.assert_close(anew.adapter.graft.learnt()[name], value, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("strategy", ["partial:2", "lora", "full", "bias"])
def test_activations_computed_again_give_the_same_weights(speech: tuple[Backbone, Examples], strategy: str) -> None:
    """Also with frozen layers below and between, and with dropout, whose randomness is repeated."""
    backbone, examples = speech
    kept, again = (
        finetune(backbone, examples, strategy=strategy, recipe=Recipe(**vars(RECIPE) | {"recompute": recompute}))
        for recompute in ("off", "on")
    )
    assert again.adapter.graft.recompute
    for name, value in kept.adapter.graft.learnt().items():
        torch.testing.assert_close(again.adapter.graft.learnt()[name], value, atol=1e-6, rtol=1e-5)


def test_activations_computed_again_are_not_kept(speech: tuple[Backbone, Examples]) -> None:
    backbone, examples = speech
    held = {}
    for recompute in ("off", "on"):
        sizes: list[int] = []
        recipe = Recipe(**vars(RECIPE) | {"recompute": recompute, "epochs": 1})
        graft = finetune(backbone, examples, strategy="full", recipe=recipe).adapter.graft
        graft.train(True)
        batch = examples.contract.collate([examples.tensor(row) for row in range(4)])

        def note(tensor: torch.Tensor, sizes: list[int] = sizes) -> torch.Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            graft(batch)
        held[recompute] = sum(sizes)
    assert held["on"] < 0.3 * held["off"]


@pytest.mark.gpu
@pytest.mark.parametrize("strategy", ["full", "lora", "layers:2"])
def test_on_a_gpu_equal_runs_give_equal_bytes(speech: tuple[Backbone, Examples], strategy: str) -> None:
    backbone, examples = speech
    recipe = replace(RECIPE, device="cuda", precision="bf16")
    one, other = (finetune(backbone, examples, strategy=strategy, recipe=recipe).adapter.graft for _ in range(2))
    assert all(torch.equal(value, other.learnt()[name]) for name, value in one.learnt().items())


@pytest.mark.gpu
def test_a_gpu_solves_the_probe_of_clips_that_a_cpu_solves(speech: tuple[Backbone, Examples]) -> None:
    backbone, examples = speech
    recipes = [replace(RECIPE, device=device, precision="fp32") for device in ("cpu", "cuda")]
    adapters = [finetune(backbone, examples, recipe=recipe).adapter for recipe in recipes]
    found = [predict_examples(adapter, examples, device="cpu") for adapter in adapters]
    np.testing.assert_allclose(found[1], found[0], atol=0.02)
