"""The command line `graftwork-imaging`: the shared verbs, told about this domain."""

from __future__ import annotations

import warnings
from inspect import Parameter
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from graftwork.core.cli.app import run_app
from graftwork.core.cli.command_line import CommandLine
from graftwork.core.cli.options import ID, WEIGHTS, with_parameters
from graftwork.core.domain import BackboneEntry
from graftwork.imaging.domain import DOMAIN
from graftwork.imaging.explanation.commands import explain_command
from graftwork.imaging.export.commands import export_command

if TYPE_CHECKING:
    from graftwork.core.model.backbone import Backbone


def main() -> None:
    """Runs the command line and exits."""
    # They quote what a header says where it breaks the standard, which may be about the patient.
    warnings.filterwarnings("ignore", module="pydicom")
    run_app(COMMANDS)


def _load_backbone(id: str, *, weights: str | None = None, **options: Any) -> Backbone:
    from graftwork.imaging.backbones.loading import load_backbone

    return load_backbone(id, weights=weights, **options)


def _list_backbones(text: str) -> list[BackboneEntry]:
    from graftwork.imaging.backbones.loading import list_backbones

    return list_backbones(text)


IMAGE_SIZE = Annotated[
    int | None,
    typer.Option(
        "--image-size",
        help="Pixels (voxels in 3D) along each side that scans are resized to; by default what the backbone was "
        "trained on. Smaller is faster; vision transformers need a multiple of their patch size.",
    ),
]
CHANNELS = Annotated[
    int | None,
    typer.Option(
        "--channels",
        help="Input channels; by default what the backbone was trained on. Grey scans are repeated for 3 channels; "
        "for other numbers the pretrained first filters are summed or repeated.",
    ),
]
SPACING = Annotated[
    float | None,
    typer.Option(
        "--spacing-mm",
        help="Millimetres between voxels that scans are resampled to, then cut or padded about their centre; by "
        "default they are stretched to the image size, which hides how large things are.",
    ),
]
INTENSITY = Annotated[
    str | None,
    typer.Option(
        "--intensity",
        help="How values are scaled: auto (8/16-bit images by their full range, NIfTI, DICOM and float TIFF by "
        "quantiles), range, quantile, quantile:LOW:HIGH in per cent, foreground[:LOW:HIGH] (quantiles of "
        "what is not background, for MR with much air), window:LOW:HIGH (CT, in HU), zscore. "
        "Default: auto; zscore for medicalnet.",
    ),
]

SLICE_POOLING = Annotated[
    Literal["mean", "attention"] | None,
    typer.Option(
        "--slice-pooling", help="Of slices:, how a volume's vector is made of its slices': mean, or a learnt attention."
    ),
]
MASK_VALUES = Annotated[
    str | None,
    typer.Option("--mask-values", help="For masks: their values, separated by commas, the background first, with names "
                 "where you like, as 0,1:liver,2+3:tumour, + for values of one class; by default all that "
                 "occur.", rich_help_panel="Masks"),
]  # fmt: skip
OTHER_VALUES = Annotated[
    Literal["refuse", "background", "nearest"] | None,
    typer.Option("--other-values", help="For masks: what values are that --mask-values does not name: refused, as by "
                 "default; background, to learn one organ of several; or nearest, the nearer of two that are named, "
                 "for masks that were smoothed or saved as JPEG.", rich_help_panel="Masks"),
]  # fmt: skip
PATCH_SIZE = Annotated[
    str | None,
    typer.Option("--patch-size", help="For masks: voxels that the network sees at once, as 48,64,48 (depth, height, "
                 "width); by default --image-size along each axis. Larger scans are cut, smaller ones padded.",
                 rich_help_panel="Masks"),
]  # fmt: skip
OVERLAP = Annotated[
    float | None,
    typer.Option("--overlap", help="For masks: share of a patch that its neighbour covers too in prediction, 0.5 by "
                 "default.", rich_help_panel="Masks"),
]  # fmt: skip
MASK_ORDER = Annotated[
    Literal["place", "stored"] | None,
    typer.Option("--mask-order", help="For masks: what pairs voxels where only one of mask and image says where it "
                 "lies: place, as by default, refuses such pairs; stored takes voxels in the order in which both "
                 "files hold them.", rich_help_panel="Masks"),
]  # fmt: skip
MASK_COLOURS = Annotated[
    str | None,
    typer.Option("--mask-colours", help="For masks that are pictures in colour: colours and names of classes, the "
                 "background first, as '0,0,0:rest;255,0,0+255,128,0:tumour', or a .csv (name,r,g,b) or .json file "
                 "of them.", rich_help_panel="Masks"),
]  # fmt: skip
STRUCTURES = Annotated[
    str | None,
    typer.Option("--structures", help="For masks that are DICOM structure sets: names of the structures that are "
                 "classes, as 'liver,GTV+gtv_1:tumour'; others are left out. By default a structure's number is its "
                 "value.", rich_help_panel="Masks"),
]  # fmt: skip
IGNORE_VALUE = Annotated[
    int | None,
    typer.Option("--ignore-value", help="For masks: value of pixels or voxels that count in no loss and no measure, as "
                 "255.", rich_help_panel="Masks"),
]  # fmt: skip
LARGEST = Annotated[
    bool | None,
    typer.Option("--largest-component", help="For masks: keep only the largest connected piece of every class.",
                 rich_help_panel="Masks", show_default=False),
]  # fmt: skip

