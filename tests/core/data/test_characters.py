"""The characters of a vocab.json, and where they may be asked for."""

import json

import pytest

from graftwork.core.data.characters import character_entries, character_numbers, check_vocabulary, read_vocabulary
from graftwork.core.errors import SettingsError


def test_the_vocabulary_of_a_checkpoint_keeps_its_characters(tmp_path):
    path = tmp_path / "vocab.json"
    path.write_text(json.dumps({"<pad>": 0, "|": 1, "E": 2, "T": 3, "<unk>": 4}))
    assert read_vocabulary(str(path)) == ("", " ", "e", "t")
    path.write_text(json.dumps({"E": 0, "e": 1, "t": 2, "T": 3}))
    assert character_numbers(str(path)) == {"e": 1, "t": 2}
    path.write_text("[]")
    with pytest.raises(SettingsError, match=r"expected a vocab\.json"):
        read_vocabulary(str(path))


def test_entries_of_a_letter_have_the_one_that_texts_are_written_in_first(tmp_path):
    path = tmp_path / "vocab.json"
    path.write_text(json.dumps({"A": 0, "b": 1, "a": 2, " ": 3, "|": 4, "<unk>": 5}))
    assert character_entries(str(path)) == [("b", 1), ("a", 2), (" ", 4), ("a", 0), (" ", 3)]


@pytest.mark.parametrize(("target", "task", "fine"), [
    ("text", None, True), ("transcript", None, True), ("words", "text", True), ("label", None, False),
    ("text", "single-label", False), ("text,label", None, False),
])  # fmt: skip
def test_a_vocabulary_is_for_texts_alone(target, task, fine):
    check_vocabulary(None, target, task)
    if fine:
        check_vocabulary("vocab.json", target, task)
        return
    with pytest.raises(SettingsError, match="is not learnt as text"):
        check_vocabulary("vocab.json", target, task)
