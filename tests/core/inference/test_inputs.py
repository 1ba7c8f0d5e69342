"""What users name becomes paths."""

from dataclasses import replace

import pytest

from graftwork.core.errors import UnreadableError
from graftwork.core.example import ArchiveRow, File, Text
from graftwork.core.inference.inputs import find_inputs


def test_files_are_found_in_either_form_of_unicode(tmp_path, domain):
    stored = f"{tmp_path}/e\u0301 1.wav"
    (tmp_path / stored).write_bytes(b"")
    for name in ("é 1.wav", "e\u0301 1.wav", "é*.wav", "e\u0301*.wav"):
        assert list(map(str, find_inputs([f"{tmp_path}/{name}"], domain))) == [stored]
    assert list(map(str, find_inputs([f"{tmp_path}/é 1.wav", stored], domain))) == [stored]
    assert list(map(str, find_inputs([f"{tmp_path}/é 1.wav#t=0,1"], domain))) == [f"{stored}#t=0,1"]


def test_a_name_that_no_file_can_have_is_not_found(domain):
    with pytest.raises(UnreadableError, match="no such file"):
        find_inputs(["x" * 300], domain)


def test_names_that_are_no_text_are_refused(tmp_path, domain):
    place = f"{tmp_path}/p\udce9.wav"  # a byte of Latin-1
    (tmp_path / place).write_bytes(b"")
    for name in (place, f"{tmp_path}/*.wav"):
        with pytest.raises(UnreadableError, match=r"p\\udce9\.wav: the name is not text in UTF-8"):
            find_inputs([name], domain)


def test_kinds_that_a_domain_does_not_read_are_refused_by_name(tmp_path, domain):
    (tmp_path / "a.wav").write_bytes(b"")
    with pytest.raises(
        UnreadableError, match=r"a\.wav#t=0,1: names seconds of a recording .*what can be read here are"
    ):
        find_inputs([f"{tmp_path}/a.wav#t=0,1"], replace(domain, kinds=(File, ArchiveRow)))


def test_texts_are_themselves_and_need_no_file(tmp_path, domain):
    texts = replace(domain, kinds=(Text,), column="sentence")
    (tmp_path / "list.csv").write_text('sentence\n* is a star | not a pattern\n"x#t=0,1"\n')
    found = find_inputs(["a|b", f"{tmp_path}/list.csv", "a|b"], texts)
    assert found == [Text("a|b"), Text("* is a star | not a pattern"), Text("x#t=0,1")]


def test_of_many_names_that_are_not_there_the_first_are_said_and_the_others_counted(tmp_path, domain):
    names = [str(tmp_path / f"{number}.png") for number in range(25)]
    with pytest.raises(UnreadableError, match=r"/9\.png, and 15 more$") as found:
        find_inputs(names, domain)
    assert "10.png" not in str(found.value)
