"""The characters of a vocab.json, and where they may be asked for."""

import json

import pytest

from graftwork.core.data.characters import character_numbers, read_vocabulary
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
