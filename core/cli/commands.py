"""The verbs both command lines share; `stages` and `rank` are in `inspection_commands`. Only results go to stdout."""

# Typer reads annotations as objects, so they are not postponed here; heavy packages are imported by the verbs.
import errno
import json
import logging
import os
import sys
from collections.abc import Callable
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any

import typer

from graftwork.core.cli import options as o
from graftwork.core.cli.command_line import CommandLine
from graftwork.core.cli.console import accept_all_text, plain_bars, print_table
from graftwork.core.cli.inspection_commands import rank_command, stages_command
from graftwork.core.cli.interruption import interruptible
from graftwork.core.errors import GraftworkError
from graftwork.core.model.strategies import STRATEGIES
from graftwork.core.versions import version_of

Verb = Callable[..., None]

USER_ERROR, FAULT = 2, 1
INTERRUPTED = "interrupted; train, compare and pretrain go on from the last checkpoint with --resume"


def build_app(commands: CommandLine) -> typer.Typer:
    """The command line of one domain."""
    domain = commands.domain
    app = typer.Typer(
        name=f"graftwork-{domain.name}",
        help=f"Graft a small trained part onto a frozen pretrained backbone, for {domain.name}. "
        "Begin with `check`, then `train`, `evaluate` and `predict`. `--debug` shows where an error came from.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
        add_completion=False,
    )
    for verb in (_backbones, _check, stages_command, rank_command, _train, _compare, _evaluate, _predict,
                 *commands.verbs):  # fmt: skip
        name, command, text = verb(commands)
        app.command(name, help=text, no_args_is_help=name != "backbones")(command)
    app.callback()(_main)
    return app


def _print_version(asked: bool) -> None:
    if asked:
        print(version_of("graftwork"))
        raise typer.Exit


def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options in front of every verb."""


def run_app(commands: CommandLine) -> None:
    """Runs the command line and exits: 0 done, 2 for what the user can mend, 1 for a fault of the program."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    log = logging.getLogger("graftwork")
    log.addHandler(handler)
    first = os.environ.get("RANK", "0") == "0"  # under torchrun one process speaks for all
    log.setLevel(logging.ERROR if not first else logging.DEBUG if debug else logging.INFO)
    accept_all_text()
    try:
        with interruptible(INTERRUPTED):
            build_app(commands)(arguments)
    except GraftworkError as error:
        if debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(USER_ERROR)
    except OSError as error:
        if debug or error.errno != errno.ENAMETOOLONG:
            raise
        print(f"error: {error.filename}: no file can have so long a name; give a shorter one", file=sys.stderr)
        sys.exit(USER_ERROR)
    finally:
        log.removeHandler(handler)


def _backbones(commands: CommandLine) -> tuple[str, Verb, str]:
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


def _check(commands: CommandLine) -> tuple[str, Verb, str]:
    def check(**options: Any) -> None:
        from graftwork.core.data.mask_classes import check_one_way, held_values
        from graftwork.core.data.near_duplicates import with_near_duplicates
        from graftwork.core.data.people import read_domain_manifest
        from graftwork.core.data.tables import split_order
        from graftwork.core.runs.check import check

        settings = {name: options[name] for name in commands.mask_settings}
        manifest = read_domain_manifest(domain, options["manifest"], target=options["target"], group=options["group"],
                                        group_from=options["group_from"], task=options["task"],
                                        order=split_order(options["order"]))  # fmt: skip
        held = held_values(domain, manifest, manifest.examples, settings) if manifest.task.in_files else None
        if held is not None:
            check_one_way(manifest, held)
        manifest, alike = with_near_duplicates(domain, manifest, options["near_duplicates"])
        found = check(manifest, held, alike)
        if options["json"]:
            print(json.dumps(found.to_json(), indent=2))
        else:
            print(plain_bars(str(found)))

    domain = commands.domain
    own = [parameter for parameter in commands.parameters if parameter.name in commands.mask_settings]
    return (
        "check",
        o.with_parameters(
            check, o.MANIFEST, o.TARGET, o.GROUP, o.GROUP_FROM, o.TASK, o.ORDER, o.NEAR_DUPLICATES, *own, o.JSON
        ),
        "Validate a manifest: every problem at once, or counts, balance of classes and groups, and files with the "
        f"same content.\n\nExample: `graftwork-{domain.name} check {domain.example}s.csv --target label`",
    )


