"""`--config`: the options of a command out of a file, which those on the command line override."""

# Typer reads annotations as objects, so they are not postponed here.
import difflib
import json
import os
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any

import typer

from graftwork.core.errors import SettingsError


def config_option() -> Parameter:
    """The option `--config FILE`, whose values take the place of the command's defaults."""
    declared = typer.Option(
        "--config", callback=take_config, is_eager=True,
        help="YAML or JSON file with options by name (learning_rate: 0.01), or run.json of an earlier run; options on "
        "the command line come first.",
    )  # fmt: skip
    return Parameter("config", Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[str | None, declared])


def take_config(context: typer.Context, path: str | None) -> str | None:
    """Puts the file's options in place of the command's defaults. Raises SettingsError as `read_config` does."""
    if path is not None:
        context.default_map = read_config(Path(path), context)
    return path


def read_config(path: Path, context: typer.Context) -> dict[str, Any]:
    """Options by name. Raises SettingsError for a file that cannot be read, holds no options, or names one that the
    command has not."""
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text) if path.suffix.lower() == ".json" else _yaml(text)
    except (OSError, ValueError, RecursionError) as error:
        raise SettingsError(f"--config {path}: cannot be read ({error})") from error
    if not isinstance(found, dict):
        raise SettingsError(f"--config {path}: expected options by name, as 'strategy: lora'")
    if isinstance(found.get("command"), list):
        return _of_command(path, [str(word) for word in found["command"]], context)
    known = {str(parameter.name) for parameter in context.command.params} - {"config"}
    options = {str(name).replace("-", "_"): value for name, value in found.items()}
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; meant: {near[0]}?" if near else ""
            raise SettingsError(f"--config {path}: {context.command.name} has no option {name!r}{hint}")
    return {name: ",".join(map(str, value)) if isinstance(value, list) else value for name, value in options.items()}


def _of_command(path: Path, words: list[str], context: typer.Context) -> dict[str, Any]:
    """The options of a command as `run.json` keeps it: program, verb, arguments."""
    if len(words) < 2 or words[1] != context.command.name:
        verb = words[1] if len(words) > 1 else "nothing"
        raise SettingsError(f"--config {path}: was written by {verb}, not by {context.command.name}")
    options: dict[str, Any] = {}
    arguments = [own for own in context.command.params if own.param_type_name == "argument"]
    rest = iter(words[2:])
    for word in rest:
        flag, _, value = word.partition("=")
        found = next((own for own in context.command.params if flag in (*own.opts, *own.secondary_opts)), None)
        if not word.startswith("--"):
            place = sum(name in options for name in (own.name for own in arguments))
            if place == len(arguments):
                raise SettingsError(f"--config {path}: {context.command.name} takes no {word!r}")
            options[str(arguments[place].name)] = _expanded(word)
        elif found is None:
            raise SettingsError(f"--config {path}: {context.command.name} has no option {flag}")
        elif getattr(found, "is_flag", False):
            options[str(found.name)] = flag in found.opts
        else:
            options[str(found.name)] = _expanded(value if "=" in word else next(rest, ""))
    options.pop("config", None)
    return options


def _expanded(word: str) -> str:
    """A word whose home folder is written out, as a shell would."""
    return os.path.expanduser(word) if word.startswith("~/") else word


def _yaml(text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
