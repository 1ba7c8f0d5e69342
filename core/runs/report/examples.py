"""Examples that a report shows: the worst predictions, and files that hold nearly the same. What one looks like is its
domain's matter."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from graftwork.core.data.examples import EXAMPLE_ERRORS
from graftwork.core.domain import Domain
from graftwork.core.errors import SettingsError
from graftwork.core.example import Example, parse_example
from graftwork.core.runs.provenance import without_home
from graftwork.core.runs.report.blocks import Block, Card, Cards, Picture, data_uri, number
from graftwork.core.runs.report.blocks import Text as Paragraph
from graftwork.core.runs.report.folder import RunFolder

if TYPE_CHECKING:
    from graftwork.core.inference.adapter import Adapter

WORST, SETS, IN_A_SET = 6, 6, 3
"""How many are shown."""


@dataclass(frozen=True)
class Viewer:
    """How examples are shown. domain: that knows how; None shows their names alone. adapter: whose view of them is
    shown too, where the domain can. folder: that names are shown from, where they lie in it. until: of
    `time.monotonic`; then no more files are read, as volumes take long."""

    domain: Domain | None
    adapter: Adapter | None = None
    folder: str = ""
    until: float = math.inf

    def example(self, written: str) -> Example:
        return parse_example(written) if self.domain is None else parse_example(written, self.domain.kinds)

    def name(self, written: str) -> str:
        """An example as people know it: from the manifest's folder, or without the home folder."""
        own = written.removeprefix(self.folder.rstrip(os.sep) + os.sep) if self.folder else written
        return without_home(own)

    def card(self, written: str, lines: Sequence[str]) -> Card:
        """The example with a small picture, or the reason why there is none."""
        name = self.name(written)
        if self.domain is None or self.domain.preview is None:
            return Card(name, tuple(lines))
        if time.monotonic() > self.until:
            return Card(name, tuple(lines), missing="not shown: reading files has taken long enough")
        try:
            picture = Picture(data_uri(self.domain.preview(self.example(written))), f"preview of {name}")
        except EXAMPLE_ERRORS as error:
            return Card(name, tuple(lines), missing=f"cannot be shown: {without_home(str(error))}")
        return Card(name, tuple(lines), (picture,))

    def explained(self, written: str) -> Picture | None:
        """What the adapter looks at in an example. Raises SettingsError where nothing can say that."""
        if self.domain is None or self.domain.explain is None or self.adapter is None:
            return None
        if time.monotonic() > self.until:
            return None
        try:
            content = self.domain.explain(self.adapter, self.example(written))
        except SettingsError:
            raise
        except EXAMPLE_ERRORS:
            return None
        return Picture(data_uri(content), f"what raises the prediction of {self.name(written)}")


def manifest_folder(source: str) -> str:
    """The folder of a manifest, or itself if it is one; "" for what is no file, as a DataFrame."""
    path = Path(source)
    if path.is_dir():
        return str(path.resolve())
    return str(path.resolve().parent) if path.is_file() else ""


def worst_predictions(run: RunFolder, viewer: Viewer) -> list[Block]:
    """The rows of the part that the run is judged by which are furthest from the truth, the worst first."""
    found, task = run.predicted, run.task
    if found is None or task is None:
        return []
    columns = found.columns
    errors = task.row_errors(found.values, found.predictions, run.adapter["classes"])
    order = np.argsort(-np.nan_to_num(errors, nan=-np.inf), kind="stable")
    worst = [int(row) for row in order[:WORST] if errors[row] > 0]
    cards, note = [], None
    for row in worst:
        own = {name: cells[row] for name, cells in columns.items()}
        card = viewer.card(own["path"], [*_said(own), f"{task.row_error}: {number(float(errors[row]))}"])
        if card.pictures and note is None:
            try:
                seen = viewer.explained(own["path"])
            except SettingsError as error:
                seen, note = None, str(error)
            if seen is not None:
                card = Card(card.title, card.lines, (*card.pictures, seen))
        cards.append(card)
    if not cards:
        return [Paragraph("No row is predicted wrongly in the least.")]
    blocks: list[Block] = [Paragraph(f"The {len(cards)} rows furthest from the truth, by {task.row_error}.")]
    maps = any(len(card.pictures) > 1 for card in cards)
    if maps:
        said = "Beside each: what in it raises the predicted output of the adapter that is kept (Grad-CAM)."
        if "fold" in columns:
            said += " That one has learnt from all rows; the prediction is of the fold's own model."
        blocks.append(Paragraph(said))
    elif note is not None:
        blocks.append(Paragraph(f"No maps of what is looked at: {note}"))
    return [*blocks, Cards(tuple(cards), maps)]


def near_duplicates(run: RunFolder, viewer: Viewer) -> list[Block]:
    """The first sets of files that hold nearly the same, with what became of them."""
    found = run.data.get("near_duplicates")
    if not found:
        return []
    kept = {"together": "Splits keep each set on one side.", "report": "Splits do not keep them together."}
    how = kept.get(found["how"], "")
    if not found["sets"]:
        return [Paragraph("No two files hold nearly the same.")]
    said = (f"{found['sets']} sets of {found['rows']} rows hold nearly the same, {found['same_content']} of them the "
            f"very same. {how}")  # fmt: skip
    cards = []
    for place, members in enumerate(found["first"][:SETS], start=1):
        own = [viewer.card(name, ()) for name in members[:IN_A_SET]]
        more = len(members) - len(own)
        lines = [card.title for card in own] + ([f"and {more} more"] if more else [])
        missing = "; ".join(card.missing for card in own if card.missing)
        cards.append(Card(f"set {place}", tuple(lines), tuple(one for card in own for one in card.pictures), missing))
    return [Paragraph(said), Cards(tuple(cards))]


def _said(row: Mapping[str, str]) -> list[str]:
    """What a row of predictions says of its example, in lines."""
    lines = []
    if "target" in row:
        lines.append(f"true: {_short(row['target'])}")
    if "prediction" in row:
        lines.append(f"predicted: {_short(row['prediction'])}")
    labels = {name.removeprefix("target_"): value for name, value in row.items() if name.startswith("target_")}
    lines += [f"{name}: true {_short(value)}, probability {_short(row.get(f'probability_{name}', ''))}"
              for name, value in labels.items()][:8]  # fmt: skip
    lines += [f"{name}: {_short(value)}" for name, value in row.items() if name.startswith("dice_") and value]
    lines += [f"{name} {row[name]}" for name in ("group", "fold", "row") if row.get(name)]
    return lines


def _short(cell: str) -> str:
    """A number with a few digits, a text as it is."""
    try:
        return cell if cell.lstrip("-").isdigit() else number(float(cell))
    except ValueError:
        return cell
