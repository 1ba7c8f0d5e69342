"""The table of options, drawn from the command lines: `python tests/options_table.py` writes it."""

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import typer

from graftwork.audio import cli as audio
from graftwork.core.cli.app import build_app
from graftwork.core.recipe import Recipe
from graftwork.imaging import cli as imaging

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "options.md"
BEGIN, END = "<!-- options: begin -->\n", "<!-- options: end -->\n"

SAID_ABOVE = {"strategy": "What may change: [strategies](strategies.md)."}
"""Options whose help is a table elsewhere."""


@dataclass(frozen=True)
class Row:
    """An option as one verb or several have it. default: "" where nothing is assumed, or what depends on the input."""

    name: str
    flag: str
    default: str
    meaning: str
    verbs: tuple[str, ...]


def options(cli: Any) -> Iterator[tuple[str, inspect.Parameter, Any]]:
    """Verb, parameter and Typer's option of every flag of one domain's command line, those of `train` first."""
    for command in sorted(build_app(cli.COMMANDS).registered_commands, key=lambda one: one.name != "train"):
        assert command.callback is not None
        for parameter in inspect.signature(command.callback).parameters.values():
            declared = parameter.annotation.__metadata__[0]
            if not isinstance(declared, typer.models.ArgumentInfo):
                yield str(command.name), parameter, declared


def shown(parameter: inspect.Parameter) -> str:
    """The default as it is typed."""
    value = parameter.default
    if value is inspect.Parameter.empty:
        return "must be given"
    if value is None or value is False:
        return ""
    return "on" if value is True else f"`{value}`"


def rows(cli: Any) -> list[Row]:
    """The options of a command line; one that verbs have with another default or meaning has a row for each."""
    found: dict[tuple[str, str, str, str], list[str]] = {}
    for verb, parameter, declared in options(cli):
        name = parameter.name
        flag = declared.default.split("/")[0]  # Typer takes the first flag of an annotation for a default
        meaning = SAID_ABOVE.get(name, " ".join(declared.help.split()))
        found.setdefault((name, flag, shown(parameter), meaning), []).append(verb)
    return [Row(*about, tuple(verbs)) for about, verbs in found.items()]


def lines(title: str, group: list[Row], verbs: bool) -> list[str]:
    """A heading and a table; verbs: with a column that names them."""
    head = ["option", "of", "default", "meaning"] if verbs else ["option", "default", "meaning"]
    table = ["", f"**{title}**", "", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in group:
        # Signs that mean emphasis or a link in Markdown, but for the one link that is meant.
        meaning = row.meaning if row.meaning in SAID_ABOVE.values() else re.sub(r"([|\[\]*_])", r"\\\1", row.meaning)
        of = [", ".join(f"`{verb}`" for verb in row.verbs)] if verbs else []
        table.append(f"| {' | '.join([f'`{row.flag}`', *of, row.default, meaning])} |".replace("|  |", "| |"))
    return table


def options_table() -> str:
    """Every option of both command lines, grouped: what all runs have, what a domain adds, and the other verbs."""
    both = {"Scans": rows(imaging), "Clips": rows(audio)}
    here, there = both.values()
    defaults = {(row.name, row.meaning): row.default for row in there}
    shared = [row if row.default == defaults[row.name, row.meaning]
              else replace(row, default=f"{row.default}, {defaults[row.name, row.meaning]}")
              for row in here if (row.name, row.meaning) in defaults]  # fmt: skip
    trained = [row for row in shared if "train" in row.verbs]
    recipe = [row for row in trained if row.name in Recipe.__dataclass_fields__]
    text = lines("Data and runs: `train`", [row for row in trained if row not in recipe], verbs=False)
    text += lines("Training: `train` and `compare`", recipe, verbs=False)
    for title, own in both.items():
        known = {(row.name, row.meaning) for row in shared}
        group = [row for row in own if (row.name, row.meaning) not in known]
        text += lines(
            f"{title} alone: backbones and input", [row for row in group if "train" in row.verbs], verbs=False
        )
        text += lines(f"{title} alone: other verbs", [row for row in group if "train" not in row.verbs], verbs=True)
    text += lines("Other verbs of both", [row for row in shared if row not in trained], verbs=True)
    return "\n".join(text) + "\n"


def written() -> str:
    """The table as the page has it."""
    return re.search(f"{BEGIN}(.*?){END}", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)[1]  # type: ignore[index]


if __name__ == "__main__":
    PAGE.write_text(PAGE.read_text(encoding="utf-8").replace(BEGIN + written(), BEGIN + options_table()),
                      encoding="utf-8")  # fmt: skip
