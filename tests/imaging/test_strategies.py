"""Every strategy on a 2D CNN, a 2D Transformer and a 3D CNN: it learns what it says, and comes back from its file."""

import numpy as np
import pytest
import torch

from graftwork.core import Examples, Manifest, Recipe, finetune, load_adapter
from graftwork.core.errors import SettingsError
from graftwork.core.inference.predict import predict_examples
from graftwork.core.model.strategies import STRATEGIES
from graftwork.imaging import load_backbone

NETWORKS = {
    "2D CNN": ("timm:mobilenetv2_050", 32),
    "2D Transformer": ("timm:vit_tiny_patch16_224", 32),
    "3D CNN": ("monai:resnet10-3d", 16),
    "inflated CNN": ("i3d:timm:mobilenetv2_050", 32),
    "2.5D CNN": ("slices:timm:mobilenetv2_050", 32),
}
SPELLED = [record.example for record in STRATEGIES.values()]


@pytest.fixture(scope="module", params=[
    pytest.param(name, marks=pytest.mark.long(reason="volumes take longest")) if name == "3D CNN" else name
    for name in NETWORKS
])  # fmt: skip
def network(request, tmp_path_factory):
    """A backbone with random weights, and ten generated examples of two classes whose brightness differs."""
    id, size = NETWORKS[request.param]
    torch.manual_seed(0)
    backbone = load_backbone(id, weights="random", image_size=size)
    folder = tmp_path_factory.mktemp("examples")
    rng = np.random.default_rng(0)
    paths, tensors = [], []
    for row in range(10):
        path = folder / f"{row}.bin"
        path.write_bytes(bytes([row]))
        paths.append(str(path))
        noise = rng.normal(size=(backbone.contract.channels, *backbone.contract.size)) + row % 2
        tensors.append(torch.as_tensor(noise, dtype=torch.float32))
    manifest = Manifest("generated", tuple(paths), "single-label", "label", ("a", "b"), np.arange(10) % 2)
    return request.param, backbone, Examples(manifest, backbone.contract, tuple(tensors))


@pytest.mark.parametrize("strategy", SPELLED)
def test_it_learns_what_it_says_and_comes_back_from_its_file(network, strategy, tmp_path):
    kind, backbone, examples = network
    recipe = Recipe(epochs=3, batch_size=5, device="cpu", workers=0, augment="off", compile="off")
    if strategy.startswith("layers") and "CNN" in kind:
        with pytest.raises(SettingsError, match=r"successive stages give sequences .* of one width"):
            finetune(backbone, examples, strategy=strategy, recipe=recipe)
        return
    run = finetune(backbone, examples, strategy=strategy, recipe=recipe)
    plan, graft = run.adapter.graft.plan, run.adapter.graft
    before = dict(backbone.network.named_parameters())
    own = [name for name in plan.trainable if name in before]
    if strategy != "scratch":
        assert all(not torch.equal(before[name], graft.network.get_parameter(name)) for name in own)
    assert run.proof.before == run.proof.after
    assert (run.proof.tensors == 0) == (strategy in ("full", "lpft", "gradual", "scratch"))
    run.adapter.save(tmp_path)
    if strategy in ("norm", "bias", "lora", "layers:2"):
        assert (tmp_path / "adapter.safetensors").stat().st_size < 0.2 * sum(4 * p.numel() for p in before.values())

    def load(id, *, weights=None, **options):
        torch.manual_seed(99)
        again = load_backbone(id, weights="random", image_size=backbone.contract.size[0])
        if run.proof.tensors:  # what was frozen has to be there; what was learnt has to come from the file
            again.network.load_state_dict(backbone.network.state_dict())
        return again

    loaded = load_adapter(tmp_path, load)
    expected = predict_examples(run.adapter, examples, device="cpu")
    np.testing.assert_allclose(predict_examples(loaded, examples, device="cpu"), expected, atol=1e-5)


@pytest.mark.parametrize("strategy", ["bias", "norm", "lora", "partial:1"])
def test_the_stages_below_what_learns_are_run_once_however_many_epochs(network, strategy):
    _, backbone, examples = network
    recipe = Recipe(epochs=1, batch_size=5, device="cpu", workers=0, augment="off", compile="off")
    once = finetune(backbone, examples, strategy=strategy, recipe=recipe)
    anew = finetune(backbone, examples, strategy=strategy, recipe=Recipe(**vars(recipe) | {"views": 0}))
    for name, value in once.adapter.graft.learnt().items():
        torch.testing.assert_close(anew.adapter.graft.learnt()[name], value, atol=1e-5, rtol=1e-5)


def test_activations_computed_again_move_statistics_once(network):
    kind, backbone, examples = network
    recipe = Recipe(epochs=2, batch_size=5, device="cpu", workers=0, augment="off", compile="off")
    kept, again = (
        finetune(backbone, examples, strategy="full", recipe=Recipe(**vars(recipe) | {"recompute": recompute}))
        for recompute in ("off", "on")
    )
    learnt = again.adapter.graft.learnt()
    assert any("running_mean" in name for name in learnt) == ("CNN" in kind)
    for name, value in kept.adapter.graft.learnt().items():
        torch.testing.assert_close(learnt[name], value, atol=1e-5, rtol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("strategy", ["full", "lora"])
def test_on_a_gpu_equal_runs_give_equal_bytes_or_say_which_layer_cannot(network, strategy, caplog):
    kind, backbone, examples = network
    recipe = Recipe(epochs=2, batch_size=5, device="cuda", precision="bf16", workers=0, augment="off", compile="off")
    one, other = (finetune(backbone, examples, strategy=strategy, recipe=recipe).adapter for _ in range(2))
    if kind == "3D CNN":
        assert "max_pool3d_with_indices_backward_cuda has no deterministic form" in caplog.text
    else:
        assert "deterministic" not in caplog.text
        assert all(torch.equal(value, other.graft.learnt()[name]) for name, value in one.graft.learnt().items())
    assert one.record["training"]["computed"]["precision"] == "bf16"
