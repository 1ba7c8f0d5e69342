"""What the core knows of a domain's examples: a value, not a base class, that every backbone of the domain carries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from graftwork.core.example import ON_DISK, Example, Kinds
from graftwork.core.types import Augment, Corruption, Description, InputContract, InputMonitor, OutsideMode, TaskName

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from torch import Tensor


@dataclass(frozen=True)
class CorpusTable:
    """What a folder that somebody publishes says of its examples, as one table.

    table: texts, with a column `path`; its index counts from 0. root: the folder that paths are seen from. places: the
    file that every row stands in, and its number there. told: what was assumed, one sentence; "" where nothing was.
    """

    table: pd.DataFrame
    root: Path
    places: tuple[tuple[str, int], ...]
    told: str


CorpusReader: TypeAlias = Callable[[Path, Sequence[str], str | None], CorpusTable | None]
"""Reads a folder, or a table in it, that is laid out in one known way; None for any other. It is given the file endings
that are read, and a pattern that names of files must match, or None. Raises ManifestError."""


@dataclass(frozen=True)
class BackboneEntry:
    """One row of the `backbones` table.

    id: as `--backbone` takes it. parameters: number of weights, None where unknown before loading.
    here: "yes" if loading needs no network now, "download" if it needs one, "file" if it needs `--weights`
    or a local folder.
    """

    id: str
    source: str
    parameters: int | None
    licence: str
    here: Literal["yes", "download", "file"]
    note: str = ""


@dataclass(frozen=True)
class Domain:
    """The examples of one domain package.

    name: "imaging" or "audio". example: what one row is called, "scan" or "clip".
    suffixes: file endings, lower case with the dot, that a folder per class is searched for. kinds: of examples that it
    reads; others are refused when a manifest is read. An image with its mask is made of two columns, and is none of
    them. column: of a table, where its examples are named. path_columns: where they are named if it has no `path`.
    corpora: readers of folders that are laid out in a known way, the first that knows one reads it.
    augment: the random change used when augmentation is on; None where there is none.
    windows: the windows of every example, as the contract asks for them; None where examples are never cut.
    monitor: makes what measures examples while they are read, so that those unlike the training's are found; None where
    nothing does. It is given the contract, the summary of the training examples of each run (by its name, "" for the
    only one), and what to do then.
    decoded_digests: digests of what files hold once they are decoded, so that one example under two encodings is known
    as one; None where bytes have to do.
    near_duplicates: pairs of numbers, the smaller first, of examples that hold nearly the same: one image or
    recording that was saved anew. None where nothing is compared, as with texts.
    file_groups: a name for the patient that every file names itself, the same for the same one and no part of what is
    written there; None for a file that names none, and where files name nobody.
    describe: what an example is once it has been opened. Raises UnreadableError and MissingPackageError for what cannot
    be. None where there is nothing to open, as of texts.
    corruptions: ways in which its examples become worse.
    preview: a small PNG of an example, for people; None where there is nothing to see, as of texts. Raises
    UnreadableError for what cannot be read.
    explain: a small PNG of an example with what an adapter looks at in it; None where nothing explains. Raises
    SettingsError for adapters of which it cannot say that.
    overlay: a small PNG of an example with the outlines of a mask that was written for it, given what its classes are
    called, the background first; None where there are no masks.
    checklists: what studies of this domain are reported by, names of `core.runs.report.checklists.CHECKLISTS`.
    hub_model: OWNER/NAME on the Hugging Face hub of what a backbone's id loads; None for others, and where the hub has
    none.
    pipeline_tags: what the Hugging Face hub calls a task on such examples; those that it has no name for are missing.
    mask_values: the values, ascending, that each of some masks holds; one with its image is compared with it, under the
    options `mask_order` and `other_values` of the domain as far as they are given. None where the domain has no masks.
    mask_classes: what options of the domain that name the classes of masks in another way are as `--mask-values`.
    """

    name: str
    example: str
    suffixes: tuple[str, ...]
    augment: Augment | None = None
    windows: Callable[[Sequence[Example], InputContract], list[list[Example]]] | None = None
    monitor: Callable[[InputContract, dict[str, dict[str, Any]], OutsideMode], InputMonitor] | None = None
    mask_values: Callable[..., list[tuple[int, ...]]] | None = None
    mask_classes: Callable[..., str | None] | None = None
    decoded_digests: Callable[[Sequence[Example]], list[str]] | None = None
    near_duplicates: Callable[[Sequence[Example]], list[tuple[int, int]]] | None = None
    file_groups: Callable[[Sequence[Example]], list[str | None]] | None = None
    describe: Callable[[Example], Description] | None = None
    corruptions: tuple[Corruption, ...] = ()
    preview: Callable[[Example], bytes] | None = None
    explain: Callable[[Any, Example], bytes] | None = None
    overlay: Callable[[Example, Path, Sequence[str]], bytes] | None = None
    checklists: tuple[str, ...] = ("TRIPOD+AI",)
    hub_model: Callable[[str], str | None] | None = None
    pipeline_tags: Mapping[TaskName, str] = field(default_factory=dict)
    kinds: Kinds = ON_DISK
    column: str = "path"
    path_columns: tuple[str, ...] = ("file_name", "filename", "file")
    corpora: tuple[CorpusReader, ...] = ()


def corruption_in(module: str, name: str, function: str, *, moves: bool = False) -> Corruption:
    """The corruption of that name by a function of a module, which is loaded when it is first applied: domains are told
    without torch."""

    def apply(example: Tensor, strength: int, generator: np.random.Generator) -> Tensor:
        changed: Tensor = getattr(import_module(module), function)(example, strength, generator)
        return changed

    return Corruption(name, apply, moves)
