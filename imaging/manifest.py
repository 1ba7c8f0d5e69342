"""Manifests of scans and adapters for them: the core's own, told which files and backbones this domain has."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from graftwork.core.data import mask_classes, people
from graftwork.core.data.manifest import Manifest
from graftwork.core.data.missing_labels import MissingLabels
from graftwork.core.data.uncertain_labels import Blank, Uncertain
from graftwork.core.inference import adapter
from graftwork.core.inference.adapter import Adapter
from graftwork.core.tasks import Task
from graftwork.imaging.backbones.loading import load_backbone
from graftwork.imaging.domain import DOMAIN

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
    mask_values: str | None = None,
    ignore_value: int | None = None,
    mask_colours: str | None = None,
    structures: str | None = None,
) -> Manifest:
    """A validated manifest of scans; see `graftwork.core.read_manifest`.

    Where no column or `group_from` says who is on them, DICOM files are grouped by a hash of their PatientID.
    Where masks are the target, its classes are the values that occur in them, or those that `mask_values` names;
    `load_backbone` should be given it too, and `ignore_value`; so with `mask_colours` and `structures`, which name
    classes by colours of pictures and by structures of DICOM structure sets.

    >>> scans = imaging.read_manifest("scans.csv")  # columns path, label and group
    >>> len(scans), scans.classes, scans.groups[:2]
    (24, ('healthy', 'tumour'), ('patient-0', 'patient-0'))
    """
    found = people.read_domain_manifest(DOMAIN, source, target=target, group=group, group_from=group_from, split=split,
                                        task=task, order=order, classes=classes, columns=columns, root=root,
                                        path_column=path_column, files=files,
                                        missing_labels=missing_labels, uncertain=uncertain, blank=blank)  # fmt: skip
    named = {"mask_colours": mask_colours, "structures": structures}
    return mask_classes.with_mask_classes(DOMAIN, found, mask_values, ignore_value=ignore_value, named=named)


def load_adapter(folder: str | Path, weights: str | None = None) -> Adapter:
    """The adapter of that folder on its backbone; see `graftwork.core.load_adapter`."""
    return adapter.load_adapter(folder, load_backbone, weights)
