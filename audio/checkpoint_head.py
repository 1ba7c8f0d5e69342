"""The head for text that a checkpoint of Hugging Face was fine-tuned with (CTC), and its characters."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from graftwork.audio.huggingface import VOCABULARY, checkpoint_folder, read_json, weights_file
from graftwork.audio.weights import read_weights
from graftwork.core.backbone import FrameHead
from graftwork.core.characters import character_numbers
from graftwork.core.errors import BackboneError, SettingsError
from graftwork.core.transcripts import BLANK

WEIGHT, BIAS = "lm_head.weight", "lm_head.bias"


def load_frame_head(id: str, weights: str | None = None) -> FrameHead:
    """The characters of a checkpoint `hf:FOLDER_OR_ID`, the blank first, with what tells them from a frame.

    The rows of what is no character, such as `<s>`, are left out; the blank is the one that config.json names as
    `pad_token_id`. weights: a local file instead of the checkpoint's own. Raises SettingsError for another source,
    BackboneError where vocab.json or the head is missing, or they do not belong together.
    """
    source, _, name = id.partition(":")
    if source != "hf":
        raise SettingsError(f"{id} has no characters of its own, only hf: checkpoints that were fine-tuned with CTC "
                            "have; leave --vocabulary away, or name a vocab.json")  # fmt: skip
    if weights == "random":
        raise SettingsError("random weights come without a head: leave --vocabulary checkpoint away")
    folder = checkpoint_folder(name)
    if not (folder / VOCABULARY).is_file():
        raise BackboneError(f"{id}: there is no {VOCABULARY} in {folder}, so its characters are not known; leave "
                            "--vocabulary away, or name a file")  # fmt: skip
    file = weights_file(folder) if weights is None else Path(weights)
    tensors = read_weights(file)
    if WEIGHT not in tensors or BIAS not in tensors:
        raise BackboneError(f"{file}: has no head for text ({WEIGHT}, {BIAS}); leave --vocabulary away, or give "
                            "the weights of a checkpoint that was fine-tuned with CTC")  # fmt: skip
    numbers = character_numbers(str(folder / VOCABULARY))
    _refuse_longer(folder / VOCABULARY)
    rows = [int(read_json(folder / "config.json").get("pad_token_id") or 0), *numbers.values()]
    if max(rows) >= len(tensors[WEIGHT]):
        raise BackboneError(f"{folder / VOCABULARY}: names number {max(rows)}, the head in {file} has "
                            f"{len(tensors[WEIGHT])} rows: they are not of the same checkpoint")  # fmt: skip
    weight, bias = (tensors[name][rows].to(torch.float32) for name in (WEIGHT, BIAS))
    return FrameHead((BLANK, *numbers), weight, bias)


def _refuse_longer(file: Path) -> None:
    """Entries of several letters would be lost; those in brackets stand for no sound."""
    names = json.loads(file.read_text(encoding="utf-8"))
    longer = [name for name in names if len(name) > 1 and not (name[0] in "<[" and name[-1] in ">]")]
    if longer:
        raise BackboneError(f"{file}: {len(longer)} entries are no single characters, the first is {longer[0]!r}: such "
                            "a head cannot be taken over; leave --vocabulary away")  # fmt: skip
