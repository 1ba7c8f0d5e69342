"""Encoders that transformers has saved, compared with transformers' own networks and feature extractors."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from graftwork.audio import load_backbone
from graftwork.audio.backbones.transformers_encoders import FAMILIES, build_encoder
from graftwork.audio.preprocessing.contract import normalise_clip
from graftwork.core import Examples, Manifest
from graftwork.core.activation_cache.activations import run_frozen_stages
from graftwork.core.activation_cache.packing import with_lengths, without_lengths
from graftwork.core.compute.runtime import start_runtime
from graftwork.core.errors import BackboneError, ContractError, MissingPackageError, SettingsError
from graftwork.core.model.backbone import Backbone
from graftwork.core.model.graft import make_graft
from graftwork.core.model.stage_outputs import with_every_stage
from graftwork.core.model.strategies import parse_strategy
from graftwork.core.recipe import Recipe
from graftwork.core.types import Features

transformers = pytest.importorskip("transformers")

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
WAVES = {**SMALL, "conv_dim": [16] * 7, "num_conv_pos_embedding_groups": 2}
POSITIONS = {"num_conv_pos_embeddings": 16, "conv_depthwise_kernel_size": 7}
CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "data2vec": ("Data2VecAudio", {**WAVES, "num_conv_pos_embeddings": 3, "conv_pos_kernel_size": 8}),
    "sew": ("SEW", {**WAVES, "conv_stride": [5, 2, 2, 2, 2, 2, 2], "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
                    "num_conv_pos_embeddings": 16, "squeeze_factor": 2}),
    "conformer, relative": ("Wav2Vec2Conformer", {**WAVES, **POSITIONS, "position_embeddings_type": "relative"}),
    "conformer, rotary": ("Wav2Vec2Conformer", {**WAVES, **POSITIONS, "position_embeddings_type": "rotary",
                                                "feat_extract_norm": "layer"}),
    "w2v-bert": ("Wav2Vec2Bert", {**SMALL, "conv_depthwise_kernel_size": 7}),
    "w2v-bert, relative": ("Wav2Vec2Bert", {**SMALL, "conv_depthwise_kernel_size": 7,
                                            "position_embeddings_type": "relative"}),
    "whisper": ("Whisper", {"d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 48,
                            "decoder_layers": 1, "decoder_attention_heads": 4, "decoder_ffn_dim": 48, "vocab_size": 64,
                            "num_mel_bins": 80, "max_source_positions": 100, "max_target_positions": 8,
                            "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}),
}  # fmt: skip
WHISPER_SECONDS = 2
EXTRACTORS = {
    "w2v-bert": "SeamlessM4TFeatureExtractor",
    "w2v-bert, relative": "SeamlessM4TFeatureExtractor",
    "whisper": "WhisperFeatureExtractor",
}


def extractor_of(name: str) -> Any:
    kind = EXTRACTORS.get(name, "Wav2Vec2FeatureExtractor")
    options = {"chunk_length": WHISPER_SECONDS} if name == "whisper" else {}
    return getattr(transformers, kind)(**options)


@pytest.fixture(scope="module", params=CONFIGS)
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any, Path]:
    """transformers' own network with random weights, norms, biases and statistics included, and the folder it is in."""
    name, folder = request.param, tmp_path_factory.mktemp("saved")
    kind, config = CONFIGS[name]
    torch.manual_seed(0)
    network = getattr(transformers, f"{kind}Model")(getattr(transformers, f"{kind}Config")(**config)).eval()
    for path, parameter in network.named_parameters():
        if parameter.ndim == 1 or "pos_bias" in path:
            nn.init.normal_(parameter, mean=0.5, std=0.3)
    for path, buffer in network.named_buffers():
        if path.endswith("running_mean"):
            buffer.normal_(std=0.1)
        elif path.endswith("running_var"):
            buffer.uniform_(0.5, 2.0)
    network.save_pretrained(folder)
    extractor_of(name).save_pretrained(folder)
    return name, network, folder


