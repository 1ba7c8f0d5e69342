"""Small tables for the tests of manifests."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from graftwork.core.data.manifest import Manifest
from graftwork.core.data.tables import read_manifest
from graftwork.core.errors import ManifestError


@pytest.fixture
def write(tmp_path):
    """Writes a table whose files a.png to f.png exist."""
    for letter in "abcdef":
        (tmp_path / f"{letter}.png").write_bytes(letter.encode())

    def write(text, name="table.csv", encoding="utf-8"):
        (tmp_path / name).write_text(text, encoding=encoding)
        return tmp_path / name

    return write


def problems(source, **options):
    with pytest.raises(ManifestError) as caught:
        read_manifest(source, **options)
    return [str(problem) for problem in caught.value.problems]


def labelled(tmp_path, cells, column="label", more=""):
    """A table of that column whose files exist."""
    for number in range(len(cells)):
        (tmp_path / f"{number}.png").write_bytes(str(number).encode())
    rows = [f"{number}.png\t{cell}" for number, cell in enumerate(cells)]
    (tmp_path / "t.tsv").write_text("\n".join([f"path\t{column}", *rows]) + "\n", encoding="utf-8")
    return tmp_path / "t.tsv"


def table_of(tmp_path, header, cells):
    for number in range(len(cells)):
        (tmp_path / f"{number}.npy").write_bytes(bytes([number]))
    lines = [f"path\t{header}", *(f"{number}.npy\t{cell}" for number, cell in enumerate(cells))]
    (tmp_path / "table.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path / "table.tsv"


@pytest.fixture
def rows(tmp_path):
    """A manifest of files with these contents, rows from 2 on."""

    def rows(contents, **changes):
        paths = []
        for place, content in enumerate(contents):
            (tmp_path / f"{place}.npy").write_bytes(content.encode())
            paths.append(str(tmp_path / f"{place}.npy"))
        values = np.arange(len(paths)) % 2
        numbers = tuple(range(2, len(paths) + 2))
        return Manifest("t.csv", tuple(paths), "single-label", "y", ("x", "y"), values, rows=numbers, **changes)

    return rows


@pytest.fixture
def alike(domain):
    """A domain in which files are alike whose contents begin with the same letter; it notes what it was asked for."""
    asked = []

    def pairs(examples):
        asked.append(len(examples))
        letters = [Path(str(example).split("#")[0]).read_text()[0] for example in examples]
        return [(a, b) for b in range(len(letters)) for a in range(b) if letters[a] == letters[b]]

    return replace(domain, near_duplicates=pairs), asked
