"""The verbs that train: train and compare."""

# Typer reads annotations as objects, so they are not postponed here; heavy packages are imported by the verbs.
from inspect import Parameter
from pathlib import Path
from typing import Any

from graftwork.core.cli import options as o
from graftwork.core.cli.command_line import CommandLine, Verb, command_words
from graftwork.core.cli.config import config_option
from graftwork.core.cli.console import print_table
from graftwork.core.cli.printed import print_decisions, print_subgroups
from graftwork.core.model.strategies import STRATEGIES


def train_command(commands: CommandLine) -> Verb:
    """Name, function and help of `train`."""

    def train(**options: Any) -> None:
        from graftwork.core.cli.inputs import asked_recipe, names_in, read_inputs
        from graftwork.core.compute.runtime import is_first
        from graftwork.core.runs.run_folder import goes_on
        from graftwork.core.runs.train import train

        recipe, out = asked_recipe(options), Path(options["out"])
        goes_on(out, resume=options["resume"], restart=options["restart"])
        backbone, manifest = read_inputs(commands, options, recipe.seed)
        result = train(backbone, manifest, strategy=options["strategy"], recipe=recipe, out=out,
                       resume=options["resume"], restart=options["restart"], by=names_in(options["by"]),
                       command=command_words(domain.name),
                       **{name: options[name] for name in o.PARTS},
                       keep_folds=options["keep_folds"], vectors=options["vectors"],
                       **{one.name: options[one.name] for one in (*o.DECISIONS, *o.TRACKING)})  # fmt: skip
        if not is_first():
            return
        if options["json"]:
            print((out / "metrics.json").read_text(encoding="utf-8"), end="")
            return
        for part in result.parts:
            said = str(part.evaluation) if part.folds is not None else f"{part.part}: {part.evaluation}"
            print(f"{said}\n")
        if result.leakage is not None:
            print(f"{result.leakage}\n")
        print_decisions(result.decisions)
        print_subgroups(result.subgroups)
        for caution in result.cautions:
            print(f"{caution}\n")
        print(f"adapter, predictions, plots and report: {out}")

    domain = commands.domain
    return (
        "train",
        o.with_parameters(
            train,
            o.MANIFEST,
            o.option("out", str, Parameter.empty, "Folder for the adapter, the metrics, the plots and the report."),
            _backbone(commands),
            o.WEIGHTS,
            o.option(
                "strategy",
                str,
                "probe",
                "What may change: " + "; ".join(f"{one.label}: {one.meaning}" for one in STRATEGIES.values()),
            ),
            *o.told(commands, o.DATA),
            o.KEEP_FOLDS,
            o.VECTORS,
            o.BY,
            *o.DECISIONS,
            *commands.parameters,
            *o.told(commands, o.recipe_options()),
            *o.AGAIN,
            *o.TRACKING,
            o.JSON,
            config_option(),
        ),
        "Adapt a backbone to the examples of a manifest and evaluate the result, with intervals.\n\n"
        "The manifest is a CSV, TSV or Parquet table with a column `path` and a target, or a folder per class. "
        "Without `--folds` or a split column, validation and test parts are drawn; groups stay together.\n\n"
        f"Example: `graftwork-{domain.name} train {domain.example}s.csv --backbone {commands.default_backbone} "
        "--strategy probe --folds 5 --out runs/first`",
    )


def compare_command(commands: CommandLine) -> Verb:
    """Name, function and help of `compare`."""

    def compare(**options: Any) -> None:
        from graftwork.core.cli.inputs import asked_recipe, read_inputs
        from graftwork.core.runs.compare import COMPARISON, claim_comparison, compare

        recipe, out = asked_recipe(options), Path(options["out"])
        claim_comparison(out, resume=options["resume"], restart=options["restart"])
        backbone, manifest = read_inputs(commands, options, recipe.seed)
        comparison = compare(backbone, manifest, options["strategies"].split(","), tie_margin=options["tie_margin"],
                             recipe=recipe, out=out, resume=options["resume"], restart=options["restart"],
                             command=command_words(domain.name),
                             **{name: options[name] for name in o.PARTS},
                             **{one.name: options[one.name] for one in o.TRACKING})  # fmt: skip
        if comparison is None:
            return
        if options["json"]:
            print((out / COMPARISON).read_text(encoding="utf-8"), end="")
            return
        print_table(*comparison.table())
        for caution in comparison.cautions:
            print(f"\n{caution}")
        print(f"\n{comparison.sentence()}\nruns, {COMPARISON}, plot and report: {out}")

    domain = commands.domain
    return (
        "compare",
        o.with_parameters(
            compare,
            o.MANIFEST,
            o.option("out", str, Parameter.empty, "Folder for a run per strategy, and for what they give together."),
            o.option("strategies", str, "knn,probe,partial:1,lora,full,scratch",
                     "Strategies as train knows them, separated by commas; they run in this order."),
            o.option("tie_margin", float, 0.02, "How much less of the metric counts as good as the best."),
            _backbone(commands),
            o.WEIGHTS,
            *o.told(commands, o.DATA),
            *commands.parameters,
            *o.told(commands, o.recipe_options()),
            *o.AGAIN,
            *o.TRACKING,
            o.JSON,
            config_option(),
        ),
        "Train several strategies on the same rows and say which is best, what is left of that on rows that did not "
        "choose it, which is as good for less, and what each costs.\n\n"
        "Differences are measured in pairs on the same test rows. What an earlier strategy put into the cache of "
        "frozen stages is not computed again by a later one, and counts for the earlier.\n\n"
        f"Example: `graftwork-{domain.name} compare {domain.example}s.csv --strategies knn,probe,lora,full "
        "--folds 5 --out runs/compared`",
    )  # fmt: skip


def _backbone(commands: CommandLine) -> Parameter:
    return o.option("backbone", str, commands.default_backbone, "Backbone id, as `backbones` lists them.")
