"""SpeechBrain's hyperparams.yaml as plain values: nothing that it names is imported or run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from graftwork.core.errors import UnreadableError

MADE_BY = "!"
"""Key under which a mapping says which class the file would make of it."""

_REFERENCE = re.compile(r"<(\w+)>")


def read_tagged(path: Path) -> dict[str, Any]:
    """The file's values by name. What it would make of a class is a mapping of its arguments, with the tag under
    `MADE_BY`; `!ref <name>` is the value of that name; other expressions stay text.

    Raises UnreadableError for a file that is no YAML, or refers to what it does not hold.
    """
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML has no types
        """Keeps the tags of this file alone."""

    Loader.add_multi_constructor("!", _tagged)
    try:
        found = yaml.load(path.read_text(encoding="utf-8"), Loader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableError(f"{path}: is no YAML ({str(error).splitlines()[0]}); fetch it again") from error
    if not isinstance(found, dict):
        raise UnreadableError(f"{path}: expected names and values, found {type(found).__name__}; fetch it again")
    return {name: _resolved(value, found, path, depth=0) for name, value in found.items()}


def _tagged(loader: Any, tag: str, node: Any) -> Any:
    import yaml

    if isinstance(node, yaml.MappingNode):
        return {MADE_BY: tag, **loader.construct_mapping(node, deep=True)}
    if isinstance(node, yaml.SequenceNode):
        return {MADE_BY: tag, "": loader.construct_sequence(node, deep=True)}
    text = loader.construct_scalar(node)
    return {MADE_BY: tag, "": text}


def _resolved(value: Any, names: dict[str, Any], path: Path, depth: int) -> Any:
    if depth > 20:
        raise UnreadableError(f"{path}: its references go round in a circle; fetch it again")
    if isinstance(value, list):
        return [_resolved(one, names, path, depth + 1) for one in value]
    if not isinstance(value, dict):
        return value
    if value.get(MADE_BY) == "ref":
        simple = _REFERENCE.fullmatch(str(value[""]))
        if simple is None:
            return str(value[""])
        if simple[1] not in names:
            raise UnreadableError(f"{path}: refers to {simple[1]!r}, which it does not hold; fetch it again")
        return _resolved(names[simple[1]], names, path, depth + 1)
    return {name: _resolved(one, names, path, depth + 1) for name, one in value.items()}
