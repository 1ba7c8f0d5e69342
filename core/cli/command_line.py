"""What a domain package gives the core so that both command lines can share their verbs: a value, not a base class."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graftwork.core.domain import BackboneEntry, Domain
from graftwork.core.types import FrameHead

if TYPE_CHECKING:
    from graftwork.core.model.backbone import Backbone


Verb = tuple[str, Callable[..., None], str]
"""Name, function and help text of one command; the function's signature says its options."""


@dataclass(frozen=True)
class CommandLine:
    """The command line of one domain.

    load_backbone: `load_backbone(id, *, weights=None, **options)`, options as in `parameters`.
    list_backbones: rows for ids that contain a text (all for "").
    parameters: the domain's own options of `train`, as Typer reads them from a signature.
    mask_settings: those of `parameters` that `check` has too, where masks are the target.
    mask_formats: the option `format` of `predict`, where masks can be written in several.
    mask_tables: those of them that name the classes of masks in place of `mask_values`.
    omitted: names of shared options that say nothing here, as seconds of sound of images.
    load_frame_head: `load_frame_head(id, *, weights=None, **options)`, the head for text that a checkpoint has; None
    where they have none.
    verbs: its own commands, each as a function that gives a `Verb`.
    """

    domain: Domain
    default_backbone: str
    load_backbone: Callable[..., Backbone]
    list_backbones: Callable[[str], list[BackboneEntry]]
    parameters: tuple[inspect.Parameter, ...] = ()
    mask_settings: tuple[str, ...] = ()
    mask_tables: tuple[str, ...] = ()
    mask_formats: tuple[inspect.Parameter, ...] = ()
    omitted: frozenset[str] = frozenset()
    load_frame_head: Callable[..., FrameHead] | None = None
    verbs: tuple[Callable[[CommandLine], Verb], ...] = ()


def command_words(domain: str) -> list[str]:
    """The command as it was asked for, under the name that it has for people."""
    return [f"graftwork-{domain}", *sys.argv[1:]]
