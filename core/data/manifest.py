"""What to learn from: one row per example, validated before anything is trained. Reading tables is `tables`' matter."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from graftwork.core.data.content import content_digests
from graftwork.core.data.splits import allocate, fold_numbers, join_units
from graftwork.core.errors import ManifestError, Problem, SettingsError
from graftwork.core.example import Example, WithMask, as_examples, without_mask
from graftwork.core.tasks import Task, find_task

PARTS = ("train", "val", "test")


@dataclass(frozen=True, eq=False)
class Manifest:
    """Examples and what is known of them; all sequences have one entry a row.

    source: the file or folder it was read from. task: what the target is; its name is taken for it.
    examples: where each lies, files absolute; images with their masks where these are the target. Paths that are given
    as text are parsed.
    values: (rows,) int64 indices into `classes` for single labels and grades; (rows, columns) float 0 or 1 for several
    labels; (rows,) float for a number; (rows, longest) int64 indices of characters, zeros behind, for text; zeros
    (rows,) for masks, which are in files.
    classes: names of the classes, or of the label columns, or the characters, or () for a number; the values of
    masks, the background first. groups: patient
    or speaker. parts: "train", "val" or "test" where the source says so. rows: number in the source, as a
    spreadsheet counts them. sentences: what is said, folded to lower case, where the source has a column for it
    that is not the target. recordings: the example that every row is a window of, where long ones were cut.
    weights: how much every row counts in training, above 0; None for all alike. Splits and evaluations do not look at
    them.
    copies: number of the set of near-duplicates that a row belongs to, a row that is like no other being a set; None
    where nobody has looked.
    digests: of what is in files, by which those that hold the same are known; None for those of their bytes.
    dropped_rows: how many rows of the source had no target and were left out.
    columns: further columns of the source by name, as sites or scanners, one cell a row; empty where it says nothing.
    """

    source: str
    examples: tuple[Example, ...]
    task: Task
    target: str
    classes: tuple[str, ...]
    values: NDArray[np.generic]
    groups: tuple[str, ...] | None = None
    parts: tuple[str, ...] | None = None
    rows: tuple[int, ...] = ()
    sentences: tuple[str, ...] | None = None
    recordings: tuple[Example, ...] | None = None
    weights: tuple[float, ...] | None = None
    copies: tuple[int, ...] | None = None
    digests: Callable[[Sequence[Example]], list[str]] | None = None
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    dropped_rows: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "task", find_task(self.task))
        object.__setattr__(self, "examples", as_examples(self.examples))
        if self.recordings is not None:
            object.__setattr__(self, "recordings", as_examples(self.recordings))

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def paths(self) -> tuple[str, ...]:
        """Every example as people write it, for tables and messages."""
        return tuple(map(str, self.examples))

    @property
    def targets(self) -> NDArray[np.generic]:
        """What the source says of every row: class names (rows,), 0/1 (rows, columns), numbers (rows,), or the files of
        masks (rows,)."""
        if self.task.in_files:
            return np.array([str(mask) for mask in self.masks], dtype=object)
        return self.task.cells(self.values, self.classes)

    @property
    def inputs(self) -> tuple[Example, ...]:
        """What is looked at of every row: its example without the mask."""
        return tuple(map(without_mask, self.examples))

    @property
    def masks(self) -> tuple[Example, ...]:
        """The masks of the rows that have one."""
        return tuple(example.mask for example in self.examples if isinstance(example, WithMask))

    def subset(self, index: Sequence[int] | NDArray[np.generic]) -> Manifest:
        """The rows at `index` (numbers, or a mask), in that order; classes stay those of the whole."""
        chosen = np.asarray(index)
        chosen = np.flatnonzero(chosen) if chosen.dtype == bool else chosen.astype(np.int64)
        return replace(
            self,
            examples=tuple(self.examples[i] for i in chosen),
            values=self.values[chosen],
            groups=None if self.groups is None else tuple(self.groups[i] for i in chosen),
            parts=None if self.parts is None else tuple(self.parts[i] for i in chosen),
            rows=tuple(self.rows[i] for i in chosen) if self.rows else (),
            sentences=None if self.sentences is None else tuple(self.sentences[i] for i in chosen),
            recordings=None if self.recordings is None else tuple(self.recordings[i] for i in chosen),
            weights=None if self.weights is None else tuple(self.weights[i] for i in chosen),
            copies=None if self.copies is None else tuple(self.copies[i] for i in chosen),
            columns={name: tuple(cells[i] for i in chosen) for name, cells in self.columns.items()},
        )

    def column(self, name: str) -> tuple[str, ...]:
        """The cells (rows,) of a further column. Raises SettingsError for one that was not read."""
        if name not in self.columns:
            known = ", ".join(map(repr, self.columns)) or "none"
            raise SettingsError(f"column {name!r} was not read with the manifest (read: {known}): name it in "
                                "read_manifest(..., columns=[...])")  # fmt: skip
        return self.columns[name]

    def part(self, name: str) -> Manifest:
        """The rows whose split says "train", "val" or "test". Raises ManifestError where there are none."""
        found = self.subset(np.array([own == name for own in self.parts or ()] or [False] * len(self)))
        if not len(found):
            raise ManifestError(self.source, [Problem(f"no row of the split column says {name!r}")])
        return found

    def without_empty_classes(self) -> tuple[Manifest, tuple[str, ...]]:
        """The manifest without the classes that no row has, unless they have an order, and their
        names, as of files that were left out."""
        if not self.task.one_class or self.task.ordered:
            return self, ()
        kept, numbers = np.unique(np.asarray(self.values, dtype=np.int64), return_inverse=True)
        names = tuple(self.classes[place] for place in kept)
        empty = tuple(name for name in self.classes if name not in names)
        return replace(self, classes=names, values=numbers.astype(np.int64)), empty

    def fingerprints(self) -> dict[str, str]:
        """SHA-256 by what it is taken of: what is in the files, targets, weights, groups, split and sentences, row by
        row. Two manifests of equal digests are the same to a training run, whatever they and their files are called."""
        targets = hashlib.sha256(json.dumps([self.task.name, self.target, self.classes]).encode())
        targets.update(np.ascontiguousarray(self.values).tobytes())
        columns = {"groups": self.groups, "split": self.parts, "sentences": self.sentences}
        if self.groups is not None and self.recordings is not None:  # groups may be paths: which rows share one counts
            first: dict[str, int] = {}
            columns["groups"] = tuple(str(first.setdefault(group, len(first))) for group in self.groups)
        return {
            "contents of files": _digest_of_texts(content_digests(self.examples)),
            "targets": targets.hexdigest(),
            **({} if self.weights is None else {"weights": _digest_of_texts(list(map(repr, self.weights)))}),
            **{name: "" if column is None else _digest_of_texts(column) for name, column in columns.items()},
            **{f"column {name}": _digest_of_texts(cells) for name, cells in self.columns.items()},
        }

    def units(self) -> NDArray[np.int64]:
        """Number (rows,) of what must not be separated: a group, and files with the same
        content, or nearly the same as far as that is known."""
        return join_units(self.contents(), self.groups, self.copies)

    def contents(self) -> list[str]:
        """A digest (rows) of what is in every row's file, the same for the same content: decoded where the domain can,
        else its bytes. Raises UnreadableError for a file that is not there."""
        return (self.digests or content_digests)(self.inputs)

    def fold_numbers(self, count: int, seed: int = 0) -> NDArray[np.int64]:
        """Fold (rows,), 0 to `count` - 1, of every row. Raises SettingsError for fewer groups than folds."""
        return fold_numbers(self.task.strata(self.values), self.units(), count, seed)

    def folds(self, count: int, seed: int = 0) -> list[tuple[Manifest, Manifest]]:
        """`count` pairs (train, test) whose test parts are disjoint and together the whole.

        Raises SettingsError where there are fewer groups than folds.
        """
        number = self.fold_numbers(count, seed)
        return [(self.subset(number != fold), self.subset(number == fold)) for fold in range(count)]

    def split(
        self, seed: int = 0, *, val_fraction: float = 0.2, test_fraction: float = 0.2
    ) -> tuple[Manifest, Manifest, Manifest]:
        """(train, val, test), by the source's own split column where there is one, else drawn from `seed`.

        A split column without "val" rows has `val_fraction` of its training rows set aside. Groups, and files
        with the same content, are never separated by a drawn split; nor are files that hold nearly the same where
        `with_near_duplicates` has looked for them. Raises SettingsError for fractions that
        leave a part empty.

        >>> train, val, test = imaging.read_manifest("scans.csv").split(seed=0)
        >>> set(train.groups) & set(test.groups)  # no patient is in both
        set()
        """
        if self.parts is None:
            # The test part is drawn first: it is the same whether or not a strategy needs a validation part.
            kept = 1 - test_fraction
            _check_fractions((kept - val_fraction, val_fraction, test_fraction))
            # What is left has to be divided once more.
            least = (2, 1) if int(self.units().max()) >= 2 else (1, 1)
            rest, test = self._drawn((kept, test_fraction), seed, least)
            train, val = rest._drawn((1 - val_fraction / kept, val_fraction / kept), seed)
            return train, val, test
        own = np.array(self.parts)
        train, val, test = (self.subset(own == part) for part in PARTS)
        if not len(val) and val_fraction > 0:
            train, val = train._drawn((1 - val_fraction, val_fraction), seed)
        return train, val, test

    def shared_content(self) -> list[tuple[int, int]]:
        """Pairs of row indices in different parts of the source's own split whose files hold the same."""
        return [] if self.parts is None else self.in_different_parts(self.contents())

    def in_different_parts(self, keys: Sequence[Hashable]) -> list[tuple[int, int]]:
        """Pairs of row indices in different parts of the source's own split that share their key (rows,)."""
        parts = self.parts or ()
        first: dict[Hashable, list[int]] = {}
        for index, key in enumerate(keys):
            first.setdefault(key, []).append(index)
        return [(a, b) for same in first.values() for a in same for b in same if a < b and parts[a] != parts[b]]

    def _drawn(self, fractions: Sequence[float], seed: int, least: Sequence[int] | None = None) -> list[Manifest]:
        _check_fractions(fractions)
        part = allocate(self.task.strata(self.values), self.units(), fractions, seed, least)
        return [self.subset(part == number) for number in range(len(fractions))]


def _digest_of_texts(texts: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest()


def _check_fractions(fractions: Sequence[float]) -> None:
    # What remains of 1 - 0.7 - 0.3 is above zero in floating point.
    if min(fractions) < 0 or fractions[0] < 1e-9:
        raise SettingsError(
            f"val and test fractions must be at least 0 and leave rows to train on, found {list(fractions[1:])}"
        )
