"""The verbs that look at backbones and manifests as they are: backbones and check."""

# Typer reads annotations as objects, so they are not postponed here; heavy packages are imported by the verbs.
import json
import sys
from inspect import Parameter
from typing import Annotated, Any

import typer

from graftwork.core.cli import options as o
from graftwork.core.cli.command_line import CommandLine, Verb
from graftwork.core.cli.console import plain_bars, print_table


def backbones_command(commands: CommandLine) -> Verb:
    """Name, function and help of `backbones`."""

    def backbones(**options: Any) -> None:
        rows = commands.list_backbones(options["text"] or "")
        if options["json"]:
            print(json.dumps([vars(row) for row in rows], indent=2))
            return
        if not rows:
            print(f"no backbone's id contains {options['text']!r}", file=sys.stderr)
            return
        columns = ["id", "parameters", "licence", "weights here", "note"]
        print_table(columns, [(row.id, _millions(row.parameters), row.licence, row.here, row.note) for row in rows])

    kind = Annotated[str | None, typer.Argument(help="Only ids that contain this.")]
    text = Parameter("text", Parameter.POSITIONAL_OR_KEYWORD, default=None, annotation=kind)
    return (
        "backbones",
        o.with_parameters(backbones, text, o.JSON),
        "List the backbones that can be loaded, their size and licence, and whether their weights are here.\n\n"
        f"Example: `graftwork-{commands.domain.name} backbones {commands.default_backbone.split(':')[0]}`",
    )


OPEN_FILES = o.option("open_files", bool, False, "Decode every file whole, and say how long, at which rate, how large "
                      "and in which range they are, and which cannot be read or look wrong.")  # fmt: skip


def check_command(commands: CommandLine) -> Verb:
    """Name, function and help of `check`."""

    def check(**options: Any) -> None:
        from graftwork.core.data.mask_classes import check_one_way, held_values
        from graftwork.core.data.near_duplicates import with_near_duplicates
        from graftwork.core.data.people import read_domain_manifest
        from graftwork.core.data.tables import split_order
        from graftwork.core.errors import SettingsError
        from graftwork.core.runs.check import check
        from graftwork.core.runs.opened_files import open_files

        settings = {name: options[name] for name in commands.mask_settings}
        manifest = read_domain_manifest(domain, options["manifest"], target=options["target"], group=options["group"],
                                        group_from=options["group_from"], task=options["task"],
                                        order=split_order(options["order"]), **o.source_options(options))  # fmt: skip
        held = held_values(domain, manifest, manifest.examples, settings) if manifest.task.in_files else None
        if held is not None:
            check_one_way(manifest, held)
        manifest, alike = with_near_duplicates(domain, manifest, options["near_duplicates"])
        opened = None
        if options["open_files"]:
            if domain.describe is None:
                raise SettingsError(f"--open-files: {domain.example}s are no files")
            opened = open_files(domain.describe, manifest.inputs)
        found = check(manifest, held, alike, opened)
        if options["json"]:
            print(json.dumps(found.to_json(), indent=2))
        else:
            print(plain_bars(str(found)))

    domain = commands.domain
    own = [parameter for parameter in commands.parameters if parameter.name in commands.mask_settings]
    return (
        "check",
        o.with_parameters(
            check,
            o.MANIFEST,
            o.TARGET,
            o.GROUP,
            o.GROUP_FROM,
            *o.SOURCE,
            o.TASK,
            o.ORDER,
            o.NEAR_DUPLICATES,
            OPEN_FILES,
            *own,
            o.JSON,
        ),
        "Validate a manifest: every problem at once, or counts, balance of classes and groups, and files with the "
        f"same content.\n\nExample: `graftwork-{domain.name} check {domain.example}s.csv --target label`",
    )


def _millions(count: int | None) -> str:
    return "" if count is None else f"{count / 1e6:.1f} M"
