"""What a long prediction has found so far, kept beside its result until that is whole: the same command goes on."""

from __future__ import annotations

import json
import logging
import os
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from graftwork.core.data.content import content_digests
from graftwork.core.errors import OutputError
from graftwork.core.example import Example, File, files_of
from graftwork.core.files import DamagedFileError, read_checked_json, write_checked_json
from graftwork.core.inference.adapter_record import RECORD
from graftwork.core.inference.hub import adapter_folder
from graftwork.core.versions import version_of

log = logging.getLogger(__name__)

ENDING = ".unfinished"
ABOUT, PART = "about.json", "part-*.json"


@dataclass(frozen=True)
class Found:
    """What is known of one example, as plain values. row: its columns, None where it could not be read. error: why not.
    outside: in what way it is unlike the training's."""

    row: dict[str, Any] | None = None
    error: str | None = None
    outside: str | None = None


@dataclass(frozen=True, eq=False)
class Unfinished:
    """The folder in which parts are kept. about: what they depend on beside the examples. known: what they hold, by the
    name of what found it and the example's, each with the state of the example's files then."""

    folder: Path
    about: dict[str, Any]
    known: dict[tuple[str, str], tuple[Any, Found]] = field(default_factory=dict)

    def find(self, by: str, example: Example) -> Found | None:
        """What is known of an example whose files are as they were; None where nothing is."""
        state, found = self.known.get((by, str(example)), (None, None))
        return found if found is not None and state == _state(example) else None

    def keep(self, by: str, found: Sequence[tuple[Example, Found]]) -> None:
        """Keeps a part. by: what found it, as a group of models. Raises OutputError."""
        if not (self.folder / ABOUT).exists():
            write_checked_json(self.folder / ABOUT, self.about)
        rows = [[str(example), _state(example), one.row, one.error, one.outside] for example, one in found]
        write_checked_json(self.folder / PART.replace("*", uuid.uuid4().hex), {"by": by, "found": rows})

    def remove(self) -> None:
        """Of a prediction that is whole."""
        shutil.rmtree(self.folder, ignore_errors=True)


def take_up(out: Path, runs: Sequence[str | Path], settings: dict[str, Any]) -> Unfinished:
    """What was kept of the prediction that would be written to `out`, by the same adapters under the same settings;
    what is there of another is removed, which is said.

    settings: plain values that results depend on. Raises OutputError for a folder that cannot be removed.
    """
    about = {"versions": {name: version_of(name) for name in ("graftwork", "torch")}, "settings": settings,
             "adapters": [_adapter_digests(adapter_folder(run)) for run in runs]}  # fmt: skip
    about = json.loads(json.dumps(about))  # as it is read again
    place = Path(os.path.abspath(out))  # "." has no name
    kept = Unfinished(place.with_name(place.name + ENDING), about)
    if not kept.folder.is_dir():
        return kept
    try:
        same = read_checked_json(kept.folder / ABOUT) == about
    except (OSError, DamagedFileError):
        same = False
    if not same:
        log.warning("%s: what is kept there is of another prediction, and is removed", kept.folder)
        try:
            shutil.rmtree(kept.folder)
        except OSError as error:
            raise OutputError(f"{kept.folder}: cannot be removed ({error.strerror or error})") from error
        return kept
    for path in kept.folder.glob(PART):
        try:
            part = read_checked_json(path)
        except DamagedFileError as error:
            log.warning("%s: %s; what it held is predicted again", path, error)
            continue
        kept.known.update({(part["by"], name): (state, Found(*one)) for name, state, *one in part["found"]})
    log.info("going on: %d results of an earlier start are in %s", len(kept.known), kept.folder)
    return kept


def _adapter_digests(folder: Path) -> list[str]:
    """Of the files that make an adapter what it is."""
    files = sorted(path for path in folder.iterdir() if path.name == RECORD or path.suffix == ".safetensors")
    return content_digests([File(str(path)) for path in files])


def _state(example: Example) -> list[list[int]]:
    """Sizes and times of the files that an example needs, [] for a text."""
    return [[found.st_size, found.st_mtime_ns] for path in files_of(example) for found in _stats(path)]


def _stats(path: str) -> list[os.stat_result]:
    """Of a file, and of what is in a folder."""
    if not os.path.exists(path):
        return []
    inside = sorted(os.scandir(path), key=lambda entry: entry.name) if os.path.isdir(path) else []
    return [os.stat(path), *(entry.stat() for entry in inside)]
