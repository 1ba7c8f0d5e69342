"""The column of parts: what it may say, and groups that lie in several of them."""

import pytest

from graftwork.core.data.tables import read_manifest
from graftwork.core.errors import ManifestError


def test_a_part_to_be_evaluated_needs_no_training_rows(write):
    """A model that exists is evaluated on whatever rows there are."""
    source = write("path,label,split\na.png,x,test\nb.png,y,test\n")
    assert read_manifest(source, classes=("x", "y")).parts == ("test", "test")


def test_the_split_column_is_ignored_on_request(write):
    assert read_manifest(write("path,label,split\na.png,x,?\nb.png,y,?\n"), split=None).parts is None


def test_speakers_that_nobody_named_may_be_on_both_sides_of_a_split_with_a_warning(tmp_path, caplog):
    for name in "abcd":
        (tmp_path / f"{name}.wav").write_bytes(name.encode())
    table = tmp_path / "clips.csv"
    rows = ["a.wav,s0,0,train", "b.wav,s1,0,train", "c.wav,s0,1,train", "d.wav,s1,1,test"]
    table.write_text("\n".join(["path,speaker,label,split", *rows]))
    assert read_manifest(table).groups == ("s0", "s1", "s0", "s1")
    assert "1 of 2 groups are in several parts" in caplog.text
    with pytest.raises(ManifestError, match="'s1' is in several parts"):
        read_manifest(table, group="speaker")


def test_a_split_under_another_name_is_not_used_and_that_is_said(write, caplog):
    source = write("path,label,set\na.png,x,train\nb.png,y,test\n")
    assert read_manifest(source).parts is None
    assert "column 'set' names parts (test, train) and is not used" in caplog.text
    caplog.clear()
    read_manifest(source, target="set")
    read_manifest(source, split=None)
    assert not caplog.text
