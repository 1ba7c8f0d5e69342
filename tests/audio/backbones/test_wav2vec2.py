"""Running the stages equals the original networks on a clip alone, and padding changes nothing."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from graftwork.audio.backbones.wav2vec2 import group_norm_over_clips
from graftwork.audio.backbones.wavlm import GatedAttention
from graftwork.audio.preprocessing.contract import AudioContract
from graftwork.core.compute.runtime import start_runtime
from graftwork.core.model.backbone import Backbone, named_tensors
from graftwork.core.recipe import Recipe
from graftwork.core.types import Features
from tests.audio.conftest import CONFIGS, relative_difference, with_lively_norms

TOLERANCE = 1e-5
SEED = 0


@torch.no_grad()
def test_every_stage_gives_a_clip_the_same_in_a_batch_as_alone(backbone: Backbone, clips: list[torch.Tensor]) -> None:
    batch = backbone.contract.collate(clips)
    alone = [Features(clip[None]) for clip in clips]
    for stage in backbone.stages[:-1]:
        batch = stage.run(backbone.network, batch)
        alone = [stage.run(backbone.network, one) for one in alone]
        assert batch.lengths is not None
        assert batch.lengths.tolist() == [one.values.shape[1] for one in alone]
        for row, one in enumerate(alone):
            own = batch.values[row, : one.values.shape[1]]
            assert relative_difference(own, one.values[0]) < TOLERANCE, f"{stage.name}, clip {row}"


@torch.no_grad()
def test_cnn_frames_beyond_a_clip_are_zero(backbone: Backbone, clips: list[torch.Tensor]) -> None:
    frames = backbone.run(backbone.contract.collate(clips), stop=1)
    assert frames.lengths is not None
    for row, length in enumerate(frames.lengths.tolist()):
        assert frames.values[row, :length].abs().sum(1).gt(0).all()
        assert not frames.values[row, length:].any()


@pytest.mark.parametrize("pooling", ["mean", "mean+std"])
@torch.no_grad()
def test_the_vector_of_a_clip_does_not_depend_on_its_batch(
    config: dict[str, Any], clips: list[torch.Tensor], pooling: str
) -> None:
    backbone = with_lively_norms(config, pooling=pooling)
    together = backbone.run(backbone.contract.collate(clips)).values
    assert together.shape == (4, backbone.feature_dim)
    for row, clip in enumerate(clips):
        alone = backbone.run(Features(clip[None], torch.tensor([len(clip)]))).values[0]
        assert relative_difference(together[row], alone) < TOLERANCE


@torch.no_grad()
def test_what_stands_in_the_padding_is_never_seen(backbone: Backbone, clips: list[torch.Tensor]) -> None:
    batch = backbone.contract.collate(clips)
    assert batch.lengths is not None
    disturbed = batch.values.clone()
    for row, length in enumerate(batch.lengths.tolist()):
        disturbed[row, length:] = 100.0
    clean = backbone.run(batch).values
    assert relative_difference(backbone.run(Features(disturbed, batch.lengths)).values, clean) < TOLERANCE
    # The same for stored features, whose padding may hold anything finite.
    middle = backbone.run(batch, stop=3)
    assert middle.lengths is not None
    values = middle.values.clone()
    for row, length in enumerate(middle.lengths.tolist()):
        values[row, length:] = 100.0
    resumed = backbone.run(Features(values, middle.lengths), start=3).values
    assert relative_difference(resumed, clean) < TOLERANCE


@torch.no_grad()
def test_a_clip_of_one_frame_among_longer_ones_stays_finite(backbone: Backbone) -> None:
    shortest = torch.randn(backbone.contract.shortest_samples, generator=torch.Generator().manual_seed(SEED))
    long = torch.randn(4000, generator=torch.Generator().manual_seed(SEED + 1))
    together = backbone.run(backbone.contract.collate([long, shortest])).values
    alone = backbone.run(Features(shortest[None])).values
    assert relative_difference(together[1], alone[0]) < TOLERANCE


@torch.no_grad()
def test_the_stages_equal_the_forward_of_torchaudio(backbone: Backbone, clips: list[torch.Tensor]) -> None:
    reference = torchaudio_twin(backbone)
    expected, _ = reference(clips[0][None])
    found = backbone.run(Features(clips[0][None]), stop=-1).values
    assert relative_difference(found, expected) < TOLERANCE
    layers, _ = reference.extract_features(clips[0][None])
    found = backbone.run(Features(clips[0][None]), stop=3).values
    assert relative_difference(found, layers[0]) < TOLERANCE


def torchaudio_twin(backbone: Backbone) -> nn.Module:
    """torchaudio's own network with the same weights, for WavLM with its fused projections."""
    from torchaudio.models import wav2vec2_model, wavlm_model

    shape = backbone.network.architecture
    arguments = {
        "extractor_mode": f"{shape.cnn_norm}_norm",
        "extractor_conv_layer_config": list(shape.cnn_layers),
        "extractor_conv_bias": shape.cnn_bias,
        "encoder_embed_dim": shape.hidden,
        "encoder_projection_dropout": 0.0,
        "encoder_pos_conv_kernel": shape.position_kernel,
        "encoder_pos_conv_groups": shape.position_groups,
        "encoder_num_layers": shape.layers,
        "encoder_num_heads": shape.heads,
        "encoder_attention_dropout": 0.0,
        "encoder_ff_interm_features": shape.feed_forward,
        "encoder_ff_interm_dropout": 0.0,
        "encoder_dropout": 0.0,
        "encoder_layer_norm_first": shape.norm_first,
        "encoder_layer_drop": 0.0,
        "aux_num_out": None,
    }
    state = dict(backbone.network.state_dict())
    if shape.family != "wavlm":
        twin = wav2vec2_model(**arguments)
    else:
        twin = wavlm_model(**arguments, encoder_num_buckets=320, encoder_max_distance=800)
        for layer in range(shape.layers):
            path = f"encoder.transformer.layers.{layer}.attention"
            for kind in ("weight", "bias"):
                parts = [state.pop(f"{path}.{letter}_proj.{kind}") for letter in "qkv"]
                state[f"{path}.attention.in_proj_{kind}"] = torch.cat(parts)
                state[f"{path}.attention.out_proj.{kind}"] = state.pop(f"{path}.out_proj.{kind}")
    twin.load_state_dict(state, strict=True)
    return twin.eval()


