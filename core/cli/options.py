"""The options of the shared commands, as literal tables: both command lines take their flags from here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from inspect import Parameter, Signature
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from graftwork.core.model.head_records import HEADS
from graftwork.core.model.strategies import HEAD_START, STRATEGIES
from graftwork.core.recipe import Recipe
from graftwork.core.types import NearDuplicatesMode, TaskName

if TYPE_CHECKING:
    from graftwork.core.cli.command_line import CommandLine

Command = TypeVar("Command", bound=Callable[..., Any])


def option(name: str, kind: Any, default: Any, help: str, *, panel: str | None = None, show: bool = True) -> Parameter:
    """One `--name` option with its type, default and help text."""
    flag = "--" + name.replace("_", "-")
    flags = [f"{flag}/--no-{flag[2:]}"] if kind is bool and default is True else [flag]
    declared = typer.Option(*flags, help=help, rich_help_panel=panel, show_default=show)
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, declared])


def argument(name: str, kind: Any, help: str) -> Parameter:
    """One positional argument."""
    return Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, annotation=Annotated[kind, typer.Argument(help=help)])


MANIFEST = argument("manifest", str, "CSV, TSV, JSON lines or Parquet table, folder per class or of a known layout, or "
                    "MedMNIST .npz.")  # fmt: skip
TASK = option("task", TaskName | None, None,
              "What the target is. By default several columns are several labels, a column of numbers that are "
              "not all whole is a number (many different whole ones must be named), one called mask names files, "
              "anything else is single labels. ordinal: grades in an order.")  # fmt: skip
ORDER = option("order", str | None, None, "Grades of an ordinal target from the lowest to the highest, as "
               "none,mild,moderate,severe; numbers need none.")  # fmt: skip
TARGET = option("target", str | None, None, "Column to learn, by default 'label', or 'mask' where there is no label; "
                "several columns of 0 and 1, separated by commas, are several labels.")  # fmt: skip
GROUP = option("group", str | None, None, "Column of the patient or speaker, by default 'group', 'patient', "
               "'speaker', or one like them, as 'patient_id' or 'client_id': its rows are never separated, and "
               "intervals count groups, not rows.")  # fmt: skip
ID = argument("id", str, "Backbone id, as `backbones` lists them.")
GROUP_FROM = option("group_from", str | None, None, "Regular expression whose first group names, in every path, the "
                    "patient or speaker, as '(sub-[^_/]+)', where no column does.")  # fmt: skip
ROOT = option("root", str | None, None, "Folder that the paths of a table are seen from, by default the table's own.")
PATH_COLUMN = option("path_column", str | None, None, "Column of a table that names the files, by default 'path', or "
                     "where there is none one such as 'file_name'.")  # fmt: skip
FILES = option("files", str | None, None, "Of a folder, only files whose name or path is like this, as '*_T1w.nii.gz'.")
MISSING_LABELS = option("missing_labels", Literal["refuse", "drop"], "refuse", "Rows without a label: drop leaves them "
                        "out, and says how many; refuse stops there.")  # fmt: skip
UNCERTAIN = option("uncertain", Literal["ignore", "zero", "one"] | None, None, "What -1 is in columns of labels, as "
                   "CheXpert has it: ignore counts it in no loss and no metric.")  # fmt: skip
BLANK = option("blank", Literal["zero", "ignore"] | None, None, "What an empty cell is in columns of labels; with "
               "--uncertain zero, as it is not mentioned.")  # fmt: skip
SOURCE = (ROOT, PATH_COLUMN, FILES, MISSING_LABELS, UNCERTAIN, BLANK)
"""How a manifest is read, wherever one is."""


def source_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """What a command's options say of how a manifest is read, as keywords of `read_manifest`."""
    return {parameter.name: options[parameter.name] for parameter in SOURCE}


WEIGHTS = option("weights", str | None, None, "Local file with the backbone's weights, or 'random' for none.")
JSON = option("json", bool, False, "Print the result as JSON.")
DEVICE = option("device", str, "auto", "auto, cpu, cuda, cuda:1, …")
BATCH_SIZE = option("batch_size", int, 16, "Examples computed at once.")
SKIP_UNREADABLE = option("skip_unreadable", bool, False, "Leave out files that cannot be read, and list them in the "
                         "result; without it they stop the command.")  # fmt: skip

OUTSIDE = option("outside", Literal["flag", "refuse"], "flag", "Files far off those of the training in spacing, size "
                 "or values: flag: the reason is in a column `outside`, refuse counts them as unreadable.")  # fmt: skip

NEAR_DUPLICATES = option("near_duplicates", NearDuplicatesMode, "together", "Files that hold nearly the same, as an "
                         "image that was resized, cropped or mirrored, or a recording at another rate: kept together "
                         "by splits, reported only, or ignore: not looked for.")  # fmt: skip

