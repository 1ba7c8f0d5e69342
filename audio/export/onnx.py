"""An adapter with its backbone as one network that runs elsewhere: ONNX, from waveforms to predictions."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from graftwork.audio.preprocessing.contract import VARIANCE_FLOOR, AudioContract
from graftwork.core.inference.adapter import Adapter
from graftwork.core.inference.onnx_file import write_onnx
from graftwork.core.model.lora import has_lora, merge_lora
from graftwork.core.types import Features, padding_mask

WAVEFORM, LENGTHS = "waveform", "lengths"
PREDICTION, LOGITS, FRAMES = "prediction", "logits", "frames"

SHARES = (1.0, 0.5, 0.8)
"""Of the longest clip, how long the clips are that are compared in one batch."""

SAMPLES_OF_SHORTEST = 30
"""How many times the shortest clip the longest one is."""


class Predictor(nn.Module):
    """Waveforms at the contract's rate, one channel in -1 to 1, (batch, samples) with anything behind each clip's own
    `lengths` (batch,), to what `predict` gives: probabilities (batch, classes) or (batch, labels), numbers (batch, 1),
    or of text logits (batch, frames, classes), the blank first, and the number of each clip's frames (batch,).

    Clips are normalised here where the contract asks for it. What LoRA learnt is merged into the layers.
    """

    def __init__(self, adapter: Adapter) -> None:
        super().__init__()
        backbone = adapter.backbone
        self.backbone = merge_lora(backbone) if has_lora(backbone) else backbone.copy()
        self.network = self.backbone.network
        self.head = copy.deepcopy(adapter.graft.head)
        self.task = adapter.task
        self.normalises = cast(AudioContract, backbone.contract).normalise == "clip"
        self.eval().requires_grad_(False)

    def forward(self, waveform: Tensor, lengths: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        padding = padding_mask(lengths, waveform.shape[1], waveform.device)
        clips = waveform.masked_fill(padding, 0.0)
        if self.normalises:
            clips = normalise_clips(clips, lengths, padding)
        features = self.backbone.run(Features(clips, lengths))
        outputs = self.head(features.values)
        if self.task.output == "frames":
            return outputs, cast(Tensor, features.lengths)
        return self.task.probabilities(outputs)


def normalise_clips(clips: Tensor, lengths: Tensor, padding: Tensor) -> Tensor:
    """Zero mean and unit variance over each clip's own samples, (batch, samples), zeros behind them: what
    `normalise_clip` is for one."""
    count = lengths[:, None].to(clips)
    centred = (clips - clips.sum(dim=1, keepdim=True) / count).masked_fill(padding, 0.0)
    return centred * torch.rsqrt(centred.square().sum(dim=1, keepdim=True) / count + VARIANCE_FLOOR)


def export_onnx(adapter: Adapter, path: Path) -> float:
    """Writes the network as one .onnx file that takes batches of any size and clips of any length; returns the largest
    difference that onnxruntime showed from the network on random clips, one alone and three of unequal length.

    The file says under the metadata key `graftwork` what goes in, and what the outputs are. Cropping, windows and
    silence that is trimmed stay with the caller. Raises MissingPackageError without the extra `export`, SettingsError
    for a network that ONNX cannot hold, or that gives other outputs there.
    """
    contract = cast(AudioContract, adapter.backbone.contract)
    most = contract.most_seconds
    longest = SAMPLES_OF_SHORTEST * contract.shortest_samples
    longest = longest if most is None else min(longest, round(most * contract.sample_rate_hz))
    generator = torch.Generator().manual_seed(0)
    waveforms = 0.1 * torch.randn(3, longest, generator=generator)
    lengths = torch.tensor([max(contract.shortest_samples, round(share * longest)) for share in SHARES])
    text = adapter.task.output == "frames"
    about = {"layout": {WAVEFORM: f"float32 (batch, samples), one channel in -1 to 1 at {contract.sample_rate_hz} Hz, "
                                  f"at least {contract.shortest_samples} samples; not normalised",
                        LENGTHS: "int64 (batch,), samples of each clip"}}  # fmt: skip
    alone = int(lengths[1])
    return write_onnx(
        adapter, Predictor(adapter), path,
        inputs={WAVEFORM: {0: "batch", 1: "samples"}, LENGTHS: {0: "batch"}},
        outputs=[LOGITS, FRAMES] if text else [PREDICTION], traced=(waveforms[:2], lengths[:2]),
        checked=[(waveforms[1:2, :alone], lengths[1:2]), (waveforms, lengths)],
        valid=own_frames if text else first_output, about=about,
    )  # fmt: skip


def first_output(outputs: Sequence[Tensor]) -> Tensor:
    return outputs[0]


def own_frames(outputs: Sequence[Tensor]) -> Tensor:
    """Probabilities of the frames of the clips themselves, (frames of all, classes)."""
    logits, frames = outputs
    chosen = ~padding_mask(frames, logits.shape[1], logits.device)
    return logits[chosen].softmax(dim=1)
