"""The verb `report` of both command lines."""

# Typer reads annotations as objects, so they are not postponed here; heavy packages are imported by the verb.
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graftwork.core.cli import options as o
from graftwork.core.cli.command_line import CommandLine, Verb
from graftwork.core.errors import GraftworkError

if TYPE_CHECKING:
    from graftwork.core.inference.adapter import Adapter

log = logging.getLogger(__name__)


def report_command(commands: CommandLine) -> Verb:
    """Name, command and help of `report`."""

    def report(**options: Any) -> None:
        from graftwork.core.inference.hub import adapter_folder
        from graftwork.core.runs.report.document import report

        run = adapter_folder(options["run"])
        print(report(run, _adapter(commands, run, options["weights"]), domain=domain))

    domain = commands.domain
    return (
        "report",
        o.with_parameters(
            report,
            o.argument("run", str, "Folder that train, compare, evaluate or trials wrote."),
            o.WEIGHTS,
        ),
        "Write report.html into the folder of a run, as train, compare and evaluate do at their end: data, metrics "
        "with intervals, plots, worst predictions, costs, and which items of reporting guidelines are answered where. "
        "One file that needs no other, for screens and paper.\n\n"
        f"Example: `graftwork-{domain.name} report runs/first`",
    )


def _adapter(commands: CommandLine, run: Path, weights: str | None) -> "Adapter | None":
    """The adapter whose predictions the report shows; None where nothing in its domain explains what one looks at, or
    where it cannot be loaded, which is said."""
    from graftwork.core.inference.adapter import load_adapter
    from graftwork.core.inference.adapter_record import RECORD
    from graftwork.core.inference.hub import on_hub
    from graftwork.core.runs.report.document import judged
    from graftwork.core.runs.report.folder import RunFolder

    if commands.domain.explain is None:
        return None
    shown = judged(RunFolder(run))
    place = str(shown.run.get("run", shown.path))
    if not on_hub(place) and not (Path(place) / RECORD).is_file():
        return None
    try:
        return load_adapter(place, commands.load_backbone, weights)
    except GraftworkError as error:
        log.warning("without maps of what the adapter looks at: %s", error)
        return None
