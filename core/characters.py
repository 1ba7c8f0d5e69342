"""Which characters a text is learnt in: those of the transcripts, of a vocab.json, or of the backbone's checkpoint."""

from __future__ import annotations

import json
from operator import itemgetter
from pathlib import Path

from graftwork.core.backbone import FrameHead
from graftwork.core.domain import Domain
from graftwork.core.errors import SettingsError
from graftwork.core.manifest import Task
from graftwork.core.tables import SENTENCE_COLUMNS, target_names, task_by_name
from graftwork.core.transcripts import BLANK

CHECKPOINT = "checkpoint"
"""As `--vocabulary`: the characters, and the head, of the backbone's own checkpoint."""


def check_vocabulary(asked: str | None, target: str | None, task: Task | None) -> None:
    """Raises SettingsError where characters are asked for and the target is not text."""
    names = target_names(target)
    if asked is not None and (task or task_by_name(names)) != "text":
        raise SettingsError(
            f"--vocabulary {asked}: gives the characters of a text, and {', '.join(map(repr, names))} is not learnt as "
            f"text: leave it out, or name the column of the transcripts with --target ({', '.join(SENTENCE_COLUMNS)}; "
            "any other with --task text)"
        )


def own_frame_head(domain: Domain, asked: str | None, backbone: str, weights: str | None) -> FrameHead | None:
    """The checkpoint's own head for text, if that was asked for. Raises SettingsError where there can be none."""
    if asked != CHECKPOINT:
        return None
    if domain.load_frame_head is None:
        raise SettingsError(f"--vocabulary {CHECKPOINT}: {domain.name} backbones have no characters")
    return domain.load_frame_head(backbone, weights=weights)


def asked_classes(asked: str | None, frame_head: FrameHead | None) -> tuple[str, ...] | None:
    """The classes of a text as `--vocabulary` asks for them; None for those of the transcripts."""
    if frame_head is not None:
        return frame_head.classes
    return None if asked is None else read_vocabulary(asked)


def read_vocabulary(path: str) -> tuple[str, ...]:
    """The classes of text that a vocab.json of Hugging Face's tokenizers names, in its order behind the blank.

    Raises SettingsError.
    """
    return (BLANK, *character_numbers(path))


def character_numbers(path: str) -> dict[str, int]:
    """The number of every character in a vocab.json, in its order.

    `|` stands between words, a small letter goes before its capital, and entries of several characters, such as
    `<pad>`, are none of ours. Raises SettingsError.
    """
    try:
        numbers = json.loads(Path(path).read_text(encoding="utf-8"))
        entries = sorted(((name, int(number)) for name, number in numbers.items()), key=itemgetter(1))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise SettingsError(f"{path}: expected a vocab.json, which gives every character a number ({error})") from error
    found: dict[str, int] = {}
    for name, number in entries:
        character = " " if name == "|" else name.lower()
        if len(name) == 1 and (character not in found or name == character):
            found[character] = number
    return found
