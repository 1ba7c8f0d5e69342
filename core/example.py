"""Where one example lies, as a value: parsed once where somebody names it, written back for people by `str`.

This is the only place that knows how examples are written. What is in them is the digests' matter, and the readers'.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TypeAlias

from graftwork.core.errors import UnreadableError
from graftwork.core.names import existing_path

_ARCHIVE_ROW = ".npz#"
_SPAN = "#t="
_SERIES = "#series="
_MASK = "#mask="
_CHANNEL = "|"


@dataclass(frozen=True, slots=True)
class File:
    """A whole file, or a folder that is one volume. May be given to `open` and `Path`."""

    path: str

    def __str__(self) -> str:
        return self.path

    def __fspath__(self) -> str:
        return self.path


@dataclass(frozen=True, slots=True)
class ArchiveRow:
    """A row of an .npz in MedMNIST's layout: `set.npz#train/17` is row 17 of `train_images`."""

    archive: str
    part: str
    row: int

    def __str__(self) -> str:
        return f"{self.archive}#{self.part}/{self.row}"


@dataclass(frozen=True, slots=True)
class Span:
    """Seconds of a recording: `talk.wav#t=12,22`, as W3C's media fragments have it. start, end: as they are written, so
    that they can be written again."""

    file: str
    start: str
    end: str

    @property
    def start_s(self) -> float:
        return float(self.start)

    @property
    def end_s(self) -> float:
        return float(self.end)

    def __str__(self) -> str:
        return f"{self.file}{_SPAN}{self.start},{self.end}"


@dataclass(frozen=True, slots=True)
class Series:
    """One volume of a folder of DICOM files, by its SeriesInstanceUID: `folder#series=1.2.3`."""

    folder: str
    uid: str

    def __str__(self) -> str:
        return f"{self.folder}{_SERIES}{self.uid}"


@dataclass(frozen=True, slots=True)
class Channels:
    """Several that are the channels of one example: `t1.nii.gz|t2.nii.gz`."""

    parts: tuple[Example, ...]

    def __str__(self) -> str:
        return _CHANNEL.join(map(str, self.parts))


@dataclass(frozen=True, slots=True)
class WithMask:
    """An image with what is to be drawn on it: `image.png#mask=mask.png`; nothing is with `image.png#mask=`."""

    image: Example
    mask: Example

    def __str__(self) -> str:
        return f"{self.image}{_MASK}{self.mask}"


@dataclass(frozen=True, slots=True)
class Text:
    """A text that stands in the table itself; it needs no file."""

    text: str

    def __str__(self) -> str:
        return self.text


NO_MASK = Text("")
"""In place of a mask, of an image on which there is nothing to be drawn."""

Example: TypeAlias = File | ArchiveRow | Span | Series | Channels | WithMask | Text

Named: TypeAlias = str | os.PathLike[str] | Example
"""An example, or the path by which people name one who call a function."""

Kinds: TypeAlias = tuple[type[Example], ...]
"""Kinds of examples that somebody reads."""

ON_DISK: Kinds = (File, ArchiveRow, Span, Series, Channels, WithMask)

KIND_NAMES: dict[type[Example], str] = {
    File: "files",
    ArchiveRow: "rows of an .npz (set.npz#train/17)",
    Span: "seconds of a recording (talk.wav#t=12,22)",
    Series: "DICOM series (folder#series=UID)",
    Channels: "several files as channels (t1.nii.gz|t2.nii.gz)",
    WithMask: "images with their masks (image#mask=mask)",
    Text: "texts",
}
"""What errors call them."""


def parse_example(text: str, kinds: Kinds = ON_DISK, folder: str | os.PathLike[str] = "") -> Example:
    """What somebody has written, in a cell or on a command line.

    kinds: where texts are among them, all that is written is one. folder: from which files are named; a file in it
    whose own name holds `|` or `#series=` is one file. Raises UnreadableError for what follows an .npz and is no row.
    """
    if Text in kinds:
        return Text(text)
    image, mark, mask = text.partition(_MASK)
    if image and mark:
        return WithMask(parse_example(image, folder=folder), parse_example(mask, folder=folder) if mask else NO_MASK)
    parts = [part.strip() for part in text.split(_CHANNEL)]
    if len(parts) > 1 and all(parts) and not _is_there(text, folder):
        return Channels(tuple(parse_example(part, folder=folder) for part in parts))
    place = text.lower().rfind(_ARCHIVE_ROW)
    if place > 0:
        archive, row = text[: place + len(_ARCHIVE_ROW) - 1], text[place + len(_ARCHIVE_ROW) :]
        return _parse_row(archive, row)
    recording, _, seconds = text.rpartition(_SPAN)
    start, _, end = seconds.partition(",")
    if recording and _is_number(start) and _is_number(end):
        return Span(recording, start, end)
    place_of_series, _, uid = text.rpartition(_SERIES)
    if place_of_series and uid and not _is_there(text, folder):
        return Series(place_of_series, uid)
    return File(text)


