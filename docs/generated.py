"""Pages that are drawn from the code when the documentation is built: public names, options, strategies, heads."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import typer

from graftwork import audio, core, imaging
from graftwork.audio import cli as audio_cli
from graftwork.core.cli.app import build_app
from graftwork.core.model.head_records import HEADS
from graftwork.core.model.strategies import STRATEGIES
from graftwork.imaging import cli as imaging_cli

REFERENCE = Path(__file__).parent / "reference"


def cell(text: object) -> str:
    """A text in a Markdown table."""
    return re.sub(r"([|\[\]*_])", r"\\\1", " ".join(str(text).split())).replace("<", "&lt;")


def api_page(module: ModuleType, title: str) -> str:
    """Every public name of a package with its docstring, functions first."""
    names = sorted(module.__all__)
    found = [(name, getattr(module, name)) for name in names]
    lines = [f"# {title}", "", (module.__doc__ or "").split("\n")[0], ""]
    groups = {
        "Functions": [(name, "autofunction") for name, value in found if inspect.isfunction(value)],
        "Classes": [(name, "autoclass") for name, value in found if inspect.isclass(value)],
    }
    for heading, members in groups.items():
        lines += [f"## {heading}", ""]
        for name, directive in members:
            lines += [f"### {name}", "", "```{eval-rst}", f".. {directive}:: {module.__name__}.{name}", "```", ""]
    return "\n".join(lines)


def shown(default: object) -> str:
    """A default as it is typed."""
    if default is inspect.Parameter.empty:
        return "must be given"
    return "" if default in (None, False) else f"`{default}`"


def command_page(cli: Any, domain: str) -> str:
    """Every verb of a command line with its help and its options."""
    program = f"graftwork-{domain}"
    lines = [f"# {program}", "", f"The verbs of `{program}`; `{program} VERB -h` shows the same.", ""]
    for command in build_app(cli.COMMANDS).registered_commands:
        lines += [f"## {command.name}", "", str(command.help), "", "| option | default | meaning |", "|---|---|---|"]
        for parameter in inspect.signature(command.callback).parameters.values():
            declared = parameter.annotation.__metadata__[0]
            if isinstance(declared, typer.models.ArgumentInfo):
                lines.append(f"| `{parameter.name.upper()}` | | {cell(declared.help or '')} |")
                continue
            named = (declared.default, *(declared.param_decls or ()))  # Typer takes an annotation's first for a default
            flags = ", ".join(f"`{flag}`" for flag in named)
            lines.append(f"| {flags} | {shown(parameter.default)} | {cell(declared.help or '')} |")
        lines.append("")
    return "\n".join(lines)


def strategies_page() -> str:
    """The tables of strategies and heads."""
    lines = ["# Strategies and heads", "", "`--strategy` says what may change.", ""]
    lines += ["| strategy | what learns | when |", "|---|---|---|"]
    lines += [f"| `{one.label}` | {cell(one.meaning)} | {cell(one.when)} |" for one in STRATEGIES.values()]
    lines += ["", "`--head` says what stands on the backbone.", "", "| head | what it is |", "|---|---|"]
    lines += [f"| `{name}` | {cell(record.meaning)} |" for name, record in HEADS.items()]
    return "\n".join([*lines, ""])


PAGES = {
    "api-core.md": lambda: api_page(core, "graftwork.core"),
    "api-imaging.md": lambda: api_page(imaging, "graftwork.imaging"),
    "api-audio.md": lambda: api_page(audio, "graftwork.audio"),
    "command-imaging.md": lambda: command_page(imaging_cli, "imaging"),
    "command-audio.md": lambda: command_page(audio_cli, "audio"),
    "strategies.md": strategies_page,
}


def write(app: Any) -> None:
    """Writes all of them into `reference/`, which git does not keep."""
    for name, page in PAGES.items():
        (REFERENCE / name).write_text(page(), encoding="utf-8")


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True}