def test_group_norm_over_clips_equals_group_norm_of_each_clip() -> None:
    torch.manual_seed(SEED)
    norm = nn.GroupNorm(5, 5)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x, lengths = torch.randn(3, 5, 40) * 3 + 2, torch.tensor([40, 17, 2])
    found = group_norm_over_clips(norm, x, lengths)
    for row, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(found[row, :, :length], norm(x[row : row + 1, :, :length])[0])


@pytest.mark.parametrize("how", ["autocast", "bfloat16"])
@torch.no_grad()
def test_half_precision_runs_and_ignores_padding(how: str, backbone: Backbone, clips: list[torch.Tensor]) -> None:
    expected = backbone.run(backbone.contract.collate(clips)).values
    batch = backbone.contract.collate(clips)
    if how == "autocast":
        with torch.autocast("cpu", torch.bfloat16):
            found = backbone.run(batch).values
    else:
        backbone.network.bfloat16()
        found = backbone.run(Features(batch.values.bfloat16(), batch.lengths)).values
        assert found.dtype == torch.bfloat16
    # Eight bits of mantissa through thirteen layers with random weights.
    assert relative_difference(found.float(), expected) < 0.05


def test_group_norm_with_several_channels_a_group_is_refused() -> None:
    with pytest.raises(ValueError, match="one channel a group"):
        group_norm_over_clips(nn.GroupNorm(2, 4), torch.zeros(1, 4, 3), torch.tensor([2]))


def test_stages_carry_the_names_that_people_freeze_by(backbone: Backbone) -> None:
    names = [stage.name for stage in backbone.stages]
    assert names == ["cnn", "projection", "layer1", "layer2", "layer3", "pool"]


def test_the_norm_around_the_layers_belongs_where_it_is_computed() -> None:
    norm = "encoder.transformer.layer_norm.weight"
    base, large = (with_lively_norms(CONFIGS[f"wav2vec2 {kind} norm"]) for kind in ("group", "layer"))
    assert base.stages[base.stage_of(norm)].name == "projection"
    assert large.stages[large.stage_of(norm)].name == "layer3"