def sounds(*lengths: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [0.1 * torch.randn(length, generator=generator) for length in lengths]


def read(backbone: Backbone, clips: list[Tensor]) -> Features:
    """The clips as a file of them would be read."""
    normal = backbone.contract.normalise == "clip"  # type: ignore[attr-defined]
    return backbone.contract.collate([normalise_clip(clip) if normal else clip for clip in clips])


@torch.no_grad()
def test_every_layer_gives_the_owners_hidden_states(saved: tuple[str, Any, Path]) -> None:
    name, network, folder = saved
    backbone = load_backbone(f"hf:{folder}")
    (clip,) = sounds(9100)
    given = extractor_of(name)(clip.numpy(), sampling_rate=16000, return_tensors="pt")
    if name == "whisper":
        expected = network.encoder(given["input_features"], output_hidden_states=True)
    else:
        expected = network(**given, output_hidden_states=True)
    features = read(backbone, [clip])
    found = [backbone.run(features, stop=stop) for stop in range(len(backbone.stages))]
    frames = int(found[-1].lengths[0])
    assert frames == backbone.frames(clip)
    # Whisper's silence behind the clip as well; of the others no more than the clip has.
    frames = found[-1].values.shape[1] if name == "whisper" else frames
    last = found[-1].values[0, :frames]
    assert (last - expected.last_hidden_state[0, :frames]).abs().max() < 1e-5
    before = found[-2].values[0]
    steps = min(len(before), expected.hidden_states[-2].shape[1])
    assert (before[:steps] - expected.hidden_states[-2][0, :steps]).abs().max() < 1e-5
    assert [stage.name for stage in backbone.stages[-3:]] == ["layer1", "layer2", "pool"]


@pytest.mark.parametrize("saved", ["w2v-bert", "whisper"], indirect=True)
@torch.no_grad()
def test_spectra_are_those_of_the_extractor(saved: tuple[str, Any, Path]) -> None:
    """A network that begins with a norm would hide another scale."""
    name, _, folder = saved
    backbone, clips = load_backbone(f"hf:{folder}"), sounds(16000, 9100)
    found = backbone.run(read(backbone, clips), stop=1)
    arrays = [clip.numpy() for clip in clips]
    given = extractor_of(name)(arrays, sampling_rate=16000, return_tensors="pt")["input_features"]
    expected = given.transpose(1, 2) if name == "whisper" else given
    for row, length in enumerate(found.lengths.tolist()):
        assert (found.values[row, :length] - expected[row, :length]).abs().max() < 5e-5


@torch.no_grad()
def test_a_clip_is_the_same_in_a_batch_of_longer_ones(saved: tuple[str, Any, Path]) -> None:
    _, _, folder = saved
    backbone = load_backbone(f"hf:{folder}")
    # Odd numbers of frames and of spectra among them.
    clips = sounds(16000, 12200, 7777, 4444)
    every, _ = with_every_stage(backbone)
    together = every.run(read(backbone, clips)).values
    for row, clip in enumerate(clips):
        alone = every.run(read(backbone, [clip])).values[0]
        assert (together[row] - alone).abs().max() < 2e-5 * alone.abs().max()


@pytest.mark.parametrize("strategy", ["partial:1", "lora", "lora all", "norm", "bias", "layers:2", "full", "scratch"])
def test_every_strategy_gives_its_tensors_a_gradient(saved: tuple[str, Any, Path], strategy: str) -> None:
    name, _, folder = saved
    backbone = load_backbone(f"hf:{folder}")
    strategy, _, targets = strategy.partition(" ")
    recipe = Recipe(lora_rank=2, lora_targets=targets or "auto")
    if (name, strategy) == ("sew", "layers:2"):
        with pytest.raises(SettingsError, match="layers needs a network whose successive stages"):
            make_graft(backbone, parse_strategy(strategy), recipe, "single-label", ("a", "b"), 4)
        return
    graft = make_graft(backbone, parse_strategy(strategy), recipe, "single-label", ("a", "b"), 4).train()
    graft(read(backbone, sounds(9100, 5000))).square().sum().backward()
    learnt = {name: value for name, value in graft.network.named_parameters() if value.requires_grad}
    assert set(learnt) == set(graft.plan.trainable)
    # Positions of a Conformer that its forward leaves out, and the mixture of one layer, have none in the original too.
    without = [name for name, value in learnt.items() if value.grad is None and "pos_conv_embed" not in name]
    assert not without


def test_random_weights_need_no_file(saved: tuple[str, Any, Path]) -> None:
    _, _, folder = saved
    torch.manual_seed(0)
    first = load_backbone(f"hf:{folder}", weights="random")
    torch.manual_seed(0)
    assert load_backbone(f"hf:{folder}", weights="random").digest() == first.digest()
    assert first.digest() != load_backbone(f"hf:{folder}").digest()


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whisper")
    _, config = CONFIGS["whisper"]
    torch.manual_seed(0)
    made = transformers.WhisperForConditionalGeneration(transformers.WhisperConfig(**config))
    made.save_pretrained(folder)
    extractor_of("whisper").save_pretrained(folder)
    return folder


def test_the_encoder_is_taken_out_of_a_whisper_that_transcribes(whisper: Path) -> None:
    original = transformers.WhisperForConditionalGeneration.from_pretrained(whisper).model.encoder.state_dict()
    found = load_backbone(f"hf:{whisper}").network.state_dict()
    assert found.keys() == original.keys()
    assert all(torch.equal(found[name], original[name]) for name in found)


def test_a_clip_beyond_what_whisper_takes_is_refused_until_told_what_to_do(whisper: Path, tmp_path: Path) -> None:
    import soundfile

    soundfile.write(tmp_path / "a.wav", np.linspace(-1, 1, 16000 * WHISPER_SECONDS + 800, dtype=np.float32), 16000)
    file = str(tmp_path / "a.wav")
    with pytest.raises(ContractError, match=r"has 2\.05 s, and the network takes at most 2 s: .*--window-seconds"):
        load_backbone(f"hf:{whisper}").contract.read(file)
    assert len(load_backbone(f"hf:{whisper}", max_seconds=2.0).contract.read(file)) == 32000
    # Batches are counted in the seconds that are computed.
    assert load_backbone(f"hf:{whisper}").contract.seconds(torch.zeros(5000)) == WHISPER_SECONDS
    with pytest.raises(SettingsError, match="max_seconds must be at most 2 s"):
        load_backbone(f"hf:{whisper}", max_seconds=3.0)


def test_lengths_survive_in_half_precision() -> None:
    lengths = torch.tensor([1, 1023, 1024, 2999])
    packed = with_lengths(Features(torch.randn(4, 3, 5), lengths)).values.half().float()
    assert torch.equal(without_lengths(packed).lengths, lengths)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@torch.no_grad()
def test_stored_stages_of_whisper_keep_the_silence_behind_a_clip(whisper: Path, tmp_path: Path, dtype: Any) -> None:
    """The layers above attend to it, whatever the lengths say."""
    backbone = load_backbone(f"hf:{whisper}")
    clips = sounds(9000, 31999, 5000, 20001)
    paths = [tmp_path / f"{row}.bin" for row in range(4)]
    for row, path in enumerate(paths):
        path.write_bytes(bytes([row]))
    manifest = Manifest("generated", tuple(map(str, paths)), "single-label", "label", ("a", "b"), np.arange(4) % 2)
    seconds = tuple(len(clip) / 16000 for clip in clips)
    examples = Examples(manifest, backbone.contract, tuple(clips), seconds=seconds)
    recipe = Recipe(device="cpu", workers=0, compile="off", cache=str(tmp_path / "cache"), cache_dtype=dtype)
    runtime = start_runtime(recipe)
    expected = backbone.run(read(backbone, clips))
    for stop in (1, 2, 3, 4):
        stored = run_frozen_stages(backbone, examples, stop, runtime, recipe)
        assert stored is not None
        batch = stored.contract.collate([stored.tensor(row) for row in range(4)])
        assert batch.lengths is not None
        assert batch.lengths.tolist() == backbone.run(read(backbone, clips), stop=stop).lengths.tolist()
        difference = (backbone.run(batch, stop).values - expected.values).abs().max()
        assert difference < (1e-5 if dtype == "float32" else 5e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"feature_size": 128}, "feature_size must be 80, which the network takes, found 128"),
        ({"chunk_length": 30}, "chunk_length must be 2, which the network takes, found 30"),
        ({"feature_extractor_type": "Wav2Vec2FeatureExtractor"}, "must be WhisperFeatureExtractor"),
    ],
)
def test_settings_of_another_checkpoint_are_refused(
    change: dict[str, Any], message: str, whisper: Path, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text((whisper / "config.json").read_text())
    settings = json.loads((whisper / "preprocessor_config.json").read_text())
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings | change))
    with pytest.raises(BackboneError, match=message):
        load_backbone(f"hf:{tmp_path}", weights="random")


