"""Manifests of clips and adapters for them: the core's own, told which files and backbones this domain has."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from graftwork.audio.backbones.loading import load_backbone
from graftwork.audio.domain import DOMAIN
from graftwork.core.data import people
from graftwork.core.data.manifest import Manifest
from graftwork.core.data.missing_labels import MissingLabels
from graftwork.core.data.uncertain_labels import Blank, Uncertain
from graftwork.core.inference import adapter
from graftwork.core.inference.adapter import Adapter
from graftwork.core.tasks import Task

if TYPE_CHECKING:
    import pandas as pd


def read_manifest(
    source: str | os.PathLike[str] | pd.DataFrame,
    *,
    target: str | None = None,
    group: str | None = None,
    group_from: str | None = None,
    split: str | None = "split",
    task: Task | str | None = None,
    order: Sequence[object] | None = None,
    classes: Sequence[str] | None = None,
    columns: Sequence[str] = (),
    root: str | os.PathLike[str] | None = None,
    path_column: str | None = None,
    files: str | None = None,
    missing_labels: MissingLabels = "refuse",
    uncertain: Uncertain | None = None,
    blank: Blank | None = None,
) -> Manifest:
    """A validated manifest of clips; see `graftwork.core.read_manifest`.

    >>> clips = audio.read_manifest("clips.csv", target="accent", group="speaker")
    >>> len(clips), clips.classes
    (16, ('north', 'south'))
    """
    return people.read_domain_manifest(DOMAIN, source, target=target, group=group, group_from=group_from, split=split,
                                       task=task, order=order, classes=classes, columns=columns, root=root,
                                       path_column=path_column, files=files,
                                       missing_labels=missing_labels, uncertain=uncertain, blank=blank)  # fmt: skip


def load_adapter(folder: str | Path, weights: str | None = None) -> Adapter:
    """The adapter of that folder on its backbone; see `graftwork.core.load_adapter`."""
    return adapter.load_adapter(folder, load_backbone, weights)
