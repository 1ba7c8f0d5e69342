"""The verbs that take a run: evaluate and predict."""

# Typer reads annotations as objects, so they are not postponed here; heavy packages are imported by the verbs.
import json
import os
from pathlib import Path
from typing import Any

import typer

from graftwork.core.cli import options as o
from graftwork.core.cli.command_line import CommandLine, Verb, command_words
from graftwork.core.cli.printed import print_corruptions, print_decisions, print_subgroups
from graftwork.core.csv_cells import escaped

RUN = o.argument("run", str, "Folder that train wrote, or hub:OWNER/NAME[@REVISION].")


def evaluate_command(commands: CommandLine) -> Verb:
    """Name, function and help of `evaluate`."""

    def evaluate(**options: Any) -> None:
        from graftwork.core.cli.inputs import names_in
        from graftwork.core.compute.runtime import start_runtime
        from graftwork.core.data.people import read_domain_manifest
        from graftwork.core.inference.adapter import load_adapter
        from graftwork.core.inference.adapter_record import prediction_recipe, read_record
        from graftwork.core.inference.hub import adapter_folder
        from graftwork.core.runs.evaluate import evaluate_run
        from graftwork.core.runs.predict import kept_folds, open_groups
        from graftwork.core.runs.run_folder import claim_folder

        run, part, out = options["run"], options["part"], options["out"]
        record = read_record(adapter_folder(run))
        if out is not None:
            claim_folder(Path(out))
        rows = read_domain_manifest(
            domain, options["manifest"], target=options["target"] or record["target"], group=options["group"],
            group_from=options["group_from"], task=record["task"], classes=record["classes"],
            split=None if part is None else "split", columns=names_in(options["by"]),
            **o.source_options(options),
        )  # fmt: skip
        rows = rows if part is None else rows.part(part)
        models: list[Any] = []
        if options["ensemble"]:
            recipe = prediction_recipe([record], options["device"], options["batch_size"])
            models = open_groups(kept_folds(run), commands.load_backbone, options["weights"], start_runtime(recipe))
        found = evaluate_run(run, load_adapter(run, commands.load_backbone, options["weights"]), rows,
                             part=part or "test", skip_unreadable=options["skip_unreadable"], out=out,
                             by=names_in(options["by"]), corruptions=options["corruptions"],
                             batch_size=options["batch_size"], device=options["device"],
                             command=command_words(domain.name), ensemble=models)  # fmt: skip
        if options["json"]:
            print(json.dumps(found.to_json(), indent=2, sort_keys=True))
        else:
            print(f"{found.part.evaluation}\n")
            print_decisions(found.decisions)
            print_subgroups(found.subgroups)
            print_corruptions(found.corruptions)

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
            *o.SOURCE,
            o.BY,
            o.option(
                "ensemble",
                bool,
                False,
                "The mean of the models that train --keep-folds has kept, in place of the adapter.",
            ),
            o.option(
                "corruptions",
                bool,
                False,
                "Evaluate the same files made worse as well: "
                + ", ".join(one.name.replace("_", " ") for one in domain.corruptions)
                + "; each at three "
                "strengths.",
            ),
            o.SKIP_UNREADABLE,
            o.option(
                "out",
                str | None,
                None,
                "Folder for metrics, predictions, plots and the report; by default nothing is written.",
            ),
            o.BATCH_SIZE,
            o.DEVICE,
            o.JSON,
        ),
        "Evaluate an adapter on the examples of a manifest.\n\n"
        f"Example: `graftwork-{domain.name} evaluate runs/first test.csv`",
    )


def _watch(
    commands: CommandLine, run: str, named: list[str], folder: str, out: str | None, timeline: str | None,
    file_format: str | None, options: dict[str, Any],
) -> None:  # fmt: skip
    """`predict --watch`, until Ctrl-C."""
    from graftwork.core.cli.interruption import ended_by_request
    from graftwork.core.errors import OutputError, SettingsError
    from graftwork.core.runs.watch import watch

    if named:
        raise SettingsError("--watch names the folder whose files are predicted: leave out the others")
    if out is None:
        raise OutputError("--watch appends to a CSV file: name it with --out")
    asked = {"timeline": timeline, "format": file_format} | {
        name: options[name] for name in ("abstain", "ensemble", "root", "path_column")
    }
    given = [f"--{name.replace('_', '-')}" for name, value in asked.items() if value]
    if given:
        raise SettingsError(f"--watch does not go together with {', '.join(given)}")
    taken = ("weights", "outside", "batch_size", "device")
    with ended_by_request() as wait:
        done = watch(run, folder, commands.load_backbone, out, wait=wait,
                     **{name: options[name] for name in taken if name in options})  # fmt: skip
    print(f"{done.predicted} files predicted, {done.unreadable} could not be read: {out}; the same command goes on")


def predict_command(commands: CommandLine) -> Verb:
    """Name, function and help of `predict`."""

    def predict(**options: Any) -> None:
        from graftwork.core.errors import OutputError, SettingsError
        from graftwork.core.inference.adapter_record import RECORD
        from graftwork.core.inference.hub import on_hub
        from graftwork.core.inference.inputs import find_inputs
        from graftwork.core.runs.predict import learnt_masks, predict, segment

        run, out, as_json = (options.pop(name) for name in ("run", "out", "json"))
        timeline, file_format = options.pop("timeline", None), options.pop("format", None)
        named, folder = options.pop("inputs") or [], options.pop("watch")
        if folder is not None:
            _watch(commands, run, named, folder, out, timeline, file_format, options)
            return
        if not named:
            raise typer.BadParameter("Missing argument 'inputs'.")
        runs = [run, *(name for name in named if on_hub(name) or os.path.isfile(os.path.join(name, RECORD)))]
        inputs = find_inputs([name for name in named if name not in runs], domain, root=options.pop("root"),
                             path_column=options.pop("path_column"))  # fmt: skip
        if not inputs:
            raise SettingsError("nothing to predict: name files behind the runs")
        if learnt_masks(run) and len(runs) == 1:
            if timeline is not None:
                raise SettingsError("masks have no timeline")
            if out is None:
                raise OutputError("masks are written into files: name a folder with --out")
            if options.pop("abstain") is not None:
                raise SettingsError("--abstain: of masks every voxel has its class")
            table = segment(run, inputs, commands.load_backbone, out, file_format=file_format, **options)
        else:
            if file_format is not None:
                raise SettingsError(f"--format {file_format} is of masks, which this run does not predict")
            table = predict(runs, inputs, commands.load_backbone, out=out, timeline=timeline, **options)
        if as_json:
            print(table.to_json(orient="records", indent=2))
        elif out is None:
            print(escaped(table).to_csv(index=False, float_format="%.9g"), end="")
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
                list[str] | None,
                "Files, patterns such as 'new/*.png', or tables with a column `path`; further runs among them predict "
                "the same files.",
            ).replace(default=None),
            o.ROOT,
            o.PATH_COLUMN,
            o.WEIGHTS,
            o.option(
                "out",
                str | None,
                None,
                "CSV file to write, by default the table goes to stdout; of masks the folder that they go into.",
            ),
            *o.told(commands, [o.TIMELINE]),
            *commands.mask_formats,
            o.ABSTAIN,
            o.ENSEMBLE,
            o.WATCH,
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