MASK_FORMAT = Annotated[
    Literal["dicom-seg"] | None,
    typer.Option("--format", help="Of masks: dicom-seg writes DICOM segmentations of DICOM files and series (extra "
                 "dicom-seg); by default PNG for pictures and NIfTI for all else."),
]  # fmt: skip

PARAMETERS = (
    Parameter("image_size", Parameter.KEYWORD_ONLY, default=None, annotation=IMAGE_SIZE),
    Parameter("channels", Parameter.KEYWORD_ONLY, default=None, annotation=CHANNELS),
    Parameter("intensity", Parameter.KEYWORD_ONLY, default=None, annotation=INTENSITY),
    Parameter("spacing_mm", Parameter.KEYWORD_ONLY, default=None, annotation=SPACING),
    Parameter("slice_pooling", Parameter.KEYWORD_ONLY, default=None, annotation=SLICE_POOLING),
    Parameter("mask_values", Parameter.KEYWORD_ONLY, default=None, annotation=MASK_VALUES),
    Parameter("other_values", Parameter.KEYWORD_ONLY, default=None, annotation=OTHER_VALUES),
    Parameter("patch_size", Parameter.KEYWORD_ONLY, default=None, annotation=PATCH_SIZE),
    Parameter("overlap", Parameter.KEYWORD_ONLY, default=None, annotation=OVERLAP),
    Parameter("largest_component", Parameter.KEYWORD_ONLY, default=None, annotation=LARGEST),
    Parameter("mask_order", Parameter.KEYWORD_ONLY, default=None, annotation=MASK_ORDER),
    Parameter("ignore_value", Parameter.KEYWORD_ONLY, default=None, annotation=IGNORE_VALUE),
    Parameter("mask_colours", Parameter.KEYWORD_ONLY, default=None, annotation=MASK_COLOURS),
    Parameter("structures", Parameter.KEYWORD_ONLY, default=None, annotation=STRUCTURES),
)

COMMANDS = CommandLine(
    domain=DOMAIN,
    default_backbone="timm:mobilenetv2_100",
    load_backbone=with_parameters(_load_backbone, ID, WEIGHTS, *PARAMETERS),
    list_backbones=_list_backbones,
    parameters=PARAMETERS,
    mask_settings=("mask_order", "other_values", "mask_colours", "structures"),
    mask_tables=("mask_colours", "structures"),
    mask_formats=(Parameter("format", Parameter.KEYWORD_ONLY, default=None, annotation=MASK_FORMAT),),
    omitted=frozenset({"vocabulary", "batch_seconds", "timeline"}),
    verbs=(explain_command, export_command),
)
