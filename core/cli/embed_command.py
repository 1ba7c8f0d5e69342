"""The verb that keeps features of many files: embed."""

# Typer reads annotations as objects, so they are not postponed here; heavy packages are imported by the verbs.
import json
from inspect import Parameter
from typing import Any

from graftwork.core.cli import options as o
from graftwork.core.cli.command_line import CommandLine, Verb


def embed_command(commands: CommandLine) -> Verb:
    """Name, function and help of `embed`."""

    def embed(**options: Any) -> None:
        from graftwork.core.cli.inputs import asked_backbone
        from graftwork.core.recipe import Recipe
        from graftwork.core.runs.embed import embed

        recipe = Recipe(device=options["device"], batch_size=options["batch_size"])
        backbone = asked_backbone(commands, options, options["backbone"], options["weights"], None, recipe.seed)
        found = embed(backbone, options["inputs"], options["out"], stage=options["stage"], recipe=recipe,
                      shard_rows=options["shard_rows"], skip_unreadable=options["skip_unreadable"],
                      root=options["root"], path_column=options["path_column"])  # fmt: skip
        print(json.dumps(found.to_json(), indent=2) if options["json"] else f"{found}\nvectors: {options['out']}")

    domain = commands.domain
    return (
        "embed",
        o.with_parameters(
            embed,
            o.argument("inputs", list[str], "Files, patterns such as 'new/*.png', or tables with a column `path`."),
            o.option("out", str, Parameter.empty, "Folder for the shards, Parquet files with path, digest and vector."),
            o.option("backbone", str, commands.default_backbone, "Backbone id, as `backbones` lists them."),
            o.WEIGHTS,
            *(one for one in commands.parameters if not o.of_masks(one)),
            o.option("stage", str | None, None, "Stage whose output is kept, pooled over space or time; by default the "
                     "last."),
            o.option("shard_rows", int, 10_000, "Files of a shard: what is lost when a run is ended, and then computed "
                     "anew."),
            o.ROOT,
            o.PATH_COLUMN,
            o.SKIP_UNREADABLE,
            o.BATCH_SIZE,
            o.DEVICE,
            o.JSON,
        ),
        f"Keep a frozen backbone's vectors of any number of {domain.example}s in shards, without targets. The same "
        "command goes on where it was ended, and adds what is new; several processes (torchrun) share the work.\n\n"
        f"Example: `graftwork-{domain.name} embed \"new/*\" --out vectors`",
    )  # fmt: skip
