"""What is to be predicted, as users name it: it becomes examples."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from graftwork.core.data.manifest import Manifest
from graftwork.core.data.table_files import TABLES
from graftwork.core.data.tables import read_unlabelled
from graftwork.core.domain import Domain
from graftwork.core.errors import UnreadableError
from graftwork.core.example import Example, File, absolute, example_exists, existing, parse_example, refusal
from graftwork.core.names import existing_path, other_forms, refuse_undecodable

if TYPE_CHECKING:
    import pandas as pd

Inputs: TypeAlias = "str | os.PathLike[str] | Sequence[str | os.PathLike[str] | Example] | Manifest | pd.DataFrame"
"""A path or several, patterns of files, tables with the domain's column, examples; a manifest; a DataFrame."""

SHOWN = 10
"""Names in an error; the others are counted."""


def find_inputs(
    inputs: Inputs, domain: Domain, *, root: str | os.PathLike[str] | None = None, path_column: str | None = None
) -> list[Example]:
    """What the user named, absolute and each once: examples that the domain reads, files that match a pattern, the rows
    of tables and DataFrames by the domain's column, those of a manifest without their masks. root: the folder that
    paths in tables are seen from, by default the table's own. path_column: where tables name their files.

    Raises UnreadableError that lists what was not found, cannot be read there, or has a name that is no text,
    ManifestError for a table that cannot
    be read.
    """
    import pandas as pd

    def rows_of(table: str | pd.DataFrame) -> list[tuple[Example, int]]:
        return read_unlabelled(table, domain.kinds, domain.column, root=root, path_column=path_column,
                               path_columns=domain.path_columns)  # fmt: skip

    if isinstance(inputs, Manifest):
        return list(dict.fromkeys(inputs.inputs))
    if isinstance(inputs, pd.DataFrame):
        return list(dict.fromkeys(example for example, _ in rows_of(inputs)))
    if isinstance(inputs, (str, os.PathLike)):
        inputs = [inputs]
    found: list[Example] = []
    absent, refused = [], []
    for given in inputs:
        if isinstance(given, Example):
            found.append(given)
            continue
        name = os.fspath(given)
        file = existing_path(os.path.expanduser(name))
        if file.lower().endswith(TABLES) and os.path.isfile(file):
            found += [example for example, _ in rows_of(file)]
            continue
        example = existing(absolute(parse_example(name, domain.kinds)))
        if example_exists(example):
            reason = refusal(example, domain.kinds)
            refused += [] if reason is None else [f"{name}: {reason}"]
            found.append(example)
        else:
            matches = sorted({os.path.abspath(path) for pattern in (file, *other_forms(file))
                              for path in glob.glob(pattern, recursive=True) if os.path.isfile(path)})  # fmt: skip
            absent += [] if matches else [name]
            found += map(File, matches)
    if absent:
        raise UnreadableError(f"no such file, and no file matches: {_first(absent, ', ')}")
    if refused:
        raise UnreadableError(_first(refused, "\n"))
    refuse_undecodable(map(str, found))
    return list(dict.fromkeys(found))


def _first(names: list[str], between: str) -> str:
    """The first of them, and how many more there are."""
    more = f"{between}and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return between.join(names[:SHOWN]) + more
