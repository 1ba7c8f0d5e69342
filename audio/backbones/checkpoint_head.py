"""The head for text that a checkpoint of Hugging Face was fine-tuned with (CTC), and its characters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from graftwork.audio.backbones.checkpoint_files import VOCABULARY, checkpoint_folder, weights_file
from graftwork.audio.backbones.huggingface import LANGUAGE_WIDTH
from graftwork.audio.backbones.language_adapter import language_file, language_files
from graftwork.audio.backbones.weights import read_weights
from graftwork.core.data.characters import numbered_characters
from graftwork.core.errors import BackboneError, SettingsError
from graftwork.core.files import read_json
from graftwork.core.names import composed
from graftwork.core.tasks.transcripts import BLANK
from graftwork.core.types import FrameHead

WEIGHT, BIAS = "lm_head.weight", "lm_head.bias"


TOKENIZER_FILES = ("tokenizer_config.json", "special_tokens_map.json")
"""Where a tokenizer names its blank, as `pad_token`; `<pad>` otherwise."""


def load_frame_head(
    id: str,
    weights: str | None = None,
    advice: str = "leave --vocabulary away, or name a vocab.json",
    language: str | None = None,
) -> FrameHead:
    """The characters of a checkpoint `hf:FOLDER_OR_ID`, the blank first, with what tells them from a frame.

    Of entries that are one character here, as a capital and its small letter, each keeps its row, so that a character
    may stand twice among the classes. The rows of what is no character, such as `<s>`, are left out; the blank is the
    one that config.json names as `pad_token_id`, and no character. weights: a local file instead of the checkpoint's
    own. advice: what to do instead. language: of MMS's, whose head and characters lie with its adapters. Raises
    SettingsError for another source, BackboneError where vocab.json or the head is missing, or they do not belong
    together.
    """
    source, _, name = id.partition(":")
    if source != "hf":
        raise SettingsError(f"{id} has no characters of its own, only hf: checkpoints that were fine-tuned with CTC "
                            f"have; {advice}")  # fmt: skip
    if weights == "random":
        raise SettingsError(f"random weights come without a head; {advice}")
    extra = () if language is None else language_files(language)
    folder = checkpoint_folder(name, needed=(VOCABULARY,), extra=extra)
    vocabulary = folder / VOCABULARY
    if not vocabulary.is_file():
        raise BackboneError(f"{id}: there is no {VOCABULARY} in {folder}, so its characters are not known: put it "
                            f"there, or {advice}")  # fmt: skip
    file = weights_file(folder) if weights is None else Path(weights)
    tensors = read_weights(file)
    if read_json(folder / "config.json").get(LANGUAGE_WIDTH) is not None:
        adapters = language_file(folder, language, id)
        tensors |= {} if adapters is None else read_weights(adapters)
    numbers = _numbers(vocabulary, language)
    if WEIGHT not in tensors or BIAS not in tensors:
        raise BackboneError(f"{file}: has no head for text ({WEIGHT}, {BIAS}), as a checkpoint that was fine-tuned "
                            f"with CTC has; {advice}")  # fmt: skip
    entries = numbered_characters(numbers, str(vocabulary))
    blank = _blank_number(folder, numbers, advice)
    _refuse_longer(vocabulary, numbers, blank, advice)
    characters = [(character, number) for character, number in entries if number != blank]
    rows = [blank, *(number for _, number in characters)]
    if max(rows) >= len(tensors[WEIGHT]) or min(rows) < 0:
        wrong = max(rows) if min(rows) >= 0 else min(rows)
        raise BackboneError(f"{vocabulary}: names number {wrong}, the head in {file} has "
                            f"{len(tensors[WEIGHT])} rows: they are not of the same checkpoint")  # fmt: skip
    weight, bias = (tensors[name][rows].to(torch.float32) for name in (WEIGHT, BIAS))
    return FrameHead((BLANK, *(character for character, _ in characters)), weight, bias)


def _numbers(file: Path, language: str | None) -> dict[str, Any]:
    """The content of vocab.json, of MMS's the part of its language. Raises BackboneError for one that is not there."""
    content = read_json(file)
    parts = {name: part for name, part in content.items() if isinstance(part, dict)}
    if not parts:
        return content
    if language not in parts:
        raise BackboneError(f"{file}: has characters of single languages: name one with --language "
                            f"({', '.join(sorted(parts))}), found {language!r}")  # fmt: skip
    return dict(parts[language])


def _blank_number(folder: Path, numbers: dict[str, Any], advice: str) -> int:
    """The row of the blank. Raises BackboneError where config.json and the vocabulary do not agree on one."""
    token = "<pad>"
    for name in TOKENIZER_FILES:
        asked = read_json(folder / name).get("pad_token") if (folder / name).is_file() else None
        asked = asked.get("content") if isinstance(asked, dict) else asked
        token = asked if isinstance(asked, str) else token
    named = numbers.get(token)
    stated = read_json(folder / "config.json").get("pad_token_id")
    if stated is None:
        stated = 0 if named is None else named  # 0 is what transformers means by a config that does not say
    if isinstance(stated, bool) or not isinstance(stated, int):
        raise BackboneError(
            f"{folder / 'config.json'}: pad_token_id must be a number of {VOCABULARY}, found {stated!r}"
        )
    entry = next((name for name, number in numbers.items() if number == stated), "")
    if stated != named and len(entry) == 1 and (named is not None or entry.isalnum() or entry in "|' "):
        where = f"{token!r} is number {named}" if named is not None else f"{token!r} is not among its characters"
        raise BackboneError(f"{folder / 'config.json'}: pad_token_id {stated} makes {entry!r} the blank, which is a "
                            f"character, and {where} in {VOCABULARY}; correct pad_token_id, or {advice}")  # fmt: skip
    return stated


def _refuse_longer(file: Path, numbers: dict[str, Any], blank: int, advice: str) -> None:
    """Entries of several letters would be lost; those in brackets stand for no sound."""
    entries = {composed(name): number for name, number in numbers.items()}
    longer = [name for name, number in entries.items()
              if len(name) > 1 and number != blank and not (name[0] in "<[" and name[-1] in ">]")]  # fmt: skip
    if longer:
        raise BackboneError(f"{file}: {len(longer)} entries are no single characters, the first is {longer[0]!r}: such "
                            f"a head cannot be taken over; {advice}")  # fmt: skip
