"""Imaging as the core sees it: its files, and what is done with them. Importing this loads no network library."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from graftwork.core.domain import Domain, corruption_in
from graftwork.core.example import ArchiveRow, Channels, File, Series
from graftwork.imaging.scan import SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from torch import Tensor

    from graftwork.core.domain import CorpusTable
    from graftwork.core.example import Example
    from graftwork.core.types import Description, InputContract, InputMonitor, OutsideMode
    from graftwork.imaging.preprocessing.contract import ImageContract
    from graftwork.imaging.segmentation.mask_files import OtherValues
    from graftwork.imaging.segmentation.mask_placement import MaskOrder


def _mask_values(
    masks: Sequence[Example], mask_order: MaskOrder | None = None, other_values: OtherValues | None = None,
    mask_colours: str | None = None, structures: str | None = None,
) -> list[tuple[int, ...]]:  # fmt: skip
    from graftwork.imaging.segmentation.class_tables import class_table
    from graftwork.imaging.segmentation.mask_files import mask_values

    table = class_table(mask_colours, structures)
    return mask_values(masks, mask_order or "place", other_values or "refuse", table)


def _mask_classes(mask_colours: str | None = None, structures: str | None = None) -> str | None:
    from graftwork.imaging.segmentation.class_tables import class_table

    table = class_table(mask_colours, structures)
    return None if table is None else table.mask_values()


def _decoded_digests(examples: Sequence[Example]) -> list[str]:
    from graftwork.imaging.formats.content import decoded_digests

    return decoded_digests(examples)


def _near_duplicates(examples: Sequence[Example]) -> list[tuple[int, int]]:
    from graftwork.imaging.formats.near_duplicates import near_duplicates

    return near_duplicates(examples)


def _preview(example: Example) -> bytes:
    from graftwork.imaging.formats.preview import preview

    return preview(example)


def _explain(adapter: Any, example: Example) -> bytes:
    # It stands on backbones, each of which carries this domain, and is found by its name when it is asked for.
    picture: bytes = import_module("graftwork.imaging.explanation.overlays").saliency_preview(adapter, example)
    return picture


def _overlay(example: Example, mask: Path, names: Sequence[str]) -> bytes:
    picture: bytes = import_module("graftwork.imaging.explanation.overlays").mask_preview(example, mask, names)
    return picture


def _hub_model(backbone: str) -> str | None:
    """`timm:` and `hf:`, also within `slices:` and its kin."""
    from graftwork.core.names import hub_name

    source, _, name = backbone.rpartition(":")
    kind = source.rpartition(":")[2]
    if kind in ("hf", "hf-hub"):
        return hub_name(name)
    if kind != "timm":
        return None
    from timm.models import get_pretrained_cfg, is_model

    known = get_pretrained_cfg(name) if is_model(name) else None
    return None if known is None or not known.hf_hub_id else hub_name(str(known.hf_hub_id))


def _file_groups(examples: Sequence[Example]) -> list[str | None]:
    from graftwork.imaging.formats.dicom.patients import patient_hashes

    return patient_hashes(examples)


def _read_bids(source: Path, suffixes: Sequence[str], pattern: str | None) -> CorpusTable | None:
    from graftwork.imaging.formats.bids import read_bids

    return read_bids(source, suffixes, pattern)


def _describe(example: Example) -> Description:
    from graftwork.imaging.formats.description import describe_scan

    return describe_scan(example)


def _augment(example: Tensor, generator: np.random.Generator) -> Tensor:
    from graftwork.imaging.preprocessing.augmentation import augment

    return augment(example, generator)


WORSE = "graftwork.imaging.preprocessing.corruptions"

CORRUPTIONS = (
    corruption_in(WORSE, "noise", "add_noise"),
    corruption_in(WORSE, "blur", "blur"),
    corruption_in(WORSE, "contrast", "lower_contrast"),
    corruption_in(WORSE, "resolution", "lower_resolution"),
    corruption_in(WORSE, "bias_field", "add_bias_field"),
    corruption_in(WORSE, "spacing", "change_spacing", moves=True),
)


def _monitor(contract: InputContract, summaries: dict[str, dict[str, Any]], outside: OutsideMode) -> InputMonitor:
    from graftwork.imaging.scan_monitor import ScanMonitor

    return ScanMonitor(cast("ImageContract", contract), summaries, outside)


DOMAIN = Domain(
    name="imaging",
    example="scan",
    suffixes=SUFFIXES,
    augment=_augment,
    monitor=_monitor,
    mask_values=_mask_values,
    mask_classes=_mask_classes,
    decoded_digests=_decoded_digests,
    near_duplicates=_near_duplicates,
    file_groups=_file_groups,
    describe=_describe,
    corruptions=CORRUPTIONS,
    preview=_preview,
    explain=_explain,
    overlay=_overlay,
    checklists=("CLAIM 2024", "TRIPOD+AI"),
    hub_model=_hub_model,
    pipeline_tags={
        "single-label": "image-classification",
        "multi-label": "image-classification",
        "ordinal": "image-classification",
        "mask": "image-segmentation",
    },
    kinds=(File, ArchiveRow, Series, Channels),
    path_columns=("file_name", "image", "filename", "file"),
    corpora=(_read_bids,),
)
