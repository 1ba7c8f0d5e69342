"""Small tables for the tests of manifests."""

import pytest

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
