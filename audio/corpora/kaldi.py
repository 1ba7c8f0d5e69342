"""Kaldi's data folders: `wav.scp`, `segments`, `text`, `utt2spk` and its like, and `spk2gender`.

A recording that `wav.scp` has made by a command, which ends in `|`, is refused: commands are not run.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from graftwork.core.data.table_encoding import read_text
from graftwork.core.domain import CorpusTable
from graftwork.core.errors import ManifestError, Problem

RECORDINGS, SEGMENTS, TEXT = "wav.scp", "segments", "text"
SPEAKERS = "utt2spk"
OF_UTTERANCES, OF_SPEAKERS = "utt2", "spk2"
NO_CELLS = ("utt2spk", "spk2utt", "utt2dur", "utt2num_frames", "utt2uniq")
"""Files of that name that say nothing of an utterance that could be learnt."""

Line = tuple[int, str]


def read_kaldi(source: Path, pattern: str | None) -> CorpusTable | None:
    """An utterance a row: `path`, `utterance`, `speaker`, `text`, `start` and `end` of its segment, and a column `X` of
    every file `utt2X` or `spk2X`. None for a folder without `wav.scp`.

    Raises ManifestError for recordings that are commands or parts of archives, and for segments of no recording.
    """
    import pandas as pd

    if not source.is_dir() or not (source / RECORDINGS).is_file():
        return None
    recordings = _read(source / RECORDINGS)
    _refuse_commands(source / RECORDINGS, recordings)
    cut = (source / SEGMENTS).is_file()
    rows: dict[str, dict[str, str]] = {}
    lines = _read(source / SEGMENTS) if cut else recordings
    for name, (line, value) in lines.items():
        if cut:
            recording, start, end = _segment(source / SEGMENTS, line, value, recordings)
            rows[name] = {"path": recordings[recording][1], "utterance": name, "start": start, "end": end}
        else:
            rows[name] = {"path": value, "utterance": name}
    speakers = _cells(source / SPEAKERS)
    columns = {"speaker": speakers, "text": _cells(source / TEXT)}
    for file in sorted(source.iterdir()):
        if file.name.startswith(OF_UTTERANCES) and file.name not in NO_CELLS:
            columns[file.name.removeprefix(OF_UTTERANCES)] = _cells(file)
        elif file.name.startswith(OF_SPEAKERS) and file.name not in NO_CELLS:
            own = _cells(file)
            columns[file.name.removeprefix(OF_SPEAKERS)] = {name: own.get(speakers.get(name, ""), "") for name in rows}
    for column, cells in columns.items():
        for name, row in rows.items() if cells else ():
            row[column] = cells.get(name, "")
    kept = [name for name in rows if pattern is None or fnmatchcase(Path(rows[name]["path"]).name, pattern)]
    home = SEGMENTS if cut else RECORDINGS
    read = [name for name in (RECORDINGS, SEGMENTS, SPEAKERS, TEXT) if (source / name).is_file()]
    return CorpusTable(
        pd.DataFrame([rows[name] for name in kept], dtype=object),
        source,
        tuple((home, lines[name][0]) for name in kept),
        f"is read as Kaldi has it: {', '.join(read)}",
    )


def _read(file: Path) -> dict[str, Line]:
    """Number of the line and what follows, by the name that every line begins with. Raises ManifestError for a name
    that is there twice."""
    found: dict[str, Line] = {}
    problems = []
    for number, line in enumerate(read_text(file).split("\n"), start=1):
        words = line.split(maxsplit=1)
        if not words:
            continue
        if words[0] in found:
            problems.append(Problem(f"{words[0]!r} is listed twice, first in row {found[words[0]][0]}", number))
        found[words[0]] = (number, words[1].strip() if len(words) > 1 else "")
    if problems:
        raise ManifestError(str(file), problems)
    return found


def _cells(file: Path) -> dict[str, str]:
    return {name: value for name, (_, value) in _read(file).items()} if file.is_file() else {}


def _refuse_commands(file: Path, recordings: Mapping[str, Line]) -> None:
    problems = []
    for name, (line, value) in recordings.items():
        if value.endswith("|") or value.startswith("|"):
            problems.append(Problem(f"{name!r} is made by a command, which is not run: {value!r}; run it yourself and "
                                    "name the file that it writes", line))  # fmt: skip
        elif ".ark:" in value:
            problems.append(Problem(f"{name!r} is part of an archive, {value!r}: write it to a file of its own", line))
        elif not value:
            problems.append(Problem(f"{name!r} has no file", line))
    if problems:
        raise ManifestError(str(file), problems)


def _segment(file: Path, line: int, value: str, recordings: Mapping[str, Line]) -> tuple[str, str, str]:
    words = value.split()
    if len(words) < 3 or words[0] not in recordings:
        raise ManifestError(str(file), [Problem(
            f"expected a recording of {RECORDINGS}, and the seconds at which it starts and ends, found {value!r}", line
        )])  # fmt: skip
    return words[0], words[1], words[2]
