"""Speech backbones by id: `tiny:NAME`, `torchaudio:NAME`, `hf:ID_OR_FOLDER`, and speaker encoders as `speechbrain:` and
`wespeaker:ID_OR_FOLDER`; listing, making, saving."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor, nn

from graftwork.audio.backbones import bundles, huggingface
from graftwork.audio.backbones.architecture import Architecture, empty_network, random_network
from graftwork.audio.backbones.encoder_folder import encoder_folder
from graftwork.audio.backbones.feature_extractor import checked_settings, input_settings
from graftwork.audio.backbones.memory_need import memory_need
from graftwork.audio.backbones.packaged import ENTRIES, tiny_folder
from graftwork.audio.backbones.pooling import AttentivePooling, Pooling, pooled_dim
from graftwork.audio.backbones.speaker_encoders import FILES, LEFT_OUT, SHORTEST_FRAMES, Owner, read_encoder
from graftwork.audio.backbones.wav2vec2 import ATTENTION, speech_stages
from graftwork.audio.backbones.weights import fill, read_weights, translate
from graftwork.audio.domain import DOMAIN
from graftwork.audio.preprocessing.contract import AudioContract, OnOff
from graftwork.core.domain import BackboneEntry
from graftwork.core.errors import BackboneError, SettingsError
from graftwork.core.files import read_json
from graftwork.core.model.backbone import Backbone

RANDOM = "random"
"""As `weights`: no pretrained weights but fresh ones, drawn from torch's global random state."""

DEFAULT_POOLING: Pooling = "mean+std"

SPEAKER_ENCODERS: dict[Owner, str] = {
    "speechbrain": "ECAPA-TDNN or ResNet as SpeechBrain has it, as speechbrain/spkrec-ecapa-voxceleb; its embedding",
    "wespeaker": "ResNet or ECAPA-TDNN as WeSpeaker has it, a folder with avg_model.pt and config.yaml; its embedding",
}
"""What `backbones` says of encoders that give an embedding of the speaker."""


def load_backbone(
    id: str,
    *,
    weights: str | Path | None = None,
    max_seconds: float | None = None,
    pooling: str | None = None,
    window_seconds: float | None = None,
    window_overlap: float | None = None,
    trim_silence: OnOff | None = None,
) -> Backbone:
    """A pretrained speech network by id, in evaluation mode on the CPU.

    id: `tiny:wav2vec2` (in the package), `torchaudio:NAME` (see `list_backbones`), or `hf:` with a local folder or an
    id of the Hugging Face hub, of the families wav2vec2, hubert and wavlm; or `speechbrain:` or `wespeaker:` with such
    a folder or id, of an ECAPA-TDNN or a ResNet, whose embedding is what it gives, without any other pooling.
    weights: a local .safetensors, .pt, .pth or .bin file with names as torchaudio or Hugging Face have them,
    used instead of the source's own; or "random".
    max_seconds: longer clips are cropped to their middle, or refused where pooling is "none".
    window_seconds, window_overlap: longer clips are learnt from and evaluated in windows of this length, which share
    this part with the next (half of it by default). trim_silence: "on" cuts off what comes before the first and behind
    the last speech. pooling: "mean+std" (default) or "mean" over time, or "attentive", the first two weighted by a
    learnt attention, or "none", which gives frames, as a text needs them; unless something is asked for, texts get
    these by themselves.

    Raises BackboneError for an unknown id or weights that do not fit, DownloadError, MissingPackageError,
    SettingsError, UnreadableError.
    """
    source, _, name = id.partition(":")
    owner = next((known for known in get_args(Owner) if known == source), None)
    if owner is not None and name:
        contract = AudioContract(max_seconds=max_seconds, window_seconds=window_seconds,
                                 window_overlap=0.5 if window_overlap is None else window_overlap,
                                 trim_silence=trim_silence or "off")  # fmt: skip
        return _speaker_backbone(id, owner, name, contract, pooling, weights)
    if source == "torchaudio" and name in bundles.BUNDLES:
        architecture, normalised = bundles.architecture_of(name)
        rate = 16000
    elif source in ("hf", "tiny") and name:
        folder = tiny_folder(name) if source == "tiny" else huggingface.checkpoint_folder(name)
        architecture = huggingface.architecture_from_config(read_json(folder / "config.json"), id)
        rate, normalised = input_settings(folder)
    else:
        raise BackboneError(_unknown(id))
    contract = _contract(architecture, rate, normalised, max_seconds)
    contract = replace(contract, window_seconds=window_seconds, trim_silence=trim_silence or "off")
    if window_overlap is not None:
        contract = replace(contract, window_overlap=window_overlap)
    if weights == RANDOM:
        network = random_network(architecture)
    else:
        if weights is not None:
            file = Path(weights)
        else:
            file = bundles.fetch(name) if source == "torchaudio" else huggingface.weights_file(folder)
        network = _pretrained(architecture, file)
    return _backbone(id, network, architecture, contract, pooling, None if weights is None else str(weights))