def test_every_path_that_a_stage_owns_exists(backbone: Backbone) -> None:
    for stage in backbone.stages:
        for path in stage.owns:
            assert isinstance(backbone.network.get_submodule(path), nn.Module)


def test_stages_run_a_copy_with_the_modules_of_the_copy(base_backbone: Backbone, clips: list[torch.Tensor]) -> None:
    twin = base_backbone.copy()
    with torch.no_grad():
        nn.init.zeros_(twin.network.encoder.transformer.layers[2].final_layer_norm.weight)
        nn.init.zeros_(twin.network.encoder.transformer.layers[2].final_layer_norm.bias)
        mean, _ = twin.run(Features(clips[0][None])).values.chunk(2, dim=1)  # the deviation has a floor
        assert not mean.any()
        assert base_backbone.run(Features(clips[0][None])).values.any()


def test_a_projection_replaced_in_place_is_used(backbone: Backbone, clips: list[torch.Tensor]) -> None:
    attention = backbone.network.encoder.transformer.layers[1].attention
    seen = []

    class Watched(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(tuple(x.shape))
            return super().forward(x)

    attention.q_proj = Watched(32, 32)
    backbone.run(Features(clips[0][None]), stop=4)
    assert seen == [(1, 24, 32)]


def test_gradients_reach_every_tensor(backbone: Backbone, clips: list[torch.Tensor]) -> None:
    backbone.run(backbone.contract.collate(clips)).values.square().sum().backward()
    without = [
        name
        for name, parameter in backbone.network.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().sum() > 0
    ]
    # A constant added to every key cancels in the softmax.
    assert [name for name in without if not name.endswith("k_proj.bias")] == []


def test_evaluation_is_deterministic_and_training_drops(clips: list[torch.Tensor]) -> None:
    dropping = {"hidden_dropout": 0.5, "attention_dropout": 0.5, "layerdrop": 0.5}
    for name in ("wav2vec2 group norm", "wavlm layer norm"):
        backbone = with_lively_norms({**CONFIGS[name], **dropping})
        batch = backbone.contract.collate(clips)
        with torch.no_grad():
            torch.testing.assert_close(backbone.run(batch).values, backbone.run(batch).values, rtol=0, atol=0)
            backbone.network.train()
            assert not torch.equal(backbone.run(batch).values, backbone.run(batch).values)


@torch.no_grad()
def test_dropout_in_the_projection_follows_its_own_mode(clips: list[torch.Tensor]) -> None:
    backbone = with_lively_norms({**CONFIGS["wav2vec2 group norm"], "hidden_dropout": 0.5, "feat_proj_dropout": 0.0})
    frames = backbone.run(Features(clips[0][None]), stop=1)
    for path in backbone.stages[1].owns:
        backbone.network.get_submodule(path).train()
    share = (backbone.run(frames, start=1, stop=2).values == 0).float().mean()
    assert float(share) == pytest.approx(0.5, abs=0.1)


def test_a_dropped_layer_passes_its_input_on_and_still_gives_gradients(clips: list[torch.Tensor]) -> None:
    quiet = {"hidden_dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0, "layerdrop": 1.0}
    backbone = with_lively_norms({**CONFIGS["wav2vec2 group norm"], **quiet})
    backbone.network.train()
    before = backbone.run(backbone.contract.collate(clips), stop=2)
    after = backbone.run(before, start=2, stop=3)
    assert torch.equal(before.values, after.values)
    after.values.sum().backward()
    gradient = backbone.network.encoder.transformer.layers[0].attention.q_proj.weight.grad
    assert gradient is not None
    assert not gradient.any()


def test_layer_drop_does_not_fire_in_a_layer_kept_in_evaluation(clips: list[torch.Tensor]) -> None:
    quiet = {"hidden_dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0, "layerdrop": 1.0}
    backbone = with_lively_norms({**CONFIGS["wav2vec2 group norm"], **quiet})
    expected = backbone.run(Features(clips[0][None]), stop=3).values
    backbone.network.train()
    backbone.network.encoder.transformer.layers[0].eval()
    torch.testing.assert_close(backbone.run(Features(clips[0][None]), stop=3).values, expected)


def test_full_rows_skip_the_mask(base_backbone: Backbone, clips: list[torch.Tensor]) -> None:
    masks = []
    layer = base_backbone.network.encoder.transformer.layers[0]
    layer.register_forward_pre_hook(
        lambda module, args, kwargs: masks.append(kwargs["attention_mask"]), with_kwargs=True
    )
    contract = base_backbone.contract
    base_backbone.run(contract.collate([clips[0], clips[0]]))
    base_backbone.run(Features(clips[0][None]))
    base_backbone.run(contract.collate(clips))
    assert [mask is None for mask in masks] == [True, True, False]


def test_stages_build_and_contract_can_be_sent_to_other_processes(backbone: Backbone) -> None:
    sent = (backbone.stages, backbone.contract)
    received = pickle.loads(pickle.dumps((*sent, backbone.build)))
    assert received[1] == sent[1]
    assert [stage.owns for stage in received[0]] == [stage.owns for stage in sent[0]]
    network = received[2]()
    values = torch.randn(1, 2000)
    expected = backbone.with_network(network).run(Features(values)).values
    features = Features(values)
    for stage in received[0]:
        features = stage.run(network, features)
    assert torch.equal(features.values, expected)


def test_build_gives_the_same_architecture_with_other_weights(backbone: Backbone) -> None:
    assert backbone.build is not None
    fresh = backbone.build()
    shapes = {name: value.shape for name, value in named_tensors(backbone.network).items()}
    assert {name: value.shape for name, value in named_tensors(fresh).items()} == shapes
    assert backbone.with_network(fresh).digest() != backbone.digest()
    assert not any(module.training for module in fresh.modules())


@torch.no_grad()
def test_random_weights_do_not_let_the_signal_fade(clips: list[torch.Tensor]) -> None:
    torch.manual_seed(SEED)
    for kind in ("group", "layer"):
        backbone = with_lively_norms(CONFIGS[f"wav2vec2 {kind} norm"])
        assert backbone.build is not None
        frames = backbone.with_network(backbone.build()).run(Features(clips[0][None]), stop=1).values
        assert float(frames.std()) > 0.1


def test_only_the_first_wavlm_layer_holds_the_relative_positions() -> None:
    backbone = with_lively_norms(CONFIGS["wavlm group norm"])
    attentions = [layer.attention for layer in backbone.network.encoder.transformer.layers]
    assert all(isinstance(attention, GatedAttention) for attention in attentions)
    assert [attention.rel_attn_embed is not None for attention in attentions] == [True, False, False]
    with pytest.raises(ValueError, match="first layer"):
        attentions[1].relative_bias(3)


@pytest.mark.parametrize("time", [1, 2, 50, 1200])
def test_relative_positions_equal_those_of_torchaudio(time: int) -> None:
    from torchaudio.models.wav2vec2.wavlm_attention import WavLMSelfAttention

    torch.manual_seed(SEED)
    original = WavLMSelfAttention(8, 2, has_relative_attention_bias=True, num_buckets=320, max_distance=800)
    ours = GatedAttention(8, 2, 0.0, 320, 800, embeds=True)
    assert ours.rel_attn_embed is not None
    ours.rel_attn_embed.load_state_dict(original.rel_attn_embed.state_dict())
    assert torch.equal(ours.relative_bias(time), original.compute_bias(time, time))


def test_the_contract_knows_the_receptive_field(backbone: Backbone) -> None:
    assert isinstance(backbone.contract, AudioContract)
    assert backbone.contract.shortest_samples == 400
    frames = backbone.run(Features(torch.randn(1, 400)), stop=1).values
    assert frames.shape[1] == 1
    with pytest.raises(RuntimeError, match=r"[Kk]ernel size"):
        backbone.run(Features(torch.randn(1, 399)), stop=1)


@torch.no_grad()
def test_no_stage_asks_the_device_for_a_number(backbone: Backbone, clips: list[torch.Tensor]) -> None:
    """Tensors on torch's meta device have no values: whoever asks for one, as of a length, raises. On a GPU it would
    wait, in every layer, until the GPU has done everything before."""
    batch = backbone.contract.collate(clips)
    backbone.network.to("meta")
    sent = replace(start_runtime(Recipe(device="cpu")), device=torch.device("meta")).send(batch)
    assert sent.lengths is not None
    assert sent.lengths.device.type == "cpu"
    found = backbone.run(sent)
    assert (found.values.device.type, found.values.shape) == ("meta", (len(clips), backbone.feature_dim))