def test_without_transformers_the_message_names_the_extra(whisper: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'graftwork\[transformers\]'"):
        load_backbone(f"hf:{whisper}")


def test_only_what_needs_no_transformers_can_be_pretrained(whisper: Path, tmp_path: Path) -> None:
    from graftwork.audio.pretraining.loop import Pretraining, pretrain

    backbone = load_backbone(f"hf:{whisper}")
    manifest = Manifest("generated", ("a", "b"), "single-label", "label", ("a", "b"), np.arange(2))
    examples = Examples(manifest, backbone.contract, tuple(sounds(9000, 8000)))
    with pytest.raises(SettingsError, match=r"only networks of the wav2vec 2\.0 family"):
        pretrain(backbone, examples, Pretraining(device="cpu"), tmp_path, speakers=False, resume=False)


def test_an_output_that_is_shortened_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "wav2vec2-bert", "add_adapter": True}))
    with pytest.raises(BackboneError, match="add_adapter"):
        load_backbone(f"hf:{tmp_path}", weights="random")


def test_a_network_that_is_built_afresh_has_the_tensors_of_the_loaded_one(saved: tuple[str, Any, Path]) -> None:
    _, network, folder = saved
    backbone = load_backbone(f"hf:{folder}")
    family = FAMILIES[network.config.model_type]
    assert build_encoder(family, network.config).state_dict().keys() == backbone.network.state_dict().keys()
