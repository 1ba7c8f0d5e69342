"""Which clips are compared: trial lists in VoxCeleb's format, or all pairs of a manifest."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from graftwork.core.data.delimited import refuse_irregular
from graftwork.core.errors import ManifestError, Problem, TrialsError
from graftwork.core.example import Example, File, Named, absolute, as_examples, existing
from graftwork.core.names import composed, existing_path


@dataclass(frozen=True, eq=False)
class Trials:
    """first, second: numbers (trials,) into `clips`. targets (trials,): True where the speaker is the same. speakers:
    of every clip, None where the list does not name them. rows (clips,): where each clip is first named, as lines of a
    list or rows of a table."""

    source: str
    clips: tuple[Example, ...]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    targets: NDArray[np.bool_]
    speakers: tuple[str, ...] | None
    rows: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def paths(self) -> tuple[str, ...]:
        """Every clip as people write it."""
        return tuple(map(str, self.clips))

    def sides(self) -> tuple[list[str], list[str]] | None:
        """The speakers of both sides of every trial."""
        if self.speakers is None:
            return None
        return [self.speakers[row] for row in self.first], [self.speakers[row] for row in self.second]

    def among(self, clips: Sequence[Example]) -> Trials:
        """The trials of which both clips are among these. Raises ManifestError where there are none."""
        place = {clip: number for number, clip in enumerate(clips)}
        moved = np.array([place.get(clip, -1) for clip in self.clips])
        first, second = moved[self.first], moved[self.second]
        kept = (first >= 0) & (second >= 0)
        if not kept.any():
            raise ManifestError(self.source, [Problem("no trial is left: of every one a clip cannot be used")])
        stays = np.flatnonzero(moved >= 0)
        speakers = None if self.speakers is None else tuple(self.speakers[row] for row in stays)
        rows = tuple(self.rows[row] for row in stays) if self.rows else ()
        return Trials(self.source, tuple(clips), first[kept], second[kept], self.targets[kept], speakers, rows)


@dataclass(frozen=True)
class IdenticalPair:
    """Two clips that sound the same, sample by sample, and were listed as a trial. one_speaker: what was said of it."""

    first: str
    second: str
    one_speaker: bool

    def __str__(self) -> str:
        said = "as one speaker" if self.one_speaker else "as two speakers"
        return f"{self.first} and {self.second} ({said})"


def without_identical(trials: Trials, contents: Sequence[str]) -> tuple[Trials, tuple[IdenticalPair, ...]]:
    """The trials between clips that differ, and those that were left out: a clip and its copy say nothing of how alike
    voices are, whatever their labels. contents: a digest (clips,) of what is in every clip."""
    numbers = np.unique(np.asarray(contents), return_inverse=True)[1]
    alike = numbers[trials.first] == numbers[trials.second]
    pairs = tuple(IdenticalPair(trials.paths[a], trials.paths[b], bool(target)) for a, b, target in
                  zip(trials.first[alike], trials.second[alike], trials.targets[alike], strict=True))  # fmt: skip
    kept = ~alike
    return replace(trials, first=trials.first[kept], second=trials.second[kept], targets=trials.targets[kept]), pairs


def check_kinds(trials: Trials) -> None:
    """Raises TrialsError where there is no target trial, or no non-target trial: no error rate is defined then."""
    targets = int(trials.targets.sum())
    if 0 < targets < len(trials):
        return
    if not len(trials):
        raise TrialsError(f"{trials.source}: there are no trials; expected pairs of clips of one speaker, and of two")
    if targets:
        found, advice = "no non-target trial (two speakers)", "add clips of other speakers"
    else:
        found, advice = "no target trial (twice the same speaker)", "give at least one speaker two clips that differ"
    raise TrialsError(f"{trials.source}: expected trials of both kinds, found {found} among {len(trials)}; {advice}")


def all_pairs(source: str, clips: Sequence[Named], speakers: Sequence[str], rows: Sequence[int] = ()) -> Trials:
    """Every pair of different clips once: n * (n - 1) / 2 trials."""
    pairs = np.array(list(itertools.combinations(range(len(clips)), 2)), dtype=np.int64).reshape(-1, 2)
    numbers = np.unique(np.asarray(speakers), return_inverse=True)[1]
    return Trials(source, as_examples(clips), pairs[:, 0], pairs[:, 1], numbers[pairs[:, 0]] == numbers[pairs[:, 1]],
                  tuple(speakers), tuple(rows))  # fmt: skip


def read_trials(source: str | Path, folder: str | Path | None = None) -> Trials:
    """A list of lines `1 one.wav other.wav`: 1 for the same speaker, 0 for different ones, parted by spaces or tabs.

    Paths are relative to `folder`, or to the list's own. As in VoxCeleb, the first folder of a path is taken for the
    speaker, where that agrees with every label. Raises ManifestError with everything that is wrong, by line.
    """
    path = Path(source)
    try:
        refuse_irregular(path)
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(str(source), [Problem(f"cannot be read as a list of trials ({error})")]) from error
    root = Path(folder) if folder is not None else path.parent
    problems: list[Problem] = []
    number: dict[str, int] = {}
    first_lines: list[int] = []
    trials: list[tuple[int, int, bool]] = []
    for place, line in enumerate(lines, 1):
        if not line.strip():
            continue
        cells = line.split("\t") if "\t" in line else line.split()
        if len(cells) != 3 or cells[0].strip() not in ("0", "1"):
            problems.append(Problem(f"expected `1 one.wav other.wav` or `0 …`, found {line.strip()!r}", place))
            continue
        names = [composed(cell.strip()) for cell in cells[1:]]
        for name in names:
            if name not in number and not os.path.isfile(existing_path(str(root / name))):
                problems.append(Problem(f"no such file: {name!r} (looked for {root / name})", place))
            if name not in number:
                number[name] = len(number)
                first_lines.append(place)
        trials.append((number[names[0]], number[names[1]], cells[0].strip() == "1"))
    if not trials and not problems:
        problems.append(Problem("there are no trials"))
    if problems:
        raise ManifestError(str(source), problems)
    table = np.array(trials, dtype=np.int64)
    clips = tuple(existing(absolute(File(name), root)) for name in number)
    targets = table[:, 2].astype(bool)
    return Trials(str(source), clips, table[:, 0], table[:, 1], targets, _folders(list(number), table, targets),
                  tuple(first_lines))  # fmt: skip


def _folders(names: Sequence[str], table: NDArray[np.int64], targets: NDArray[np.bool_]) -> tuple[str, ...] | None:
    """The first folder of every path, if it says of every trial what the label says."""
    folders = np.array([Path(name).parts[0] if len(Path(name).parts) > 1 else "" for name in names])
    if (folders == "").any() or not np.array_equal(folders[table[:, 0]] == folders[table[:, 1]], targets):
        return None
    return tuple(folders.tolist())
