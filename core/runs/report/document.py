"""`report`: the folder of a run as one HTML file that needs nothing else."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graftwork.core.domain import Domain
from graftwork.core.errors import GraftworkError, ReportError
from graftwork.core.files import write_text
from graftwork.core.runs.provenance import without_home
from graftwork.core.runs.report.blocks import Cards, Section, Text, interval, is_interval, words
from graftwork.core.runs.report.checklists import CHECKLISTS, checklist
from graftwork.core.runs.report.examples import Viewer, manifest_folder
from graftwork.core.runs.report.folder import RunFolder
from graftwork.core.runs.report.sections import all_sections, cautions
from graftwork.core.runs.run_folder import strategy_folder

if TYPE_CHECKING:
    from graftwork.core.inference.adapter import Adapter

log = logging.getLogger(__name__)

REPORT = "report.html"
TEMPLATE = "report.html.jinja"

PATIENCE_S = 10.0
"""So long files are read to be shown; large volumes take seconds each."""


@dataclass(frozen=True)
class Headline:
    """What a run comes to: a metric with its interval, what it is of, and lines that say by what the interval was made
    and what else has to be known. Of a comparison it is what is left of the best on rows that did not choose it."""

    metric: str
    value: str
    of: str
    lines: tuple[str, ...]


def report(run: str | Path, adapter: Adapter | None = None, *, domain: Domain | None = None) -> Path:
    """Writes `report.html` into the folder of a run, of an evaluation, of a comparison or of trials; returns its path.

    One file without scripts that asks for no other, on screens and on paper: what was asked, the data and what is wrong
    with them, every metric with its interval, plots, the worst predictions, costs, and which items of reporting
    guidelines are answered where. adapter: that was trained or evaluated, whose view of the worst predictions is shown
    where its domain can. domain: knows what examples look like; by default the adapter's, without both they are named
    only.

    Raises ReportError for a folder with nothing to report on, and for files in it that cannot be read.
    """
    started, folder = time.monotonic(), RunFolder(Path(run))
    if not folder.metrics and not folder.comparison:
        raise ReportError(f"{run}: nothing to report on: expected the folder of a finished train, compare, evaluate or "
                          "trials, found neither metrics.json nor comparison.json")  # fmt: skip
    domain = domain or (None if adapter is None else adapter.backbone.domain)
    try:
        text = render(folder, judged(folder), adapter, domain)
    except GraftworkError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ReportError(f"{run}: cannot be reported on: its files hold what no run of this version writes "
                          f"({type(error).__name__}: {error}); evaluate or train it anew") from error  # fmt: skip
    write_text(folder.path / REPORT, text)
    written = folder.path / REPORT
    log.info("%s: %.1f MB in %.1f s", written, written.stat().st_size / 1e6, time.monotonic() - started)
    return written


def report_on_finished(run: Path, adapter: Adapter | None = None, *, domain: Domain | None = None) -> None:
    """`report`, where everything else of the run has been written. Raises ReportError for whatever goes wrong, which
    says so and how to try again: a fault in here must not be taken for one of the run."""
    try:
        report(run, adapter, domain=domain)
    except Exception as error:
        known = domain or (None if adapter is None else adapter.backbone.domain)
        again = f"graftwork-{known.name} report {run}" if known is not None else f"graftwork.core.report({str(run)!r})"
        raise ReportError(f"{run}: the run is finished and complete, but its report could not be written "
                          f"({type(error).__name__}: {error}); try again with: {again}") from error  # fmt: skip


def judged(folder: RunFolder) -> RunFolder:
    """Whose predictions a report shows: the run itself, or the best strategy's of a comparison."""
    best = folder.comparison.get("best")
    return folder if best is None else RunFolder(strategy_folder(folder.path, best))


def render(folder: RunFolder, run: RunFolder, adapter: Adapter | None, domain: Domain | None) -> str:
    """The HTML. Whatever comes from files and tables is escaped."""
    import jinja2

    source = str(run.run.get("manifest") or run.data.get("source") or "")
    viewer = Viewer(domain, adapter, manifest_folder(source), time.monotonic() + PATIENCE_S)
    sections, said = all_sections(folder, run, viewer), cautions(folder, run)
    titles = {section.id: section.title for section in sections} | ({"cautions": "Cautions"} if said else {})
    if any(block.shows_maps for section in sections for block in section.blocks if isinstance(block, Cards)):
        titles["maps"] = titles["mistakes"]
    names = CHECKLISTS if domain is None else domain.checklists
    note = Text("Which items this report has something on, and what only the author can write. Numbers are the "
                "guidelines', the wording is shortened.")  # fmt: skip
    sections.append(Section("checklists", "Reporting guidelines",
                            (note, *(checklist(name, titles, titles) for name in names))))  # fmt: skip
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
                                     lstrip_blocks=True)  # fmt: skip
    template = environment.from_string(Path(__file__).with_name(TEMPLATE).read_text(encoding="utf-8"))
    return template.render(title=_title(folder, run), headline=headline(folder, run), sections=sections,
                           cautions=said, version=_version(folder, run))  # fmt: skip


def headline(folder: RunFolder, run: RunFolder) -> Headline | None:
    """The metric that decides, of the part that the run is judged by; None where there is none."""
    if not run.parts:
        return None
    part, values = next(iter(run.parts.items()))
    name = run.task.metric if run.task is not None else next((key for key in values if is_interval(values[key])), None)
    if name is None or name not in values:
        return None
    about, compared = values["about"], folder.comparison
    again = f" repeated {len(about['repeats'])} times" if about.get("repeats") else ""
    of = {"out-of-fold": f"{len(about.get('folds', []))}-fold cross-validation{again}, out-of-fold"}.get(part, part)
    counted = about.get("rows", about.get("trials"))
    if counted is not None:
        of += f", {counted:,} {'rows' if 'rows' in about else 'trials'}"
    of += f" in {about['groups']:,} groups" if about.get("groups") else ""
    found = values[name]
    corrected = compared.get("corrected") if len(compared.get("strategies", [])) > 1 else None
    if corrected and corrected["value"] is not None:
        chosen = (f"{compared['best']} is the best of {len(compared['strategies'])}, with {interval(found)} on the "
                  "rows that chose it; this is what is left of that on others")  # fmt: skip
        return Headline(words(name), interval(corrected), of, (method_line(corrected), chosen))
    return Headline(words(name), interval(found), of, (method_line(found),))


def method_line(value: dict[str, Any]) -> str:
    """By what an interval was made, or why there is none."""
    if value["low"] is None:
        return f"no interval: {value.get('method') or 'not defined'}"
    return f"95 % interval: {value.get('method') or 'of a method that is not noted'}"


def _title(folder: RunFolder, run: RunFolder) -> str:
    adapter: dict[str, Any] = run.adapter
    if not adapter:
        return f"Evaluation in {folder.path.name}"
    verb = {"evaluate": "evaluated: ", "compare": "compared: "}.get(folder.run.get("verb", ""), "")
    return without_home(f"{verb}{adapter['target']}, {adapter['strategy']} on {adapter['backbone']['id']}")


def _version(folder: RunFolder, run: RunFolder) -> str:
    made = folder.run.get("made_with") or run.adapter.get("made_with") or {}
    return str(made.get("graftwork", ""))
