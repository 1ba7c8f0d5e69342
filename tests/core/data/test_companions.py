"""Headers and the files of their data."""

import pytest

from graftwork.core.data.companions import companions, data_file


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("NDims = 3\nElementDataFile = my scan.raw\r\n", "my scan.raw"),
        ("NDims = 3\nElementDataFile = LOCAL\n", None),
        ("ElementDataFile = LIST\na.raw\nb.raw\n", None),
        ("NRRD0004\ndata file: a.raw.gz\n", "a.raw.gz"),
        ("NRRD0004\ndatafile: slice%03d.raw 1 3 1\n", None),
        ("NRRD0004\nsizes: 1 2\n\n", None),
    ],
)
def test_the_file_that_a_header_names(tmp_path, text, expected):
    (tmp_path / "a.mhd").write_bytes(text.encode())
    assert data_file(str(tmp_path / "a.mhd")) == (None if expected is None else str(tmp_path / expected))


def test_companions_are_files_that_are_there(tmp_path):
    for name in ("a.hdr", "b.hdr", "b.IMG", "c.nii", "d.mhd"):
        (tmp_path / name).write_text("ElementDataFile = gone.raw\n")
    found = {name: companions(str(tmp_path / name)) for name in ("a.hdr", "b.hdr", "b.IMG", "c.nii", "d.mhd")}
    assert found == {"a.hdr": (), "b.hdr": (str(tmp_path / "b.IMG"),), "b.IMG": (str(tmp_path / "b.hdr"),), "c.nii": (),
                     "d.mhd": ()}  # fmt: skip
