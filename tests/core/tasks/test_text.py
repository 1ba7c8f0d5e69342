"""A column of transcripts as targets."""

import pytest

from graftwork.core.data.tables import read_manifest
from graftwork.core.errors import ManifestError


@pytest.fixture
def table(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.wav").write_bytes(name.encode())
    path = tmp_path / "clips.csv"
    path.write_text("path,text,speaker\na.wav,Hello   World,s\nb.wav,low,t\n")
    return path


def test_a_column_of_text_is_read_as_characters(table):
    found = read_manifest(table, target="text")
    assert found.task.name == "text"
    assert found.classes == ("", *" dehlorw")
    assert found.targets.tolist() == ["hello world", "low"]
    assert found.groups == ("s", "t")
    assert found.subset([1]).targets.tolist() == ["low"]


def test_characters_outside_the_vocabulary_are_named_with_their_row(table):
    with pytest.raises(ManifestError, match=r"row 2, column 'text': characters outside the vocabulary: 'd' 'h'"):
        read_manifest(table, target="text", classes=("", *" elorw"))
