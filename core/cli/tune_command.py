"""The verb `tune` of both command lines."""

# Typer reads annotations as objects, so they are not postponed here; heavy packages are imported by the verb.
from dataclasses import replace
from inspect import Parameter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graftwork.core.cli import options as o
from graftwork.core.cli.command_line import CommandLine, Verb, command_words
from graftwork.core.cli.config import config_option
from graftwork.core.cli.console import print_table

if TYPE_CHECKING:
    from graftwork.core.model.backbone import Backbone

NOT_SEARCHED = ("repeats", "test_fraction", "random_split", "allow_leaks")
"""Options of the data that say nothing here: rows of a test part are left out, and folds are drawn once."""

IMAGE_SIZES = o.option("image_sizes", str | None, None, "Image sizes that are searched, separated by commas, as 64,96; "
                       "each needs a pass through the frozen stages of its own.")  # fmt: skip


FOLDS = o.option("folds", int | None, None, "Parts of the cross-validation, 5 by default; rows that a split column "
                 "calls test are left out.")  # fmt: skip


def tune_command(commands: CommandLine) -> Verb:
    """Name, function and help of `tune`."""

    def tune(**options: Any) -> None:
        from graftwork.core.cli.inputs import asked_backbone, asked_recipe, names_in, read_inputs
        from graftwork.core.errors import SettingsError
        from graftwork.core.runs.tune import RESULT, tune

        recipe, out = asked_recipe(options), Path(options["out"])
        sizes = names_in(options.get("image_sizes"))
        if not all(size.isdecimal() for size in sizes):
            raise SettingsError(f"--image-sizes: expected whole numbers, as 64,96, found {options['image_sizes']}")
        if sizes:
            options["image_size"] = int(sizes[0])
        # A split column is read, so that rows of its test part can be left out.
        read = options | {"folds": None, "leave_out": None, "by": options["leave_out"]}
        backbone, manifest = read_inputs(commands, read, recipe.seed)

        def resized(size: int) -> "Backbone":
            given = options | {"image_size": size}
            other = asked_backbone(commands, given, options["backbone"], options["weights"], manifest, recipe.seed)
            return replace(other, frame_head=backbone.frame_head)

        tuned = tune(backbone, manifest, names_in(options["strategies"]), out=out, trials=options["trials"],
                     seconds=options["seconds"], recipe=recipe, folds=options["folds"],
                     leave_out=options["leave_out"], val_fraction=options["val_fraction"],
                     image_sizes=[int(size) for size in sizes], resized=resized,
                     near_duplicates=options["near_duplicates"], skip_unreadable=options["skip_unreadable"],
                     command=command_words(domain.name))  # fmt: skip
        if options["json"]:
            print((out / RESULT).read_text(encoding="utf-8"), end="")
            return
        print_table(*tuned.table())
        print(f"\n{tuned.sentence()}\ntrials, plot and the run with the best settings (best): {out}")

    domain = commands.domain
    sized = any(parameter.name == "image_size" for parameter in commands.parameters)
    return (
        "tune",
        o.with_parameters(
            tune,
            o.MANIFEST,
            o.option("out", str, Parameter.empty, "Folder of the search, and of a run with the best settings."),
            o.option("trials", int | None, None, "Trials in all, those of earlier calls and of other processes with "
                     "the same --out among them; these or --seconds are needed."),
            o.option("seconds", float | None, None, "No trial begins later than so many seconds after the call."),
            o.option("strategies", str, "knn,probe,partial:1,lora,full",
                     "Strategies that are searched, separated by commas."),
            *((IMAGE_SIZES,) if sized else ()),
            o.option("backbone", str, commands.default_backbone, "Backbone id, as `backbones` lists them."),
            o.WEIGHTS,
            FOLDS,
            *(one for one in o.told(commands, o.DATA) if one.name not in (*NOT_SEARCHED, "folds")),
            *commands.parameters,
            *o.told(commands, o.recipe_options()),
            o.JSON,
            config_option(),
        ),
        "Search for the strategy and its settings by folds, and train with the best (extra `tune`: Optuna).\n\n"
        "Searched are strategies, learning rate, epochs (up to `--epochs`), rank of lora, random changes"
        + (" and image size" if sized else "")
        + "; a trial whose mean over its folds so far has never been above the median of the others' ends early. "
        "The same command goes on with the "
        "search in `--out`, and several processes that are given it share the work. Rows whose split column says test "
        "are left out. What is printed last is corrected for the choice: publish that.\n\n"
        f"Example: `graftwork-{domain.name} tune {domain.example}s.csv --trials 40 --folds 5 --out runs/tuned`",
    )  # fmt: skip
