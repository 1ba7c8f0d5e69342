"""Files of weights: reading them, translating the names of torchaudio and Hugging Face, filling a network."""

from __future__ import annotations

import difflib
import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from graftwork.audio.backbones.checkpoint_files import INDEX, weight_parts
from graftwork.core.errors import BackboneError, UnreadableError

LEFT_OUT = (
    "masked_spec_embed",  # the vector that stands for masked frames in pretraining
    "mask_emb",  # the same in fairseq
    "quantizer.",  # wav2vec 2.0's pretraining targets
    "project_hid.",
    "project_q.",
    "final_proj.",  # HuBERT's pretraining targets
    "label_embs_concat",
    "ctc_proj.",  # UniSpeech's pretraining targets
    "speaker_proj.",  # UniSpeech-SAT's
    "label_embeddings_concat",
    "layer_norm_for_extract.",
    "aux.",  # torchaudio's CTC head
    "lm_head.",  # Hugging Face's CTC head
    "projector.",  # Hugging Face's heads for classification and verification
    "classifier.",
    "layer_weights",
    "tdnn.",
    "feature_extractor.",  # of the x-vector head; the network's own is under a prefix there
    "objective.",
)
"""Beginnings of names (after the prefix of the model) that a checkpoint may hold and no stage uses."""

PREFIXES = ("wav2vec2.", "hubert.", "wavlm.", "unispeech.", "unispeech_sat.", "model.")
"""Of the backbone inside a larger model: Hugging Face's heads, and torchaudio's normalising wrapper."""

SHOWN = 20


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors in a .safetensors, .pt, .pth or .bin file by name, on the CPU; of an .index.json those in all
    the files that it names. No code in the file is run.

    Raises UnreadableError for a missing or damaged file, or one that holds more than tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise UnreadableError(f"{path}: no such weights file; check the path")
    if path.name.endswith(INDEX):
        parts = weight_parts(path)
        read = {file: read_weights(path.parent / file) for file in sorted(set(parts.values()))}
        lacking = [name for name, file in parts.items() if name not in read[file]]
        if lacking:
            raise UnreadableError(f"{path}: {lacking[0]} should be in {parts[lacking[0]]} and is not; fetch both again")
        return {name: read[file][name] for name, file in parts.items()}
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise UnreadableError(f"{path}: not a complete safetensors file ({error}); fetch it again") from error
    try:
        # mmap would hold the file open, and old (non-zip) checkpoints do not support it.
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise UnreadableError(
            f"{path}: not a file of weights alone, or damaged ({str(error).splitlines()[0]}); "
            "save the network's state_dict() as .safetensors"
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise UnreadableError(f"{path}: expected a state_dict (names and tensors), found {type(content).__name__}")
    return dict(content)


def translate(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors under the names of our networks, from the names of torchaudio or Hugging Face, old or new.

    What LEFT_OUT lists is dropped; a name without a rule is kept as it is, so that filling a network with it
    fails.
    """
    backbone_prefix = next((prefix for prefix in PREFIXES if any(name.startswith(prefix) for name in tensors)), "")
    translated = {}
    for name, value in tensors.items():
        own = name.startswith(backbone_prefix)
        bare = name.removeprefix(backbone_prefix)
        if is_left_out(bare, in_backbone=own):
            continue
        bare = _weight_norm_name(bare)
        if not bare.startswith(("encoder.transformer.", "encoder.feature_projection.")):
            bare = re.sub(r"^encoder\.", "encoder.transformer.", bare)
            bare = re.sub(r"^feature_projection\.", "encoder.feature_projection.", bare)
        translated.update(_split_fused_attention(bare, value))
    return translated


def is_left_out(name: str, *, in_backbone: bool) -> bool:
    """Whether no stage uses a tensor. `feature_extractor.` means the CNN inside a backbone only."""
    return name.startswith(LEFT_OUT) and not (in_backbone and name.startswith("feature_extractor."))


def huggingface_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `translate`: a network's tensors under the names of Hugging Face's Wav2Vec2Model."""
    renamed = {}
    for name, value in tensors.items():
        name = re.sub(r"^encoder\.feature_projection\.", "feature_projection.", name)
        renamed[re.sub(r"^encoder\.transformer\.", "encoder.", name)] = value
    return renamed


def modern_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, old names of weight norm replaced."""
    return {_weight_norm_name(name): value for name, value in tensors.items()}


def _weight_norm_name(name: str) -> str:
    """torch's first weight norm had `weight_g` and `weight_v`; the parametrization names them otherwise."""
    name = re.sub(r"\.conv\.weight_g$", ".conv.parametrizations.weight.original0", name)
    return re.sub(r"\.conv\.weight_v$", ".conv.parametrizations.weight.original1", name)


def _split_fused_attention(name: str, value: Tensor) -> dict[str, Tensor]:
    """torchaudio's WavLM stacks query, key and value in one tensor; our attention has a module for each."""
    fused = re.fullmatch(r"(.*\.attention)\.attention\.in_proj_(weight|bias)", name)
    if fused:
        attention, kind = fused.groups()
        parts = zip("qkv", value.chunk(3), strict=True)
        return {f"{attention}.{letter}_proj.{kind}": part.clone() for letter, part in parts}
    return {name.replace(".attention.attention.", ".attention."): value}


def fill(network: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Put translated tensors into a network built on the meta device, in whose own types it then holds them: float32,
    and whole numbers for counts.

    Raises BackboneError, listing each tensor that is missing, unexpected or of another shape.
    """
    expected = network.state_dict()
    problems = [
        f"{name}: expected shape {tuple(expected[name].shape)}, found {tuple(tensors[name].shape)}"
        for name in expected.keys() & tensors.keys()
        if expected[name].shape != tensors[name].shape
    ]
    problems += [
        f"{name}: expected shape {tuple(expected[name].shape)}, found no such tensor"
        for name in expected.keys() - tensors.keys()
    ]
    problems += [
        f"{name}: not part of this network, found shape {tuple(tensors[name].shape)}" + _nearest(name, expected)
        for name in tensors.keys() - expected.keys()
    ]
    if problems:
        shown = "".join(f"\n  {problem}" for problem in sorted(problems)[:SHOWN])
        more = f"\n  … and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise BackboneError(
            f"{source}: the weights do not fit the network: {len(problems)} tensors differ; "
            f"give the weights of this very architecture{shown}{more}"
        )
    single = {name: value.to(expected[name].dtype).contiguous() for name, value in tensors.items()}
    network.load_state_dict(single, strict=True, assign=True)


def _nearest(name: str, known: Mapping[str, Tensor]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
    return f" (nearest: {near[0]})" if near else ""
