"""Folders as SpeechBrain and WeSpeaker publish their speaker encoders, small, with weights that follow from a seed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from graftwork.audio.backbones.speaker_encoders import FILES, Owner, read_encoder

FEATURES = """
n_mels: 16
sample_rate: 16000
pretrained_path: speechbrain/spkrec
compute_features: !new:speechbrain.lobes.features.Fbank
    n_mels: !ref <n_mels>
mean_var_norm: !new:speechbrain.processing.features.InputNormalization
    norm_type: sentence
    std_norm: False
classifier: !new:speechbrain.lobes.models.ECAPA_TDNN.Classifier
    input_size: 12
    out_neurons: 7205
label_encoder: !new:speechbrain.dataio.encoder.CategoricalEncoder
modules:
    compute_features: !ref <compute_features>
    embedding_model: !ref <embedding_model>
pretrainer: !new:speechbrain.utils.parameter_transfer.Pretrainer
    loadables:
        embedding_model: !ref <embedding_model>
    paths:
        embedding_model: !ref <pretrained_path>/embedding_model.ckpt
"""

SPEECHBRAIN = {
    "ecapa": """
embedding_model: !new:speechbrain.lobes.models.ECAPA_TDNN.ECAPA_TDNN
    input_size: !ref <n_mels>
    channels: [16, 24, 24, 24, 48]
    kernel_sizes: [5, 3, 3, 3, 1]
    dilations: [1, 2, 3, 4, 1]
    attention_channels: 8
    se_channels: 8
    lin_neurons: 12
""",
    "resnet": """
embedding_model: !new:speechbrain.lobes.models.ResNet.ResNet
    input_size: !ref <n_mels>
    channels: [4, 4, 8, 8]
    strides: [1, 2, 2, 2]
    block_sizes: [1, 2, 1, 1]
    lin_neurons: 12
""",
}

WESPEAKER = """
dataset_args:
  cmvn: true
  fbank_args: {{dither: 1.0, frame_length: 25, frame_shift: 10, num_mel_bins: 16}}
  num_frms: 200
  resample_rate: 16000
  spec_aug: false
model: {model}
model_args:
  embed_dim: 12
  feat_dim: 16
  pooling_func: {pooling}{more}
projection_args:
  project_type: arc_margin
"""


def speechbrain_folder(folder: Path, kind: str) -> Path:
    """hyperparams.yaml and embedding_model.ckpt; kind: of SPEECHBRAIN."""
    return _filled(folder, "speechbrain", SPEECHBRAIN[kind] + FEATURES)


def wespeaker_folder(folder: Path, model: str) -> Path:
    """config.yaml and avg_model.pt, with the classifier of its training."""
    ecapa = model.startswith("ECAPA")
    more = "" if ecapa else "\n  two_emb_layer: false"
    text = WESPEAKER.format(model=model, pooling="ASTP" if ecapa else "TSTP", more=more)
    return _filled(folder, "wespeaker", text, {"projection.weight": torch.ones(5, 12)})


def seeded(shapes: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of these names and shapes, the same for every network that has them."""
    made = {}
    for place, name in enumerate(sorted(shapes)):
        shape = shapes[name].shape
        drawn = torch.randn(shape, generator=torch.Generator().manual_seed(place))
        if name.endswith("num_batches_tracked"):
            made[name] = torch.tensor(3.0)  # WeSpeaker's mean of checkpoints makes a fraction of it
        elif name.endswith("running_var"):
            made[name] = drawn.abs() + 0.5
        elif drawn.ndim > 1:
            made[name] = drawn / drawn[0].numel() ** 0.5
        else:
            made[name] = 0.2 * drawn + (name.endswith("weight"))
    return made


def _filled(folder: Path, owner: Owner, text: str, more: Mapping[str, Tensor] | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILES[owner][0]).write_text(text)
    with torch.device("meta"):
        shapes = read_encoder(owner, folder).build().state_dict()
    torch.save({**seeded(shapes), **(more or {})}, folder / FILES[owner][1])
    return folder
