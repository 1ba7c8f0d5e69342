"""Every strategy on speech networks: it learns what it says, clips of unequal length included."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from graftwork.audio import new_backbone
from graftwork.core import Examples, Manifest, Recipe, finetune
from graftwork.core.backbone import Backbone
from graftwork.core.recipe import STRATEGIES

from .conftest import CONFIGS

SPELLED = [name.replace(":N", ":1").replace("[:1]", ":4") for name in STRATEGIES]
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
    return backbone, Examples(manifest, backbone.contract, tuple(tensors))


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
            assert not torch.equal(before[name], graft.backbone.get_parameter(name)), name
    assert once.proof.before == once.proof.after
    for name, value in graft.learnt().items():
        torch.testing.assert_close(anew.adapter.graft.learnt()[name], value, atol=2e-5, rtol=1e-4)
