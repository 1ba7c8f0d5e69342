"""What a long prediction has found so far, kept beside its result until that is whole: the same command goes on."""

from __future__ import annotations

import json
import logging
import os
import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from graftwork.core.data.companions import companions
from graftwork.core.data.content import content_digests
from graftwork.core.errors import OutputError
from graftwork.core.example import Example, File, files_of
from graftwork.core.files import OURS, DamagedFileError, read_checked_json, write_checked_json
from graftwork.core.inference.adapter_record import RECORD
from graftwork.core.inference.hub import adapter_folder
from graftwork.core.versions import version_of

log = logging.getLogger(__name__)

ENDING = ".unfinished"
ABOUT, PART = "about.json", "part-*.json"

FileState: TypeAlias = list[list[int]]
"""Size and time of every file that an example needs."""


@dataclass(frozen=True)
class Found:
    """What was found of one example, as plain values. row: its columns. outside: in what way it is unlike the
    training's."""

    row: dict[str, Any]
    outside: str | None = None


@dataclass(frozen=True, eq=False)
class Unfinished:
    """The folder in which parts are kept. about: what they depend on beside the examples. files: names that an earlier
    start may have written. known: what parts hold, by the name of what found it and the
    example's, each with the state of the example's files then."""

    folder: Path
    about: dict[str, Any]
    files: frozenset[str] = frozenset()
    known: dict[tuple[str, str], tuple[FileState, Found]] = field(default_factory=dict)

    def find(self, by: str, example: Example) -> Found | None:
        """What is known of an example whose files are as they were; None where nothing is."""
        kept = self.known.get((by, str(example)))
        return kept[1] if kept is not None and kept[0] == file_state(example) else None

    def begin(self, files: Iterable[str] = ()) -> None:
        """Makes the folder. files: names that will be written beside the table. Raises OutputError."""
        write_checked_json(self.folder / ABOUT, self.about | {"files": sorted({*self.files, *files})})

    def keep(self, by: str, found: Sequence[tuple[Example, FileState, Found]]) -> None:
        """Keeps a part. by: what found it, as a group of models. The states are those before the files were read.
        Raises OutputError."""
        if not (self.folder / ABOUT).exists():
            self.begin()
        rows = [[str(example), state, one.row, one.outside] for example, state, one in found]
        write_checked_json(self.folder / PART.replace("*", uuid.uuid4().hex), {"by": by, "found": rows})

    def remove(self) -> None:
        """Of a prediction that is whole: what is ours in the folder, and the folder if nothing else is there. Raises
        OutputError where something cannot be removed."""
        try:
            for pattern in (PART, f"{OURS}*", ABOUT):
                for path in self.folder.glob(pattern):
                    path.unlink(missing_ok=True)
            with suppress(FileNotFoundError):
                self.folder.rmdir()
        except OSError as error:
            raise OutputError(f"{self.folder}: cannot be removed ({error.strerror or error}); name another --out, or "
                              "remove it") from error  # fmt: skip


def take_up(out: Path, runs: Sequence[str | Path], settings: dict[str, Any]) -> Unfinished:
    """What was kept of the prediction that would be written to `out`, by the same adapters under the same settings.

    settings: plain values that results depend on. Raises OutputError for a folder that holds what is of another
    prediction, or something else.
    """
    about = {"versions": {name: version_of(name) for name in ("graftwork", "torch")}, "settings": settings,
             "adapters": [_adapter_digests(adapter_folder(run)) for run in runs]}  # fmt: skip
    about = json.loads(json.dumps(about))  # as it is read again
    place = Path(os.path.abspath(out))  # "." has no name
    folder = place.with_name(place.name + ENDING)
    if not folder.is_dir():
        return Unfinished(folder, about)
    try:
        record = read_checked_json(folder / ABOUT)
    except (OSError, DamagedFileError):
        record = {}
    files = record.pop("files", [])
    if record != about:
        raise OutputError(f"{folder}: holds what is kept of another prediction, or something else: give the same runs "
                          "and options to go on, name another --out, or remove that folder")  # fmt: skip
    kept = Unfinished(folder, about, frozenset(map(str, files if isinstance(files, list) else [])))
    for path in folder.glob(PART):
        try:
            part = read_checked_json(path)
            kept.known.update({(str(part["by"]), str(name)): (state, Found(_checked(row), outside))
                               for name, state, row, outside in part["found"]})  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("%s: cannot be read (%s); what it held is predicted again", path, error)
    log.info("going on: %d results of an earlier start are in %s", len(kept.known), folder)
    return kept


def _checked(row: Any) -> dict[str, Any]:
    """Raises ValueError for what is no row."""
    if not isinstance(row, dict):
        raise ValueError(f"expected a row, found {type(row).__name__}")
    return row


def file_state(example: Example) -> FileState:
    """Of what an example needs, companions and what is in folders among it; [] for a text."""
    paths = [path for own in files_of(example) for path in (own, *_companions(own))]
    return [[found.st_size, found.st_mtime_ns] for path in paths for found in _stats(path)]


def _companions(path: str) -> tuple[str, ...]:
    with suppress(OSError):  # reading it says why
        return companions(path)
    return ()


def _stats(path: str) -> list[os.stat_result]:
    """Of a file, and of what is in a folder; what is not there has none."""
    found = []
    with suppress(OSError):
        found.append(os.stat(path))
        names = sorted(os.listdir(path)) if os.path.isdir(path) else []
        for name in names:
            with suppress(OSError):
                found.append(os.stat(os.path.join(path, name)))
    return found


def _adapter_digests(folder: Path) -> list[str]:
    """Of the files that make an adapter what it is."""
    files = sorted(path for path in folder.iterdir() if path.name == RECORD or path.suffix == ".safetensors")
    return content_digests([File(str(path)) for path in files])
