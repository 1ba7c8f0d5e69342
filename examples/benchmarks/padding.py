"""How much does a clip's representation change when it is padded to the length of a longer one?

    python examples/benchmarks/padding.py [--seed 0]

One clip of each length is run alone and in a batch with a clip of one second; the table shows the relative
difference (in percent) of its own frames in the last layer. Each row is one family with small random
weights: the same weights in this package, in torchaudio and, where it is installed, in transformers, each
told the lengths of the clips in the way it offers. Then the families that only transformers has a network for, and what
it costs that Whisper fills every clip up to 30 s. Takes about half a minute on two cores.
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import timeit
import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from graftwork.audio import load_backbone, new_backbone, save_backbone
from graftwork.core.model.backbone import Backbone
from graftwork.core.types import Features

SECOND = 16000
SHARES = (0.25, 0.5, 0.75, 1.0)
TINY = {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 128}
TINY |= {"conv_dim": [64] * 7, "num_conv_pos_embeddings": 32, "num_conv_pos_embedding_groups": 4}
NORMS = {
    "group norm": {"feat_extract_norm": "group", "do_stable_layer_norm": False, "conv_bias": False},
    "layer norm": {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True},
}
FAMILIES = ("wav2vec2", "hubert", "wavlm")

ENCODER = {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 128}
WAVES = {**ENCODER, "conv_dim": [64] * 7, "num_conv_pos_embedding_groups": 4}
KERNELS = [10, 3, 3, 3, 3, 2, 2]
WAVE_EXTRACTOR = "Wav2Vec2FeatureExtractor"
WHISPER = {"d_model": 64, "encoder_layers": 4, "encoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_layers": 1,
           "decoder_attention_heads": 4, "decoder_ffn_dim": 64}  # fmt: skip
ONLY_TRANSFORMERS: dict[str, tuple[str, dict[str, Any], str]] = {
    "data2vec-audio": ("Data2VecAudio", WAVES, WAVE_EXTRACTOR),
    "sew": ("SEW", WAVES | {"conv_kernel": KERNELS, "conv_stride": [5, *[2] * 6]}, WAVE_EXTRACTOR),
    "wav2vec2-conformer": ("Wav2Vec2Conformer", WAVES, WAVE_EXTRACTOR),
    "wav2vec2-bert": ("Wav2Vec2Bert", ENCODER, "SeamlessM4TFeatureExtractor"),
    "whisper": ("Whisper", WHISPER, "WhisperFeatureExtractor"),
}  # fmt: skip
"""Class and configuration in transformers, and the class that makes the network's input."""

Run = Callable[[Tensor, Tensor], Tensor]
"""Waveforms (batch, time) and lengths (batch,) -> frames of the last layer (batch, frames, channels)."""


def ours(backbone: Backbone) -> Run:
    return lambda waveforms, lengths: backbone.run(Features(waveforms, lengths), stop=-1).values


def by_torchaudio(model: Any, takes_lengths: bool) -> Run:
    """torchaudio's own forward; its WavLM cannot be told lengths, so that padding is all it can see."""
    return lambda waveforms, lengths: model(waveforms, lengths if takes_lengths else None)[0]


def by_transformers(folder: Path, masked: bool) -> Run:
    """transformers' own forward. Its group-norm models are made to be used without an attention mask."""
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder).eval()

    def run(waveforms: Tensor, lengths: Tensor) -> Tensor:
        mask = torch.arange(waveforms.shape[1]) < lengths[:, None]
        frames: Tensor = model(waveforms, attention_mask=mask.long() if masked else None).last_hidden_state
        return frames

    return run


def torchaudio_model(folder: Path) -> Any:
    """torchaudio's network with the weights of the folder, converted by torchaudio's own importer."""
    from torchaudio.models.wav2vec2.utils import import_huggingface_model
    from transformers import AutoModel

    return import_huggingface_model(AutoModel.from_pretrained(folder).eval()).eval()


def change(run: Run, clip: Tensor, long: Tensor) -> float:
    """Relative difference of the frames of `clip` in a batch with `long` and alone."""
    alone = run(clip[None], torch.tensor([len(clip)]))[0]
    batch = torch.nn.utils.rnn.pad_sequence([long, clip], batch_first=True)
    together = run(batch, torch.tensor([len(long), len(clip)]))[1, : len(alone)]
    return float((together - alone).norm() / alone.norm())


