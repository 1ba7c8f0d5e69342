"""The verb `explain` of the imaging command line."""

# Typer reads annotations as objects, so they are not postponed here; heavy packages are imported by the verb.
import json
from inspect import Parameter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graftwork.core.cli import options as o
from graftwork.core.cli.command_line import CommandLine, Verb
from graftwork.core.cli.run_commands import RUN
from graftwork.core.compute.global_state import undisturbed
from graftwork.core.csv_cells import escaped
from graftwork.imaging.domain import DOMAIN

if TYPE_CHECKING:
    import pandas as pd


CLASS = Parameter(
    "output",
    Parameter.KEYWORD_ONLY,
    default=None,
    annotation=Annotated[
        str | None,
        typer.Option("--class", help="Class or label to explain; by default the most probable one of each file.",
                     show_default=False),
    ],
)  # fmt: skip


def explain_command(commands: CommandLine) -> Verb:
    """Name, command and help of `explain`."""

    def explain(**options: Any) -> None:
        as_json = options.pop("json")
        table = explain_files(**options)
        if as_json:
            print(json.dumps(table.astype(object).where(table.notna(), None).to_dict("records"), indent=2))
        else:
            print(escaped(table).to_csv(index=False, float_format="%.9g"), end="")

    return (
        "explain",
        o.with_parameters(
            explain,
            RUN,
            o.argument("inputs", list[str], "Files, patterns such as 'new/*.png', or tables with a column `path`."),
            o.option("out", str, Parameter.empty, "Folder for the plots and, of volumes, the maps."),
            CLASS,
            o.option("stage", str | None, None, "Stage whose map is shown; by default the last one with a map of four "
                     "cells or more along each axis.", show=False),
            o.WEIGHTS,
            o.SKIP_UNREADABLE,
            o.DEVICE,
            o.JSON,
        ),
        "Show where in scans an adapter for labels or numbers finds what it says (Grad-CAM): a plot for each file "
        "and, for volumes, the map as NIfTI in the geometry of the file. The table says which output is explained, and "
        "what it is.\n\n"
        f"Example: `graftwork-{commands.domain.name} explain runs/first new.nii.gz --out explained`",
    )  # fmt: skip


@undisturbed()
def explain_files(
    run: str, inputs: list[str], *, out: str, output: str | None, stage: str | None,
    weights: str | None, skip_unreadable: bool, device: str,
) -> "pd.DataFrame":  # fmt: skip
    """Writes what `explain` promises and returns its table; with skipping, unreadable files have an `error` instead.

    Raises UnreadableError that lists every file that cannot be read, where these are not skipped; the others have
    their plots then, too.
    """
    import pandas as pd

    from graftwork.core.compute.runtime import start_runtime
    from graftwork.core.data.examples import EXAMPLE_ERRORS, Unreadable, unreadable_report
    from graftwork.core.errors import OutputError, UnreadableError
    from graftwork.core.inference.adapter import load_adapter
    from graftwork.core.inference.inputs import find_inputs
    from graftwork.core.progress import progress
    from graftwork.core.recipe import Recipe
    from graftwork.imaging.backbones.loading import load_backbone
    from graftwork.imaging.explanation.overlays import draw_saliency
    from graftwork.imaging.explanation.saliency import explain
    from graftwork.imaging.formats.output_names import output_names
    from graftwork.imaging.formats.volume_output import write_volume

    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{out}: --out must be a folder, this is a file")
    examples = find_inputs(inputs, DOMAIN)
    runtime = start_runtime(Recipe(device=device))
    adapter = load_adapter(run, load_backbone, weights)
    runtime.place(adapter.graft)
    rows: list[dict[str, Any]] = []
    failed = []
    with progress("explaining", len(examples)) as advance:
        for example, name in zip(examples, output_names(examples), strict=True):
            try:
                found = explain(adapter, example, output=output, stage=stage)
            except EXAMPLE_ERRORS as error:
                failed.append(Unreadable(str(example), str(error)))
                rows.append({"path": str(example), "error": str(error)})
            else:
                picture, volume = folder / f"{name}_explained.png", folder / f"{name}_map.nii.gz"
                draw_saliency(picture, found)
                row = {"path": str(example), "output": found.output, "prediction": found.prediction,
                       "stage": found.stage, "picture": str(picture)}  # fmt: skip
                if len(found.scan.spatial_shape) == 3:
                    write_volume(volume, found.values, found.scan)
                    row["map"] = str(volume)
                rows.append(row)
            advance(1, "")
    if failed and not skip_unreadable:
        raise UnreadableError(unreadable_report(failed))
    return pd.DataFrame(rows)
