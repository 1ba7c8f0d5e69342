"""What a domain package gives the core so that both command lines can share their verbs: a value, not a base class."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from graftwork.core.example import ON_DISK, Example, Kinds
from graftwork.core.types import Augment, FrameHead, InputContract, Outside, Watch

if TYPE_CHECKING:
    from graftwork.core.model.backbone import Backbone


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
    """One domain package as the shared commands see it.

    name: "imaging" or "audio". example: what one row is called, "scan" or "clip".
    suffixes: file endings, lower case with the dot, that a folder per class is searched for. kinds: of examples that it
    reads; others are refused when a manifest is read. An image with its mask is made of two columns, and is none of
    them. column: of a table, where its examples are named.
    load_backbone: `load_backbone(id, *, weights=None, **options)`, options as in `parameters`.
    list_backbones: rows for ids that contain a text (all for "").
    augment: the random change used when augmentation is on.
    parameters: the domain's own options of `train`, as Typer reads them from a signature.
    windows: the windows of every example, as the contract asks for them; None where examples are never cut.
    watch: what looks at examples while they are read, so that those unlike the training's are found; None where nothing
    does. It is given the contract, what each run has seen (by its name, "" for the only one), and what to do then.
    decoded_digests: digests of what files hold once they are decoded, so that one example under two encodings is known
    as one; None where bytes have to do.
    near_duplicates: pairs of numbers, the smaller first, of examples that hold nearly the same: one picture or
    recording that was saved anew. None where nothing is compared, as with texts.
    file_groups: a name for the patient that every file names itself, the same for the same one and no part of what is
    written there; None for a file that names none, and where files name nobody.
    mask_settings: those of `parameters` that `check` has too, where masks are the target.
    text_input: options of the backbone for text targets, None where the domain has none.
    mask_values: the values, ascending, that each of some masks holds; one with its image is compared with it,
    under the parameters of `mask_settings` as far as they are given.
    None where the domain has no masks.
    load_frame_head: `load_frame_head(id, weights=None)`, the head for text that a checkpoint has of its own.
    verbs: its own commands, each as a function that gives name, command and help.
    """

    name: str
    example: str
    suffixes: tuple[str, ...]
    default_backbone: str
    load_backbone: Callable[..., Backbone]
    list_backbones: Callable[[str], list[BackboneEntry]]
    augment: Augment
    parameters: tuple[inspect.Parameter, ...]
    windows: Callable[[Sequence[Example], InputContract], list[list[Example]]] | None = None
    watch: Callable[[InputContract, dict[str, dict[str, Any]], Outside], Watch] | None = None
    text_input: dict[str, Any] | None = None
    mask_values: Callable[..., list[tuple[int, ...]]] | None = None
    decoded_digests: Callable[[Sequence[Example]], list[str]] | None = None
    near_duplicates: Callable[[Sequence[Example]], list[tuple[int, int]]] | None = None
    file_groups: Callable[[Sequence[Example]], list[str | None]] | None = None
    mask_settings: tuple[str, ...] = ()
    load_frame_head: Callable[..., FrameHead] | None = None
    verbs: tuple[Callable[[Domain], tuple[str, Callable[..., None], str]], ...] = ()
    kinds: Kinds = ON_DISK
    column: str = "path"
