"""Which characters a text is learnt in: those of the transcripts, of a vocab.json, or of the backbone's checkpoint."""

from __future__ import annotations

import json
from operator import itemgetter
from pathlib import Path
from typing import Any

from graftwork.core.data.tables import target_names
from graftwork.core.data.target_guess import SENTENCE_COLUMNS, task_by_name
from graftwork.core.errors import SettingsError
from graftwork.core.names import composed
from graftwork.core.tasks import find_task
from graftwork.core.tasks.transcripts import BLANK, normalise_text
from graftwork.core.types import FrameHead

CHECKPOINT = "checkpoint"
"""As `--vocabulary`: the characters, and the head, of the backbone's own checkpoint."""


def check_vocabulary(asked: str | None, target: str | None, task: str | None) -> None:
    """Raises SettingsError where characters are asked for and the target is not text."""
    names = target_names(target)
    known = find_task(task) if task else task_by_name(names)
    if asked is not None and not (known and known.in_characters):
        raise SettingsError(
            f"--vocabulary {asked}: gives the characters of a text, and {', '.join(map(repr, names))} is not learnt as "
            f"text: leave it out, or name the column of the transcripts with --target ({', '.join(SENTENCE_COLUMNS)}; "
            "any other with --task text)"
        )


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
    """The number of every character in a vocab.json, in its order: of a letter that has several, as a small one and its
    capital, the one by which `character_entries` has it first. Raises SettingsError."""
    entries = character_entries(path)
    first = dict(reversed(entries))
    return dict(sorted(first.items(), key=itemgetter(1)))


def character_entries(path: str) -> list[tuple[str, int]]:
    """Every entry of one character in a vocab.json with its number: those that texts are written in, then the others
    that are heard as the same.

    `|` stands between words, before an entry for a space; a small letter goes before its capital; letters are in
    Unicode's normal form C. Entries of several characters, such as `<pad>`, are none of ours. Raises SettingsError.
    """
    try:
        numbers = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SettingsError(f"{path}: expected a vocab.json, which gives every character a number ({error})") from error
    return numbered_characters(numbers, path)


def numbered_characters(numbers: Any, source: str) -> list[tuple[str, int]]:
    """The same of what such a file holds. source: named in messages."""
    try:
        entries = sorted(((composed(name), int(number)) for name, number in numbers.items()), key=itemgetter(1))
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise SettingsError(f"{source}: expected a vocab.json, which gives every character a number ({error})"
                            ) from error  # fmt: skip
    single = [(name, number) for name, number in entries if len(name) == 1]
    best: dict[str, tuple[bool, int]] = {}
    for name, number in single:
        character = _folded(name)
        rank = (name != ("|" if character == " " else character), number)
        best[character] = min(rank, best.get(character, rank))
    first = {number for _, number in best.values()}
    named = [(_folded(name), number) for name, number in single]
    return [one for one in named if one[1] in first] + [one for one in named if one[1] not in first]


def _folded(name: str) -> str:
    """An entry as texts are written: `|` is a space, letters are small."""
    small = " " if name == "|" else normalise_text(name) or " "
    return small if len(small) == 1 else name
