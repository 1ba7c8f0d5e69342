"""Names in another form of Unicode, or of a number."""

import unicodedata

import pytest

from graftwork.core.names import existing_path, hub_name, name_key


def test_spellings_of_one_name_have_one_key():
    assert len({name_key(name) for name in ("1", "1.0", "01", "+1", "1.", "001.00")}) == 1
    assert len({name_key(name) for name in ("0", "-0", "00", "0.0")}) == 1
    assert name_key("Jose\u0301") == name_key("José")
    assert len({name_key(name) for name in ("1", "-1", "10", "1.5", "1a", "", "12345678901234567", "12345678901234568")}
               ) == 8  # fmt: skip


@pytest.mark.parametrize("stored", ["NFC", "NFD"])
@pytest.mark.parametrize("asked", ["NFC", "NFD"])
def test_a_file_is_found_in_either_form(tmp_path, stored, asked):
    name = "Zoë/é.wav"
    place = tmp_path / unicodedata.normalize(stored, name)
    place.parent.mkdir()
    place.write_bytes(b"")
    found = existing_path(f"{tmp_path}/{unicodedata.normalize(asked, name)}")
    assert found == str(place)


def test_two_files_in_both_forms_stay_two_and_a_missing_one_stays_as_it_is(tmp_path):
    both = [str(tmp_path / unicodedata.normalize(form, "é#1.wav")) for form in ("NFC", "NFD")]
    for path in both:
        (tmp_path / path).write_bytes(b"")
    assert [existing_path(path) for path in both] == both
    assert existing_path(f"{tmp_path}/ü.wav") == f"{tmp_path}/ü.wav"


@pytest.mark.parametrize(("named", "found"), [
    ("owner/name", "owner/name"), ("owner/name@main", "owner/name"), ("folder", None), ("/abs/owner/name", None),
    ("here/model", None), ("owner/a b", None), ("", None),
])  # fmt: skip
def test_a_name_on_the_hub_is_told_from_a_folder(named, found, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here" / "model").mkdir(parents=True)
    assert hub_name(named) == found
