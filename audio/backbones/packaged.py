"""The small pretrained networks that lie in the package: `tiny:wav2vec2`, a folder like every other checkpoint's."""

from __future__ import annotations

from pathlib import Path

from graftwork.core.domain import BackboneEntry
from graftwork.core.errors import BackboneError

FOLDER = Path(__file__).with_name("tiny")

ENTRIES = (
    BackboneEntry("tiny:wav2vec2", "tiny", 2_270_528, "cc-by-4.0 data", "yes", "in the package; 52 min of LibriSpeech"),
)


def tiny_folder(name: str) -> Path:
    """The checkpoint folder of a network in the package. Raises BackboneError for a name there is none of."""
    known = [entry.id for entry in ENTRIES]
    if f"tiny:{name}" not in known:
        raise BackboneError(f"tiny:{name} is unknown; in the package: {', '.join(known)}")
    return FOLDER / name
