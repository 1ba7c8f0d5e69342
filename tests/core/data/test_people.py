"""Groups out of names, and out of what files say themselves, where no column has them."""

from dataclasses import replace

import pytest

from graftwork.core.data.people import read_domain_manifest
from graftwork.core.data.tables import read_manifest
from graftwork.core.errors import ManifestError


@pytest.fixture
def read(tmp_path, domain):
    """The manifest of files of these names, all with labels x and y in turn."""

    def read(*names, hashes=None, header="path,label", cells=None, **options):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(name.encode())
        rows = [f"{name},{'xy'[place % 2]}" for place, name in enumerate(names)]
        if cells is not None:
            rows = [f"{row},{cell}" for row, cell in zip(rows, cells, strict=True)]
        (tmp_path / "table.csv").write_text("\n".join([header, *rows]) + "\n")
        knowing = replace(domain, file_groups=None if hashes is None else lambda examples: list(hashes))
        return read_domain_manifest(knowing, tmp_path / "table.csv", **options)

    return read


@pytest.mark.parametrize(("names", "first"), [
    (["sub-01_T1w.nii", "sub-01_T2w.nii", "sub-02_T1w.nii"], "sub-01"),
    (["a/patient12_1.png", "a/patient12_2.png", "b/patient1_1.png"], "patient12"),
    (["P0012-1.png", "P0012-2.png", "P0013-1.png"], "P0012"),
    (["TCGA-AA-1234-01.png", "TCGA-AA-1234-02.png", "TCGA-BB-1234-01.png"], "TCGA-AA-1234"),
    (["id10001/a.wav", "id10001/b.wav", "id10002/c.wav"], "id10001"),
])  # fmt: skip
def test_names_that_look_like_patients_are_offered_in_one_sentence_that_works(read, caplog, names, first):
    assert read(*names).groups is None
    (said,) = [record.getMessage() for record in caplog.records]
    assert f"the names of 3 files share 2 beginnings such as {first!r}" in said
    pattern = said.split("--group-from ")[1].strip("'").replace("\\\\", "\\")
    groups = read(*names, group_from=pattern).groups
    assert groups[0] == groups[1] == first
    assert groups[2] != first


@pytest.mark.parametrize("names", [
    ["1.png", "2.png", "3.png"], ["sub-01_a.png", "sub-02_a.png", "sub-03_a.png"], ["subtle1.png", "b.png", "c.png"],
])  # fmt: skip
def test_names_that_no_two_files_share_are_no_word_worth(read, caplog, names):
    read(*names)
    assert caplog.text == ""


def test_a_column_of_groups_is_used_without_looking_at_names(read, caplog):
    names = ["sub-01_a.png", "sub-01_b.png", "sub-02_a.png"]
    assert read(*names, header="path,label,group", cells="pqr").groups == ("p", "q", "r")
    assert caplog.text == ""


def test_paths_in_which_the_expression_finds_nothing_are_named_with_their_rows(read):
    with pytest.raises(ManifestError, match=r"row 4, column 'path': --group-from 'sub-\.' finds nothing in 'c.png'"):
        read("sub-1.png", "sub-2.png", "c.png", group_from="sub-.")
    with pytest.raises(ManifestError, match="is no regular expression"):
        read("a.png", group_from="(")
    with pytest.raises(ManifestError, match="name groups in two ways"):
        read("a.png", group_from="a", group="label")


def test_patients_that_files_name_are_groups_and_nameless_files_stand_alone(read, caplog):
    found = read("a.png", "b.png", "c.png", "d.png", hashes=["p", "p", None, "q"])
    assert found.groups == ("p", "p", found.paths[2], "q")
    assert "patients that 3 files name (2, of whom only hashes are kept)" in caplog.text


def test_one_patient_of_all_files_is_no_group(read, caplog):
    assert read("a.png", "b.png", hashes=["p", "p"]).groups is None
    assert "2 files name one and the same patient" in caplog.text


def test_of_a_target_that_names_people_files_are_not_grouped(read):
    found = read("a.png", "b.png", "c.png", hashes=["p", "p", "q"], header="path,speaker", target="speaker")
    assert found.groups is None


def test_an_expression_that_matches_no_path_at_all_is_one_problem(tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "t.csv").write_text("path,label\na.png,x\nb.png,y\n")
    with pytest.raises(
        ManifestError, match=r"1 problem\n  --group-from 'zz' finds nothing in any of 2 paths, the first"
    ):
        read_manifest(tmp_path / "t.csv", group_from="zz")
