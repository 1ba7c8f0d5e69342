"""What users name becomes paths."""

import pytest

from graftwork.core.errors import UnreadableError
from graftwork.core.runs.predict import find_inputs


def test_files_are_found_in_either_form_of_unicode(tmp_path):
    stored = f"{tmp_path}/e\u0301 1.wav"
    (tmp_path / stored).write_bytes(b"")
    for name in ("é 1.wav", "e\u0301 1.wav", "é*.wav", "e\u0301*.wav"):
        assert find_inputs([f"{tmp_path}/{name}"]) == [stored]
    assert find_inputs([f"{tmp_path}/é 1.wav", stored]) == [stored]
    assert find_inputs([f"{tmp_path}/é 1.wav#t=0,1"]) == [f"{stored}#t=0,1"]


def test_a_name_that_no_file_can_have_is_not_found():
    with pytest.raises(UnreadableError, match="no such file"):
        find_inputs(["x" * 300])