def new_backbone(
    config: Mapping[str, Any], *, max_seconds: float | None = None, pooling: str | None = None
) -> Backbone:
    """A network with random weights, of a shape in the words of a Hugging Face config.json.

    config: needs `model_type` ("wav2vec2", "hubert" or "wavlm"); every other key has that format's default,
    which is the base model. `sampling_rate` (16000) and `do_normalize` (True) describe the input. max_seconds, pooling:
    as of `load_backbone`. Raises BackboneError for a configuration that describes no such network.
    """
    architecture = huggingface.architecture_from_config(config, "config")
    about = {key: config[key] for key in ("sampling_rate", "do_normalize") if key in config}
    rate, normalised = checked_settings(about, "config")
    contract = _contract(architecture, rate, normalised, max_seconds)
    return _backbone("hf:new", random_network(architecture), architecture, contract, pooling, RANDOM)


def save_backbone(backbone: Backbone, folder: str | Path) -> str:
    """Write a backbone as a Hugging Face folder, which `hf:FOLDER` loads again; returns that id.

    Raises BackboneError where the network's tensors are no longer those of its architecture (as with LoRA
    parts that are not merged), OutputError where the folder is not empty.
    """
    architecture: Architecture | None = getattr(backbone.network, "architecture", None)
    if architecture is None or not isinstance(backbone.contract, AudioContract):
        raise BackboneError(f"{backbone.id}: only speech backbones made here can be saved as a folder")
    with torch.device("meta"):
        expected = empty_network(architecture).state_dict().keys()
    extra = sorted(backbone.network.state_dict().keys() ^ expected)
    if extra:
        raise BackboneError(
            f"{backbone.id}: the network has changed, {len(extra)} tensors differ from its architecture "
            f"(first: {extra[0]}); merge what was grafted onto it before saving"
        )
    huggingface.write_checkpoint(backbone.network, architecture, backbone.contract, Path(folder))
    return f"hf:{folder}"


def list_backbones(text: str = "") -> list[BackboneEntry]:
    """The known backbones whose id contains `text`, in any case; without importing torchaudio."""
    rows = list(ENTRIES)
    rows += [
        BackboneEntry(
            id=f"torchaudio:{name}",
            source="torchaudio",
            parameters=bundle.parameters,
            licence=bundle.licence,
            here="yes" if bundles.cached_file(name).is_file() else "download",
            note=bundle.note,
        )
        for name, bundle in bundles.BUNDLES.items()
    ]
    rows.append(
        BackboneEntry(
            id="hf:ID_OR_FOLDER",
            source="hf",
            parameters=None,
            licence="see the checkpoint",
            here="download",
            note="any wav2vec2, hubert or wavlm checkpoint of the Hugging Face hub, or in a local folder",
        )
    )
    rows += [
        BackboneEntry(id=f"{owner}:ID_OR_FOLDER", source=owner, parameters=None, licence="see the checkpoint",
                      here="download", note=note)
        for owner, note in SPEAKER_ENCODERS.items()
    ]  # fmt: skip
    return [row for row in rows if text.lower() in row.id.lower()]


