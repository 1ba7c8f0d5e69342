"""How much does a clip's representation change when it is padded to the length of a longer one?

    python examples/benchmarks/padding.py [--seed 0]

One clip of each length is run alone and in a batch with a clip of one second; the table shows the relative
difference (in percent) of its own frames in the last layer. Each row is one family with small random
weights: the same weights in this package, in torchaudio and, where it is installed, in transformers, each
told the lengths of the clips in the way it offers. Takes about ten seconds on two cores.
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import warnings
from collections.abc import Callable
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
                values = "".join(f"{100 * change(run, clip, long):>10.2g}" for clip in clips)
                print(f"{family}, {norm}".ljust(22) + name.ljust(28) + values)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    main(parser.parse_args().seed)