@torch.no_grad()
def main(seed: int) -> None:
    logging.disable(logging.WARNING)  # both libraries remark on weights that no representation needs
    warnings.simplefilter("ignore")
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    torch.manual_seed(seed)
    clips = [torch.randn(round(SECOND * share)) for share in SHARES]
    long = torch.randn(SECOND)
    print("family".ljust(22) + "by".ljust(28) + "".join(f"{share:>10.0%}" for share in SHARES))
    for norm, settings in NORMS.items():
        for family in FAMILIES:
            with tempfile.TemporaryDirectory() as folder:
                saved = Path(folder) / "saved"
                backbone = new_backbone({"model_type": family, **TINY, **settings})
                rows = {"graftwork": ours(load_backbone(save_backbone(backbone, saved)))}
                if find_spec("transformers"):
                    has_lengths = family != "wavlm"
                    name = "torchaudio" if has_lengths else "torchaudio (no lengths)"
                    rows[name] = by_torchaudio(torchaudio_model(saved), has_lengths)
                    rows["transformers, no mask"] = by_transformers(saved, masked=False)
                    rows["transformers, with mask"] = by_transformers(saved, masked=True)
            for name, run in rows.items():
                show(f"{family}, {norm}", name, [change(run, clip, long) for clip in clips])
    if find_spec("transformers"):
        for family, (model, config, extractor) in ONLY_TRANSFORMERS.items():
            with tempfile.TemporaryDirectory() as folder:
                own, theirs = by_both(Path(folder), model, config, extractor)
            for name, run in (("graftwork", own), ("transformers, with mask", theirs)):
                show(family, name, [change(run, clip, long) for clip in clips])
        whisper_cost()


def show(family: str, name: str, changes: Sequence[float]) -> None:
    print(family.ljust(22) + name.ljust(28) + "".join(f"{100 * value:>10.2g}" for value in changes))


def by_both(folder: Path, model: str, config: dict[str, Any], extractor: str) -> tuple[Run, Run]:
    """This package's stages up to the last layer, and transformers' own forward with the mask that its extractor makes,
    of the same weights."""
    import transformers

    network = getattr(transformers, f"{model}Model")(getattr(transformers, f"{model}Config")(**config)).eval()
    network.save_pretrained(folder)
    made = getattr(transformers, extractor)()
    made.save_pretrained(folder)
    backbone = load_backbone(f"hf:{folder}")

    def theirs(waveforms: Tensor, lengths: Tensor) -> Tensor:
        clips = [row[:length].numpy() for row, length in zip(waveforms, lengths.tolist(), strict=True)]
        options = {} if extractor.startswith("Whisper") else {"padding": True, "return_attention_mask": True}
        given = made(clips, sampling_rate=SECOND, return_tensors="pt", **options)
        run = network.encoder if model == "Whisper" else network
        frames: Tensor = run(**given).last_hidden_state
        return frames[:, : int(backbone.run(Features(waveforms, lengths), stop=-1).lengths.max())]

    def own(waveforms: Tensor, lengths: Tensor) -> Tensor:
        found = backbone.run(Features(waveforms, lengths), stop=-1)
        return found.values[:, : int(found.lengths.max())]

    return own, theirs


def whisper_cost() -> None:
    """Seconds that encoders of Whisper's shapes take for a clip of 3 s, which they fill up to 30 s, beside wav2vec 2.0
    base, and the bytes that one stored layer takes."""
    import transformers

    shapes = {"tiny": (384, 4, 6), "base": (512, 6, 8)}
    with tempfile.TemporaryDirectory() as folder:
        for name, (width, layers, heads) in shapes.items():
            config = transformers.WhisperConfig(d_model=width, encoder_layers=layers, encoder_attention_heads=heads,
                                                encoder_ffn_dim=4 * width)  # fmt: skip
            config.save_pretrained(folder)
            transformers.WhisperFeatureExtractor().save_pretrained(folder)
            backbone = load_backbone(f"hf:{folder}", weights="random")
            took = [seconds_of(backbone, seconds) for seconds in (3, 30)]
            print(f"whisper {name}: {took[0]:.2f} s for a clip of 3 s, {took[1]:.2f} s for one of 30 s; a stored layer "
                  f"takes {1500 * width * 4 / 1e6:.1f} MB")  # fmt: skip
    base = new_backbone({"model_type": "wav2vec2"})
    print(f"wav2vec2 base: {seconds_of(base, 3):.2f} s for a clip of 3 s, {seconds_of(base, 30):.2f} s for one of 30 s")


def seconds_of(backbone: Backbone, seconds: int) -> float:
    clip = Features(torch.randn(1, seconds * SECOND), torch.tensor([seconds * SECOND]))
    backbone.run(clip)
    return min(timeit.repeat(lambda: backbone.run(clip), number=1, repeat=3))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    main(parser.parse_args().seed)