def _train(commands: CommandLine) -> tuple[str, Verb, str]:
    def train(**options: Any) -> None:
        from graftwork.core.cli.inputs import asked_recipe, read_inputs
        from graftwork.core.compute.runtime import is_first
        from graftwork.core.runs.run_folder import claim_folder
        from graftwork.core.runs.train import train

        recipe, out = asked_recipe(options), Path(options["out"])
        claim_folder(out, options["resume"])
        backbone, manifest = read_inputs(commands, options, recipe.seed)
        result = train(backbone, manifest, strategy=options["strategy"], recipe=recipe, out=out,
                       resume=options["resume"], **{name: options[name] for name in o.PARTS})  # fmt: skip
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
        for caution in result.cautions:
            print(f"{caution}\n")
        print(f"adapter, predictions and plots: {out}")

    domain = commands.domain
    return (
        "train",
        o.with_parameters(
            train,
            o.MANIFEST,
            o.option("out", str, Parameter.empty, "Folder for the adapter, the metrics and the plots."),
            _backbone(commands),
            o.WEIGHTS,
            o.option(
                "strategy",
                str,
                "probe",
                "What may change: " + "; ".join(f"{one.label}: {one.meaning}" for one in STRATEGIES.values()),
            ),
            *o.DATA,
            *commands.parameters,
            *o.recipe_options(),
            o.option("resume", bool, False, "Go on with the unfinished run in --out."),
            o.JSON,
        ),
        "Adapt a backbone to the examples of a manifest and evaluate the result, with intervals.\n\n"
        "The manifest is a CSV, TSV or Parquet table with a column `path` and a target, or a folder per class. "
        "Without `--folds` or a split column, validation and test parts are drawn; groups stay together.\n\n"
        f"Example: `graftwork-{domain.name} train {domain.example}s.csv --backbone {commands.default_backbone} "
        "--strategy probe --folds 5 --out runs/first`",
    )


def _compare(commands: CommandLine) -> tuple[str, Verb, str]:
    def compare(**options: Any) -> None:
        from graftwork.core.cli.inputs import asked_recipe, read_inputs
        from graftwork.core.runs.compare import COMPARISON, claim_comparison, compare

        recipe, out = asked_recipe(options), Path(options["out"])
        claim_comparison(out, options["resume"])
        backbone, manifest = read_inputs(commands, options, recipe.seed)
        comparison = compare(backbone, manifest, options["strategies"].split(","), tie_margin=options["tie_margin"],
                             recipe=recipe, out=out, resume=options["resume"],
                             **{name: options[name] for name in o.PARTS})  # fmt: skip
        if comparison is None:
            return
        if options["json"]:
            print((out / COMPARISON).read_text(encoding="utf-8"), end="")
            return
        print_table(*comparison.table())
        for caution in comparison.cautions:
            print(f"\n{caution}")
        print(f"\n{comparison.sentence()}\nruns, {COMPARISON} and plot: {out}")

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
            *o.DATA,
            *commands.parameters,
            *o.recipe_options(),
            o.option("resume", bool, False, "Go on in --out: finished strategies are kept, an unfinished one goes on."),
            o.JSON,
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