DATA = (
    TARGET,
    GROUP,
    GROUP_FROM,
    *SOURCE,
    TASK,
    ORDER,
    option("vocabulary", str | None, None, "For text: a vocab.json, or 'checkpoint' for the characters of "
           "the backbone's own CTC head, with which the new one begins; by default those of the transcripts.",
           show=False),
    option("folds", int | None, None, "Evaluate by cross-validation with N folds, then train on everything. A split "
           "column is ignored."),
    option("leave_out", str | None, None, "The same with a fold for every value of this column, as of sites or "
           "scanners (leave-one-site-out)."),
    option("repeats", int, 1, "Draw the folds so often anew: metrics are means over the repeats, and their intervals "
           "include how much they differ. What is frozen is computed once for all."),
    option("val_fraction", float, 0.2, "Share of the rows that chooses the best epoch, if no split column names it."),
    option("test_fraction", float, 0.2, "Share of the rows kept for the test, where no split column names it."),
    option("random_split", Literal["auto", "on", "off"], "auto", "With groups, evaluate a second time with rows of a "
           "group on both sides, and say what the groups alone explain; auto: where it costs little ("
           + ", ".join(one.name for one in STRATEGIES.values() if one.solver != "gradient") + ")."),
    NEAR_DUPLICATES,
    option("allow_leaks", bool, False, "Go on where a split column has a group, or files that hold the same or nearly "
           "the same, in several parts; the result says so. Without it that is an error."),
    SKIP_UNREADABLE,
)  # fmt: skip

BY = option("by", str | None, None, "Columns whose values are evaluated each by itself, separated by commas, as "
            "sex,scanner, with the largest gap between two.")  # fmt: skip

DECISIONS = (
    option("sensitivity", float | None, None, "Choose the operating point that finds this share of the positive class, "
           "on held-out predictions; predict then writes a column `decision`.", panel="Decisions"),
    option("specificity", float | None, None, "The same that spares this share of the other rows.", panel="Decisions"),
    option("youden", bool, False, "The same with the largest sum of both.", panel="Decisions"),
    option("positive", str | None, None, "The class that the operating point decides for; by default the last of two.",
           panel="Decisions"),
    option("recalibrate", Literal["off", "auto", "temperature", "isotonic"], "off", "Make probabilities mean what they "
           "say, fitted on held-out predictions, and kept only where other held-out ones are better; auto tries all.",
           panel="Decisions"),
)  # fmt: skip

ABSTAIN = option("abstain", float | None, None, "Decide only where a set of classes that misses the true one in at "
                 "most this share of the cases, as 0.1, holds a single class.")  # fmt: skip

KEEP_FOLDS = option("keep_folds", bool, False, "With folds, keep the model of each: predict --ensemble then gives the "
                    "mean of them all, and how far they differ.")  # fmt: skip
ENSEMBLE = option("ensemble", bool, False, "The mean of the models that train --keep-folds has kept, in place of the "
                  "adapter, and in a column `spread` how far they differ.")  # fmt: skip

WATCH = option("watch", str | None, None, "Folder whose files are predicted, those too that appear in it, until "
               "Ctrl-C; rows are appended to --out, and not written twice.")  # fmt: skip

AGAIN = (
    option("resume", bool, False, "Go on with the unfinished run in --out, which must be there. Without it, too, the "
           "same command goes on; a finished comparison it extends by strategies."),
    option("restart", bool, False, "Remove the unfinished run in --out, and begin anew."),
)  # fmt: skip

TRACKING = (
    option("log_to", Literal["tensorboard", "mlflow", "trackio", "wandb"] | None, None, "Log settings, history, "
           "metrics with their intervals and plots to a tracker as well, on this machine."),
    option("log_names", bool, False, "Log what names files of the data, too: the manifest, the command, the report."),
)  # fmt: skip

VECTORS = option("vectors", str | None, None, "Folder that `embed` wrote for this backbone with the same options: "
                 "probe and knn learn from its vectors, and no file is decoded.")  # fmt: skip

PARTS = ("folds", "leave_out", "repeats", "val_fraction", "test_fraction", "random_split", "near_duplicates",
         "allow_leaks", "skip_unreadable")  # fmt: skip
"""Those of DATA that `train` and `compare` take beside the manifest, as their Python functions do."""

FROM_TABLES = {
    "head": "; ".join(f"{record.name}: {record.meaning}" for record in HEADS.values()) + ".",
    "head_start": "Where training begins a linear head: probe, the exact solution on the pretrained network's vectors "
    "(Kumar et al. 2022), or random; auto: "
    f"{HEAD_START}, but for {', '.join(one.name for one in STRATEGIES.values() if one.head_start == 'probe')}.",
}
"""Help of fields whose choices are records of a table, which says what each means."""


TIMELINE = option("timeline", str | None, None, "CSV file for every window of recordings that the run cuts.")


def of_masks(parameter: Parameter) -> bool:
    """Whether an option of a domain is of masks alone."""
    return any(getattr(one, "rich_help_panel", None) == "Masks" for one in parameter.annotation.__metadata__)


def told(commands: CommandLine, parameters: Iterable[Parameter]) -> list[Parameter]:
    """Those of the options that say something in the domain."""
    return [parameter for parameter in parameters if parameter.name not in commands.omitted]


def recipe_options() -> tuple[Parameter, ...]:
    """One option for every field of the recipe, with its type and default; the batch size's depends on what is
    learnt, and is left open."""
    import typing

    kinds = typing.get_type_hints(Recipe)
    kinds["batch_size"] = int | None
    kinds["head"] = Literal[tuple(HEADS)]  # the table's names as choices
    return tuple(
        option(field.name, kinds[field.name], None if field.name == "batch_size" else field.default,
               FROM_TABLES.get(field.name, field.metadata["help"]), panel="Training")
        for field in dataclasses.fields(Recipe)
    )  # fmt: skip


def with_parameters(command: Command, *parameters: Parameter) -> Command:
    """The command with this signature, by which Typer makes its flags; it receives them as keywords."""
    positional = [p for p in parameters if p.kind is Parameter.POSITIONAL_OR_KEYWORD]
    keywords = [p for p in parameters if p.kind is Parameter.KEYWORD_ONLY]
    command.__signature__ = Signature([*positional, *keywords])  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    return command