def _speaker_backbone(id: str, owner: Owner, name: str, contract: AudioContract, pooling: str | None,
                      weights: str | Path | None) -> Backbone:  # fmt: skip
    if pooling is not None:
        raise SettingsError(f"{id}: a speaker encoder pools by itself: its last stage is the embedding; leave "
                            "--pooling out")  # fmt: skip
    folder = encoder_folder(owner, name, FILES[owner])
    encoder = read_encoder(owner, folder)
    if weights == RANDOM:
        network = encoder.build()
    else:
        file = folder / FILES[owner][1] if weights is None else Path(weights)
        tensors = {key: value for key, value in read_weights(file).items() if not key.startswith(LEFT_OUT[owner])}
        with torch.device("meta"):
            network = encoder.build()
        fill(network, tensors, str(file))
    about = encoder.filterbank
    contract = replace(contract, sample_rate_hz=about.sample_rate_hz, shortest_samples=about.samples(SHORTEST_FRAMES),
                       memory=encoder.memory())  # fmt: skip
    return Backbone(
        id=id,
        network=network.eval(),
        stages=encoder.stages,
        contract=contract,
        feature_dim=encoder.embedding_dim,
        options={key: getattr(contract, key) for key in ("max_seconds", "window_seconds", "window_overlap",
                                                         "trim_silence")},
        weights=None if weights is None else str(weights),
        build=encoder.build,
        domain=DOMAIN,
    )  # fmt: skip


def _contract(architecture: Architecture, rate_hz: int, normalised: bool, max_seconds: float | None) -> AudioContract:
    return AudioContract(rate_hz, "clip" if normalised else "none", architecture.shortest_samples(), max_seconds,
                         memory=memory_need(architecture))  # fmt: skip


def _pretrained(architecture: Architecture, file: Path) -> nn.Module:
    tensors = translate(read_weights(file))
    # On the meta device nothing is drawn at random only to be overwritten.
    with torch.device("meta"):
        network = empty_network(architecture)
    fill(network, tensors, str(file))
    return network


def _backbone(
    id: str,
    network: nn.Module,
    architecture: Architecture,
    contract: AudioContract,
    pooling: str | None,
    weights: str | None,
) -> Backbone:
    chosen = next((known for known in get_args(Pooling) if known == (pooling or DEFAULT_POOLING)), None)
    new_parameters: tuple[str, ...] = ()
    contract = replace(contract, longer="refuse" if chosen == "none" else "crop")
    if chosen is None:
        raise SettingsError(f"pooling must be one of {', '.join(get_args(Pooling))}, found {pooling!r}")
    if chosen == "attentive":
        add_attention(network, architecture)
        new_parameters = tuple(name for name, _ in network.named_parameters() if name.startswith(f"{ATTENTION}."))
    return Backbone(
        id=id,
        network=network,
        stages=speech_stages(architecture.layers, norm_first=architecture.norm_first, pooling=chosen),
        contract=contract,
        feature_dim=pooled_dim(architecture.hidden, chosen),
        options={
            "max_seconds": contract.max_seconds,
            "pooling": chosen,
            "window_seconds": contract.window_seconds,
            "window_overlap": contract.window_overlap,
            "trim_silence": contract.trim_silence,
        },
        weights=weights,
        build=partial(_build, architecture, chosen),
        new_parameters=new_parameters,
        frames=partial(_frames, architecture),
        domain=DOMAIN,
        for_text=None if pooling is not None else partial(_backbone, id, network, architecture, contract, "none",
                                                          weights),
    )  # fmt: skip


def _frames(architecture: Architecture, clip: Tensor) -> int:
    return architecture.frames(len(clip))


def _build(architecture: Architecture, pooling: Pooling) -> nn.Module:
    network = random_network(architecture)
    return add_attention(network, architecture) if pooling == "attentive" else network


def add_attention(network: nn.Module, architecture: Architecture) -> nn.Module:
    """The network with a module for attentive pooling, whose first weights are drawn from torch's random state."""
    network.add_module(ATTENTION, AttentivePooling(architecture.hidden))
    return network


def _unknown(id: str) -> str:
    known = [*(entry.id for entry in ENTRIES), *(f"torchaudio:{name}" for name in bundles.BUNDLES)]
    # Without a source, names alone are compared, whatever source they are of.
    folded = {(name if ":" in id else name.partition(":")[2]).lower(): name for name in known}
    near = [folded[name] for name in difflib.get_close_matches(id.lower(), folded, n=3, cutoff=0.6)]
    expected = ("expected tiny:NAME, torchaudio:NAME or hf:ID_OR_FOLDER, or of speakers speechbrain:ID_OR_FOLDER or "
                "wespeaker:ID_OR_FOLDER")  # fmt: skip
    advice = f"nearest: {', '.join(near)}" if near else expected
    return f"unknown speech backbone {id!r}; {advice}; `graftwork-audio backbones` lists all"