def _evaluate(commands: CommandLine) -> tuple[str, Verb, str]:
    def evaluate(**options: Any) -> None:
        from graftwork.core.data.people import read_domain_manifest
        from graftwork.core.inference.adapter import load_adapter
        from graftwork.core.inference.adapter_record import read_record
        from graftwork.core.runs.evaluate import evaluate_run
        from graftwork.core.runs.run_folder import claim_folder

        run, part, out = options["run"], options["part"], options["out"]
        record = read_record(Path(run))
        if out is not None:
            claim_folder(Path(out), resume=False)
        rows = read_domain_manifest(
            domain, options["manifest"], target=options["target"] or record["target"], group=options["group"],
            group_from=options["group_from"], task=record["task"], classes=record["classes"],
            split=None if part is None else "split",
        )  # fmt: skip
        rows = rows if part is None else rows.part(part)
        found = evaluate_run(run, load_adapter(run, commands.load_backbone, options["weights"]), rows,
                             part=part or "test", skip_unreadable=options["skip_unreadable"], out=out,
                             batch_size=options["batch_size"], device=options["device"])  # fmt: skip
        if options["json"]:
            print(json.dumps(found.to_json(), indent=2, sort_keys=True))
        else:
            print(found.part.evaluation)

    domain = commands.domain
    return (
        "evaluate",
        o.with_parameters(
            evaluate,
            RUN,
            o.MANIFEST,
            o.WEIGHTS,
            o.option("part", str | None, None, "Only rows whose split column says this: train, val or test."),
            o.option("target", str | None, None, "Column of the truth; by default the one it was trained on."),
            o.GROUP,
            o.GROUP_FROM,
            o.SKIP_UNREADABLE,
            o.option(
                "out",
                str | None,
                None,
                "Folder for metrics, predictions and plots; by default nothing is written.",
            ),
            o.BATCH_SIZE,
            o.DEVICE,
            o.JSON,
        ),
        "Evaluate an adapter on the examples of a manifest.\n\n"
        f"Example: `graftwork-{domain.name} evaluate runs/first test.csv`",
    )


def _predict(commands: CommandLine) -> tuple[str, Verb, str]:
    def predict(**options: Any) -> None:
        from graftwork.core.errors import OutputError, SettingsError
        from graftwork.core.inference.adapter_record import RECORD
        from graftwork.core.inference.inputs import find_inputs
        from graftwork.core.runs.predict import learnt_masks, predict, segment

        run, out, as_json, timeline = (options.pop(name) for name in ("run", "out", "json", "timeline"))
        named = options.pop("inputs")
        runs = [run, *(name for name in named if os.path.isfile(os.path.join(name, RECORD)))]
        inputs = find_inputs([name for name in named if name not in runs], domain)
        if not inputs:
            raise SettingsError("nothing to predict: name files behind the runs")
        if learnt_masks(run) and len(runs) == 1:
            if timeline is not None:
                raise SettingsError("masks have no timeline")
            if out is None:
                raise OutputError("masks are written into files: name a folder with --out")
            table = segment(run, inputs, commands.load_backbone, out, **options)
        else:
            table = predict(runs, inputs, commands.load_backbone, out=out, timeline=timeline, **options)
        if as_json:
            print(table.to_json(orient="records", indent=2))
        elif out is None:
            print(table.to_csv(index=False, float_format="%.9g"), end="")
        else:
            print(f"{len(table)} predictions: {out}")

    domain = commands.domain
    return (
        "predict",
        o.with_parameters(
            predict,
            RUN,
            o.argument(
                "inputs",
                list[str],
                "Files, patterns such as 'new/*.png', or tables with a column `path`; further runs among them predict "
                "the same files.",
            ),
            o.WEIGHTS,
            o.option(
                "out",
                str | None,
                None,
                "CSV file to write, by default the table goes to stdout; of masks the folder that they go into.",
            ),
            o.option("timeline", str | None, None, "CSV file for every window of recordings that the run cuts."),
            *(() if domain.monitor is None else (o.OUTSIDE,)),
            o.SKIP_UNREADABLE,
            o.BATCH_SIZE,
            o.DEVICE,
            o.JSON,
        ),
        "Predict new files: one CSV row each, with a probability per class. The adapter's own input contract is "
        "applied. Several runs over one backbone load it once, run what they share of it once per file, and have "
        f"columns of their own.\n\nExample: `graftwork-{domain.name} predict runs/first new/* --out predictions.csv`",
    )


def _millions(count: int | None) -> str:
    return "" if count is None else f"{count / 1e6:.1f} M"


RUN = o.argument("run", str, "Folder that train wrote.")