def as_example(named: Named) -> Example:
    """The example, parsed where it is named by a path."""
    return named if isinstance(named, Example) else parse_example(os.fspath(named))


def as_examples(named: Iterable[Named]) -> tuple[Example, ...]:
    """`as_example` of every one."""
    return tuple(one if isinstance(one, Example) else as_example(one) for one in named)


def refusal(example: Example, kinds: Kinds) -> str | None:
    """Why an example cannot be read where only these kinds can; None where it can."""
    parts: tuple[Example, ...] = (example,)
    if isinstance(example, Channels):
        parts = (example, *example.parts)
    wrong = next((part for part in parts if not isinstance(part, kinds)), None)
    if wrong is None:
        return None
    return f"names {KIND_NAMES[type(wrong)]}; what can be read here are {', '.join(KIND_NAMES[one] for one in kinds)}"


def without_mask(example: Example) -> Example:
    """What is looked at: the image of an image with its mask, any other as it is."""
    return example.image if isinstance(example, WithMask) else example


def recording_of(example: Example) -> Example:
    """The file that seconds are cut from; any other as it is."""
    return File(example.file) if isinstance(example, Span) else example


def span_of(example: Example, start_s: float, end_s: float) -> Span:
    """Seconds of a recording, or of the recording that an example is seconds of, named to the millisecond."""
    return Span(str(recording_of(example)), f"{start_s:.3f}", f"{end_s:.3f}")


def span_problem(example: Example) -> str | None:
    """What is wrong with the seconds that are named; None where nothing is, or none are named."""
    if not isinstance(example, Span) or 0 <= example.start_s < example.end_s < float("inf"):
        return None
    return (f"expected seconds from 0 on, the start before the end, as {_SPAN}12,22; found {example.start_s:g} and "
            f"{example.end_s:g}")  # fmt: skip


def files_of(example: Example) -> tuple[str, ...]:
    """The files and folders that an example needs, in order; none for a text."""
    match example:
        case File(path):
            return (path,)
        case ArchiveRow(archive, _, _):
            return (archive,)
        case Span(file, _, _):
            return (file,)
        case Series(folder, _):
            return (folder,)
        case Channels(parts):
            return tuple(file for part in parts for file in files_of(part))
        case WithMask(image, mask):
            return (*files_of(image), *files_of(mask))
        case Text():
            return ()


def missing(example: Example) -> list[Example]:
    """What of an example is not there: itself, or those of several."""
    match example:
        case File(path):
            there = os.path.isfile(path) or os.path.isdir(path)
        case ArchiveRow(archive, _, _):
            there = os.path.isfile(archive)
        case Span(file, _, _):
            there = os.path.isfile(file)
        case Series(folder, _):
            there = os.path.isdir(folder)
        case Channels(parts):
            return [lost for part in parts for lost in missing(part)]
        case WithMask(image, mask):
            return [*missing(image), *missing(mask)]
        case Text():
            there = True
    return [] if there else [example]


def example_exists(example: Example) -> bool:
    """Whether all files that it needs are there."""
    return not missing(example)


def absolute(example: Example, folder: str | os.PathLike[str] = "") -> Example:
    """The example with absolute paths, named as seen from a folder, by default the current one."""
    return _with_files(example, lambda file: os.path.abspath(os.path.join(folder, os.path.expanduser(file))))


def existing(example: Example) -> Example:
    """The example with the forms of Unicode in which its files exist, where they do."""
    return _with_files(example, existing_path)


def ending(text: str) -> str:
    """The ending, lower case with its dot, of the file that a text names, whatever is named in the file."""
    return os.path.splitext(text.partition("#")[0])[1].lower()


def _with_files(example: Example, change: Callable[[str], str]) -> Example:
    match example:
        case File(path):
            return File(change(path))
        case ArchiveRow():
            return replace(example, archive=change(example.archive))
        case Span():
            return replace(example, file=change(example.file))
        case Series():
            return replace(example, folder=change(example.folder))
        case Channels(parts):
            return Channels(tuple(_with_files(part, change) for part in parts))
        case WithMask(image, mask):
            return WithMask(_with_files(image, change), _with_files(mask, change))
        case Text():
            return example


def _parse_row(archive: str, written: str) -> ArchiveRow:
    part, _, row = written.partition("/")
    if not row.isdecimal():
        raise UnreadableError(f"{archive}#{written}: expected a row such as {archive}#train/17")
    return ArchiveRow(archive, part, int(row))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_there(name: str, folder: str | os.PathLike[str]) -> bool:
    return os.path.exists(os.path.join(folder, os.path.expanduser(name)))
