"""From the options of a command to values: a manifest, and a backbone for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from graftwork.core.cli.command_line import CommandLine
from graftwork.core.cli.options import source_options
from graftwork.core.compute.device import choose_device, choose_precision
from graftwork.core.compute.runtime import seed_everything
from graftwork.core.data.characters import CHECKPOINT, asked_classes, check_vocabulary
from graftwork.core.data.manifest import Manifest
from graftwork.core.data.mask_classes import with_mask_classes
from graftwork.core.data.people import read_domain_manifest
from graftwork.core.data.tables import split_order
from graftwork.core.errors import SettingsError
from graftwork.core.model.backbone import FRAMES, Backbone, suited
from graftwork.core.recipe import Recipe
from graftwork.core.types import FrameHead

Options = Mapping[str, Any]


def asked_recipe(options: Options) -> Recipe:
    """The recipe that a command's options name. Raises SettingsError for values that no recipe has, and for a device or
    precision that is not there."""
    given = {name: options[name] for name in Recipe.__dataclass_fields__ if options.get(name) is not None}
    recipe = Recipe(**given)
    choose_precision(recipe.precision, choose_device(recipe.device))
    return recipe


def read_inputs(commands: CommandLine, options: Options, seed: int) -> tuple[Backbone, Manifest]:
    """The manifest, and the backbone that suits its target, as `train` and `compare` are asked for them.

    Raises ManifestError, SettingsError for options that do not go together, and what `load_backbone` raises.
    """
    vocabulary = options.get("vocabulary")
    check_vocabulary(vocabulary, options["target"], options["task"])
    frame_head = None
    if vocabulary == CHECKPOINT:
        if commands.load_frame_head is None:
            raise SettingsError(f"--vocabulary {CHECKPOINT}: {commands.domain.name} backbones have no characters")
        frame_head = commands.load_frame_head(
            options["backbone"], weights=options["weights"], **_domain_options(commands, options)
        )
    manifest = asked_manifest(commands, options, frame_head)
    backbone = asked_backbone(commands, options, options["backbone"], options["weights"], manifest, seed)
    return replace(backbone, frame_head=frame_head), manifest


def asked_manifest(commands: CommandLine, options: Options, frame_head: FrameHead | None = None) -> Manifest:
    """The manifest that a command's options name; with folds a split column is not looked at."""
    domain = commands.domain
    manifest = read_domain_manifest(
        domain, options["manifest"], target=options["target"], group=options["group"],
        group_from=options["group_from"], task=options["task"], order=split_order(options["order"]),
        split=None if options.get("folds") is not None or options.get("leave_out") is not None else "split",
        classes=asked_classes(options.get("vocabulary"), frame_head),
        shared_groups="allow" if options.get("allow_leaks") else "refuse", columns=further_columns(options),
        **source_options(options),
    )  # fmt: skip
    return with_mask_classes(domain, manifest, options.get("mask_values"), options.get("other_values"),
                             options.get("ignore_value"),
                             {name: options.get(name) for name in commands.mask_tables})  # fmt: skip


def further_columns(options: Options) -> tuple[str, ...]:
    """Columns that options name beside target and group, each once."""
    left_out = options.get("leave_out")
    return tuple(dict.fromkeys([*names_in(options.get("by")), *([] if left_out is None else [left_out])]))


def names_in(text: str | None) -> tuple[str, ...]:
    """Names out of `sex,scanner`; none of None."""
    return () if text is None else tuple(name.strip() for name in text.split(",") if name.strip())


def _domain_options(commands: CommandLine, options: Options) -> dict[str, Any]:
    """What was given of the domain's own options."""
    given = {parameter.name: options.get(parameter.name) for parameter in commands.parameters}
    return {name: value for name, value in given.items() if value is not None}


def asked_backbone(
    commands: CommandLine, options: Options, id: str, weights: str | None, manifest: Manifest | None, seed: int
) -> Backbone:
    """The backbone of that id, told what the domain's options say and, for masks, what their classes are.

    Raises SettingsError for a text where the domain can learn none, and what `load_backbone` raises.
    """
    given = _domain_options(commands, options)
    named = any(name in given for name in commands.mask_tables)
    if manifest is not None and manifest.task.output == "maps" and not named:
        given = {"mask_values": ",".join(manifest.classes)} | given
    seed_everything(seed)  # weights may be asked for at random
    backbone = commands.load_backbone(id, weights=weights, **given)
    if manifest is None or manifest.task.output != "frames":
        return backbone
    backbone = suited(backbone, manifest.task)
    if backbone.stages[-1].name != FRAMES and "pooling" not in given:
        raise SettingsError(f"{manifest.target!r} is text, which {commands.domain.name} cannot learn: name another "
                            "column")  # fmt: skip
    return backbone
