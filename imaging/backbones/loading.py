"""Backbones by id, `source:name`: which source serves it, and what there is. The sources live in their own files."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from graftwork.core.domain import BackboneEntry
from graftwork.core.errors import BackboneError, SettingsError
from graftwork.core.model.backbone import Backbone
from graftwork.imaging.backbones import hub
from graftwork.imaging.backbones.catalogue import CATALOGUE, Known
from graftwork.imaging.backbones.slicewise import SlicePooling
from graftwork.imaging.domain import DOMAIN
from graftwork.imaging.segmentation.mask_files import OtherValues
from graftwork.imaging.segmentation.mask_placement import MaskOrder

SOURCES = ("tiny", "timm", "hf", "monai", "medicalnet", "xrv", "bundle")

LIFTED = ("i3d", "acs", "slices")
"""Ways to let a 2D network see volumes: in front of its id, as in i3d:timm:mobilenetv2_100."""

LIFTED_SIZE = 64
"""Voxels along each axis then, unless the user says otherwise."""


def load_backbone(
    id: str,
    *,
    weights: str | None = None,
    image_size: int | None = None,
    channels: int | None = None,
    intensity: str | None = None,
    spacing_mm: float | None = None,
    slice_pooling: SlicePooling | None = None,
    mask_values: str | None = None,
    other_values: OtherValues | None = None,
    patch_size: str | None = None,
    overlap: float | None = None,
    largest_component: bool | None = None,
    mask_order: MaskOrder | None = None,
    ignore_value: int | None = None,
    mask_colours: str | None = None,
    structures: str | None = None,
) -> Backbone:
    """A pretrained image network by its id, on the CPU, in evaluation mode.

    id: `tiny:cnn2d` (2D, in the package), `timm:NAME` (2D, ImageNet and more), `timm:FOLDER` and
        `timm:hf-hub:OWNER/NAME[@REVISION]` (saved with timm's save_for_hf), `hf:FOLDER` and `hf:OWNER/NAME[@REVISION]`
        (2D, image encoders of transformers), `xrv:densenet121` (2D, chest X-rays), `monai:NAME-2d`, `monai:NAME-3d`,
        `medicalnet:NAME` (3D), or `bundle:FOLDER` (a MONAI bundle). `i3d:`, `acs:` or `slices:` before the id of a 2D
        network makes it take volumes: inflated, by convolutions in three planes, or slice by slice.
    weights: a local file (.safetensors, .pt, .pth, .bin, .ckpt); "random" for random initialisation from
        torch's generator; by default the source's own, from the local cache or downloaded.
    image_size: pixels or voxels along each axis; by default what the network was trained on.
    channels: of the input; other numbers than the pretrained one sum or repeat the first filters.
    intensity: how values are scaled, as `parse_intensity` reads it; by default "auto", for
        medicalnet "zscore".
    spacing_mm: millimetres between voxels (pixels) that scans are resampled to, and then cut or padded about their
        centre to the size; by default they are stretched to the size, whatever their spacing.
    slice_pooling: of `slices:`, how a volume's vector is made of its slices': "mean", or "attention", which is learnt.
    mask_values: the values of masks, separated by commas, the background first, with names where you like, as
        "0,1:liver" or "0,1+2:tumour"; the backbone then gives maps for them, and reads scans in patches. other_values,
        patch_size, overlap, largest_component, mask_order, ignore_value: only then, see `MaskContract`; the size as
        "48,64,48" (depth, height, width), by default the image size along each axis.
    mask_colours, structures: in place of mask_values, the classes of pictures by their colours, or of DICOM structure
        sets by the names of structures, see `class_table`.

    Raises BackboneError for an unknown id or weights that do not fit, DownloadError where weights cannot be
    fetched, UnreadableError for a damaged weights file, SettingsError for options that cannot work.

    >>> backbone = imaging.load_backbone("tiny:cnn2d", image_size=32)
    >>> [stage.name for stage in backbone.stages]
    ['stem', 'layer1', 'layer2', 'layer3', 'layer4', 'pool']
    """
    from graftwork.imaging.segmentation.class_tables import class_table

    table = class_table(mask_colours, structures, mask_values)
    named: dict[str, str] = {} if table is None else table.to_json()
    mask_values = mask_values if table is None else table.mask_values()
    given = {"mask_values": mask_values, "other_values": other_values, "patch_size": patch_size, "overlap": overlap,
             "largest_component": largest_component, "mask_order": mask_order,
             "ignore_value": ignore_value, **named}  # fmt: skip
    asked = {option: value for option, value in given.items() if value is not None}
    if asked and mask_values is None:
        flag = next(iter(asked)).replace("_", "-")
        raise SettingsError(f"--{flag} is for masks: name a column of masks with --target")
    if slice_pooling is not None and (mask_values is not None or not id.startswith("slices:")):
        raise SettingsError(f"--slice-pooling: {id} makes no vector of slices; slices: in front of a 2D network does")
    found = _at_spacing(_load(id, weights, image_size, channels, intensity, slice_pooling), spacing_mm)
    found = replace(found, domain=DOMAIN)
    if mask_values is None:
        return found
    from graftwork.imaging.backbones.dense import for_masks

    made = for_masks(found, mask_values, other_values or "refuse", patch_size, overlap, bool(largest_component),
                     mask_order or "place", ignore_value, table)  # fmt: skip
    return replace(made, options=made.options | asked)


def _load(
    id: str,
    weights: str | None,
    image_size: int | None,
    channels: int | None,
    intensity: str | None,
    slice_pooling: SlicePooling | None,
) -> Backbone:
    """The network as its source has it, for vectors."""
    source, _, name = id.partition(":")
    if source in LIFTED:
        size = LIFTED_SIZE if image_size is None else image_size
        # Slices are what the flat network sees; a convolutional one that is inflated has no size of its own.
        flat = _load(name, weights, size if source == "slices" else None, channels, intensity, None)
        return _lift(source, flat, size, slice_pooling)
    if source == "tiny":
        from graftwork.imaging.backbones.packaged import load_tiny as load
    elif source == "timm":
        from graftwork.imaging.backbones.timm import load_timm as load
    elif source == "hf":
        from graftwork.imaging.backbones.huggingface import load_hf as load
    elif source == "monai":
        from graftwork.imaging.backbones.monai import load_monai as load
    elif source == "medicalnet":
        from graftwork.imaging.backbones.monai import load_medicalnet as load
    elif source == "xrv":
        from graftwork.imaging.backbones.xrv import load_xrv as load
    elif source == "bundle":
        from graftwork.imaging.backbones.monai_bundles import load_bundle as load
    else:
        raise BackboneError(
            f"{id!r} is not a backbone id; expected SOURCE:NAME with the source {', '.join(SOURCES)}, "
            f"for example timm:{id.rpartition(':')[2] or 'mobilenetv2_100'}"
        )
    return load(name, weights=weights, image_size=image_size, channels=channels, intensity=intensity)


def _lift(way: str, flat: Backbone, size: int, slice_pooling: SlicePooling | None) -> Backbone:
    """The 2D backbone for volumes. Raises BackboneError for one that takes volumes already."""
    if flat.contract.blank().dim() != 3:
        raise BackboneError(f"{way}:{flat.id}: {flat.id} takes volumes already")
    if way == "slices":
        from graftwork.imaging.backbones.slicewise import slicewise

        made = slicewise(flat, size, slice_pooling or "mean")
        if slice_pooling is not None:
            made = replace(made, options=made.options | {"slice_pooling": slice_pooling})
    else:
        from graftwork.imaging.backbones.inflation import inflate

        made = inflate(flat, "acs" if way == "acs" else "i3d", size)
    return replace(made, options=made.options | {"image_size": size})


def _at_spacing(backbone: Backbone, spacing_mm: float | None) -> Backbone:
    if spacing_mm is None:
        return backbone
    contract = replace(backbone.contract, spacing_mm=spacing_mm)  # type: ignore[type-var]
    return replace(backbone, contract=contract, options=backbone.options | {"spacing_mm": spacing_mm})


def list_backbones(text: str = "") -> list[BackboneEntry]:
    """Backbones whose id contains a text: for "" the well-known ones, otherwise also every timm network that matches.

    Whether weights are here is looked up in the local caches; the network is not used.
    """
    wanted = text.strip().lower()
    rows = [_entry(known) for known in CATALOGUE if wanted in known.id]
    if not wanted:
        return rows
    from graftwork.imaging.backbones.timm import timm_entry, timm_names

    listed = {row.id for row in rows}
    names = timm_names(wanted.removeprefix("timm:"))
    return rows + [timm_entry(name) for name in names if f"timm:{name}" not in listed]


def _entry(known: Known) -> BackboneEntry:
    here: Literal["yes", "download", "file"] = "yes" if known.id.startswith("tiny:") else "file"
    if known.repository:
        here = "yes" if hub.cached_file(known.repository, known.files) else "download"
    source = known.id.partition(":")[0]
    return BackboneEntry(known.id, source, known.parameters, known.licence, here, known.note)
